"""Text for language models as a data module."""

import dataclasses
import functools
from pathlib import Path
from typing import Literal, get_args

from torch import Tensor

from seqmodels.data.base import SequenceDataModule
from seqmodels.data.corpora import Corpus, load_corpus
from seqmodels.data.document_windows import DocumentWindows, ScoredDocuments
from seqmodels.data.sampler import Batches, Replica
from seqmodels.data.stream_corpus import StreamedCorpus, load_stream
from seqmodels.data.stream_windows import StreamedWindows
from seqmodels.data.targets import ChosenTargets, check_targets, rule
from seqmodels.data.token_column import TextFacts, tokenize_column
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import Lanes, ScoredLanes, ScoredWindows, Windows
from seqmodels.errors import InputError

Documents = Literal["joined", "apart"]
TOKENIZERS = ("char", "byte", "bpe", "word")


class TextDataModule(SequenceDataModule):
    """Text for language models: windows read each on their own, or lanes with the state carried.

    Validation and test score every token of their split exactly once: with `carry`, from the start of the text to
    its end; without, in windows side by side.

    Args:
        data: "python" for the built-in corpus, a text file, a table (.jsonl, .csv, .tsv or .parquet) or a directory of
            either, plain or .gz, a pattern such as `data/*.parquet`, or a hub name.
        subset: configuration of a hub dataset, such as wikitext-2-v1.
        column: column of a table or hub dataset that holds the text.
        tokenizer: char, byte, bpe or word, or the path of a tokenizer.json; from Python also a Tokenizer that is there
            already.
        vocab_size: most tokens of a bpe or word vocabulary trained here; where not given, 1024 for bpe, all for word.
        min_count: how often a word must occur to be in a word vocabulary.
        length: tokens T in a row of a batch; with carry, how far gradients reach back.
        batch_size: rows B of a batch on each device.
        carry: carry the state from batch to batch along lanes through the text (truncated BPTT).
        stride: distance between windows without carry; as long as a window where not given.
        shuffle: windows in random order, anew in each epoch, or as they come; shuffled where not given, without carry.
        documents: joined, so that windows run across documents, or apart, so that none does; short ones are padded.
        bos: whether each document begins with a start token; the text as a whole does in any case.
        eos: whether each document ends with an end token.
        targets: what is learned in a row: all, last, last:K, or every:K (the K-th, 2K-th, ... target).
        scored_targets: what validation and test score, likewise; all, so that each token is scored once.
        val_fraction: share of the end that validates where the source has no validation split.
        stream: read the text in sequence and never store it, for text larger than memory and disk: its files, tables or
            hub shards in random order, and windows shuffled within blocks. Figures and vocabulary are of its start.
        shuffle_buffer: windows of a stream that are held in memory and shuffled among themselves.
        held_out: rows at the start of a stream that validate where the source has no validation split: documents of
            tables, pieces of text files, and never more than about a million characters.
        seed: what the order of the data depends on; on the command line, the first weights too.
        num_workers: processes that gather batches; 0 is fastest unless batches are huge.

    Raises:
        InputError: a value cannot be used, or two contradict each other.
    """

    def __init__(
        self,
        data: str = "python",
        subset: str | None = None,
        column: str = "text",
        tokenizer: str | Tokenizer = "char",
        vocab_size: int | None = None,
        min_count: int = 1,
        length: int = 64,
        batch_size: int = 16,
        carry: bool = False,
        stride: int | None = None,
        shuffle: bool | None = None,
        documents: Documents = "joined",
        bos: bool = True,
        eos: bool = True,
        targets: str = "all",
        scored_targets: str = "all",
        val_fraction: float = 0.1,
        stream: bool = False,
        shuffle_buffer: int = 8192,
        held_out: int = 1000,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__(data, seed, num_workers)
        for name, value in {
            "length": length,
            "batch_size": batch_size,
            "stride": stride,
            "min_count": min_count,
            "shuffle_buffer": shuffle_buffer,
            "held_out": held_out,
        }.items():
            if value is not None and value < 1:
                raise InputError(f"{name}={value} was given; expected at least 1")
        if isinstance(tokenizer, str):
            if tokenizer not in TOKENIZERS and Path(tokenizer).suffix != ".json" and not Path(tokenizer).is_file():
                raise InputError(
                    f"the tokenizer {tokenizer!r} is not known; choose {', '.join(TOKENIZERS)} or the path of a "
                    "tokenizer.json"
                )
            if min_count > 1 and tokenizer != "word":
                raise InputError(f"min_count={min_count} was given with tokenizer={tokenizer!r}; it is for word only")
            if vocab_size is not None and tokenizer not in ("bpe", "word"):
                raise InputError(
                    f"vocab_size={vocab_size} was given with tokenizer={tokenizer!r}; it is for bpe and word"
                )
        if documents not in get_args(Documents):
            raise InputError(f"documents={documents!r} was given; choose joined or apart")
        for choice in (targets, scored_targets):
            rule(choice)
        for contradictory, one, other, reason in (
            (carry and shuffle is not None, "carry=True", f"shuffle={shuffle}", "lanes are read as they come"),
            (carry and stride is not None, "carry=True", f"stride={stride}", "lanes go on where they ended"),
            (carry and documents == "apart", "carry=True", "documents='apart'", "lanes run across documents"),
            (
                documents == "apart" and not bos,
                "documents='apart'",
                "bos=False",
                "each document is read from its start",
            ),
            (stream and carry, "stream=True", "carry=True", "lanes begin all over a text, a stream at one place"),
            (
                stream and documents == "apart",
                "stream=True",
                "documents='apart'",
                "windows of a stream run across them",
            ),
            (
                stream and (stride or 0) > length,
                "stream=True",
                f"stride={stride} for length={length}",
                "text between windows would be read for nothing",
            ),
            (
                stream and num_workers > 0,
                "stream=True",
                f"num_workers={num_workers}",
                "a stream is read by one thread, ahead of training",
            ),
        ):
            if contradictory:
                raise InputError(f"{one} and {other} contradict each other, since {reason}; leave out one of the two")
        self.subset, self.text_column, self.val_fraction = subset, column, val_fraction
        self.wanted_tokenizer, self.vocab_size, self.min_count = tokenizer, vocab_size, min_count
        self.length: int = length
        self.batch_size, self.stride = batch_size, stride or length
        self.carry, self.shuffle = carry, shuffle is not False
        self.documents, self.bos, self.eos = documents, bos, eos
        self.targets, self.scored_targets = targets, scored_targets
        self.stream, self.shuffle_buffer, self.held_out = stream, shuffle_buffer, held_out
        if stream:
            self.order = (*self.order, "stream", "shuffle_buffer", "held_out")
        self._columns: dict[str, tuple[Tensor, TextFacts]] = {}

    size_argument = "batch_size"
    order: tuple[str, ...] = ("length", "carry", "stride", "shuffle", "documents", "bos", "eos", "targets", "seed")

    @functools.cached_property
    def corpus(self) -> Corpus:
        """The text in its splits; of a stream, `train` is a sample from its start."""
        if self.stream:
            return load_stream(self.data, subset=self.subset, column=self.text_column, held_out=self.held_out)
        return load_corpus(self.data, subset=self.subset, column=self.text_column, val_fraction=self.val_fraction)

    @property
    def origin(self) -> str:
        """See `SequenceDataModule.origin`."""
        return self.corpus.origin

    @property
    def extent(self) -> str:
        """See `SequenceDataModule.extent`."""
        characters = f"{self.facts('train').characters:,} characters"
        if isinstance(self.corpus, StreamedCorpus):
            return f"{self.corpus.extent}; figures and vocabulary are of its first {characters}"
        return f"{characters} to train on"

    @property
    def splits(self) -> tuple[str, ...]:
        """See `SequenceDataModule.splits`."""
        return tuple(self.corpus.splits)

    @property
    def size(self) -> int:
        """Rows of a batch."""
        return self.batch_size

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:  # type: ignore[override]  # made when it is asked for
        """The tokenizer, made from the training split where it has to be."""
        if isinstance(self.wanted_tokenizer, Tokenizer):
            return self.wanted_tokenizer
        if self.wanted_tokenizer == "byte":
            return Tokenizer.byte()
        if self.wanted_tokenizer not in TOKENIZERS:
            return Tokenizer.from_file(self.wanted_tokenizer)
        texts = (text for rows in self.corpus.rows("train").iter(256) for text in rows["text"])
        if self.wanted_tokenizer == "word":
            return Tokenizer.word(texts, self.vocab_size, self.min_count)
        return (
            Tokenizer.char(texts) if self.wanted_tokenizer == "char" else Tokenizer.bpe(texts, self.vocab_size or 1024)
        )

    def _column(self, split: str) -> tuple[Tensor, TextFacts]:
        if split not in self._columns:
            self._columns[split] = tokenize_column(self.corpus.rows(split), self.tokenizer, bos=self.bos, eos=self.eos)
        return self._columns[split]

    def tokens(self, split: str) -> Tensor:
        """The token column of a split, (N,), beginning with BOS; a memory map."""
        return self._column(split)[0]

    def facts(self, split: str) -> TextFacts:
        """Counts and hash of the text of a split; of a stream, counts of its sample, and a hash of both."""
        facts = self._column(split)[1]
        if split == "train" and isinstance(self.corpus, StreamedCorpus):
            return dataclasses.replace(facts, sha256=self.corpus.fingerprint(facts.sha256))
        return facts

    def training_batches(self, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        """The batches that one rank trains on.

        Raises:
            InputError: the text is too short, or has no target of those that were chosen.
        """
        batches = self._training(self.batch_size, replica)
        if self.targets == "all":
            return batches
        check_targets(self._training(self.batch_size * replica.world, Replica()), self.targets)  # the same on all ranks
        return ChosenTargets(batches, self.targets)

    def _training(self, batch_size: int, replica: Replica) -> Batches:
        if isinstance(self.corpus, StreamedCorpus):
            buffer = self.shuffle_buffer if self.shuffle else 0
            return StreamedWindows(
                self.corpus,
                self.tokenizer,
                self.length,
                batch_size,
                self.stride,
                buffer,
                self.seed,
                replica,
                self.bos,
                self.eos,
            )
        column = self.tokens("train")
        if self.carry:
            return Lanes(column, self.length, batch_size, self.seed, replica)
        kind = DocumentWindows if self.documents == "apart" else Windows
        return kind(column, self.length, batch_size, self.stride, self.shuffle, self.seed, replica)

    def scored_batches(
        self,
        split: str,
        replica: Replica = Replica(),  # noqa: B008 - immutable
        *,
        lanes: int = 8,
        stride: int | None = None,
        piece: int | None = None,
        rows: int | None = None,
    ) -> Batches:
        """The batches by which one rank scores a split: together, every token exactly once, or those chosen.

        Args:
            split: which text.
            replica: which rank this is.
            lanes: with carry, in how many lanes the text is read; only the first token of a lane has no context.
            stride: without carry, how many tokens a window scores; those before them are context.
            piece: with carry, tokens T of a batch, which changes nothing but the speed; 256 or the length of training,
                whichever is longer, where not given. Where chosen targets of a row are scored, rows are as in training.
            rows: without carry, how many windows are in a batch; as in training where not given.
        """
        column = self.tokens(split)

        def scored(replica: Replica) -> Batches:
            if self.carry:
                length = (piece or max(self.length, 256)) if self.scored_targets == "all" else self.length
                return ScoredLanes(column, length, lanes, replica)
            kind = ScoredDocuments if self.documents == "apart" else ScoredWindows
            return kind(column, self.length, rows or self.batch_size, replica, stride)

        if self.scored_targets == "all":
            return scored(replica)
        check_targets(scored(Replica()), self.scored_targets)  # the same on all ranks
        return ChosenTargets(scored(replica), self.scored_targets)
