"""The data module of text for language models."""

import dataclasses
import functools
from typing import Any, Literal, get_args

from torch import Tensor

from seqmodels.data.base import CorpusDataModule
from seqmodels.data.corpora import Corpus, HeldOut, load_corpus
from seqmodels.data.sampler import Batches, Replica
from seqmodels.data.stream_corpus import StreamedCorpus, load_stream
from seqmodels.data.stream_windows import StreamedWindows
from seqmodels.data.targets import ChosenTargets, check_targets, rule
from seqmodels.data.token_column import TextFacts, tokenize_column
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.windows import DocumentWindows, Lanes, ScoredDocuments, ScoredLanes, ScoredWindows, Windows
from seqmodels.errors import InputError

Documents = Literal["joined", "apart"]


class TextDataModule(CorpusDataModule):
    """Text for language models: windows read from the initial state each, or lanes with the state carried.

    Validation and test score every token of their split exactly once: with `carry`, from the start of the text to
    its end; without, in windows side by side.

    Args:
        data: "python" for the built-in corpus, a text file, a table (.jsonl, .csv, .tsv or .parquet), a directory of
            either, plain or .gz, a pattern such as `data/*.parquet`, a folder that `save_to_disk` wrote, or the name of
            a dataset on the Hugging Face hub; from Python also a Dataset, an IterableDataset, a dict of them by split,
            or a list or generator of texts, which is read once.
        subset: configuration of a hub dataset, such as wikitext-2-v1.
        column: text column of a table or hub dataset.
        tokenizer: char, byte, bpe or word, or the path of a tokenizer.json; from Python also a Tokenizer.
        vocab_size: largest size of a bpe or word vocabulary; default: 1024 for bpe, all words for word.
        min_count: least number of occurrences of a word in a word vocabulary.
        length: sequence length T of a batch in tokens; with carry, how far gradients reach back.
        batch_size: rows B of a batch on each device.
        carry: carry the state from batch to batch along lanes through the text (truncated BPTT).
        stride: distance between the starts of neighbouring windows without carry; default: length.
        shuffle: shuffle windows in every epoch; default: true without carry.
        documents: joined, so that windows run across documents, or apart, so that none does; short ones are padded.
        bos: begin each document with a start token; the text as a whole begins with one in any case.
        eos: end each document with an end token.
        targets: targets of a row that are trained on: all, last, last:K, or every:K (the K-th, 2K-th, ... target).
        scored_targets: targets of a row that validation and test score, likewise; all scores each token once.
        val_fraction: fraction of the text, at its end, that validates where there is no validation split.
        test_fraction: fraction of the text, its very end, that tests where there is no test split.
        stream: read the text in sequence and never store it, for text larger than memory and disk: its files, tables or
            hub shards in random order, and windows shuffled within blocks. Counts and vocabulary are of its start.
        shuffle_buffer: windows of a stream that are held in memory and shuffled among themselves.
        held_out: rows at the start of a stream that validate where there is no validation split: documents of
            tables, pieces of text files, and never more than about a million characters.
        seed: random seed of the order of the data; on the command line, of the initial weights too.
        num_workers: processes that load batches; 0 is fastest unless batches are huge.

    Raises:
        InputError: a value cannot be used, or two contradict each other.
    """

    size_argument = "batch_size"
    order: tuple[str, ...] = ("length", "carry", "stride", "shuffle", "documents", "bos", "eos", "targets", "seed")

    def __init__(
        self, data: str | Any = "python", subset: str | None = None, column: str = "text",
        tokenizer: str | Tokenizer = "char", vocab_size: int | None = None, min_count: int = 1,
        length: int = 64, batch_size: int = 16, carry: bool = False, stride: int | None = None,
        shuffle: bool | None = None, documents: Documents = "joined", bos: bool = True, eos: bool = True,
        targets: str = "all", scored_targets: str = "all", val_fraction: float = 0.1,
        test_fraction: float = 0.0,
        stream: bool = False, shuffle_buffer: int = 8192, held_out: int = 1000,
        seed: int = 1, num_workers: int = 0,
    ) -> None:  # fmt: skip
        sizes = {"length": length, "batch_size": batch_size, "stride": stride}
        sizes |= {"shuffle_buffer": shuffle_buffer, "held_out": held_out}
        super().__init__(data, tokenizer, vocab_size, min_count, seed, num_workers, **sizes)
        if documents not in get_args(Documents):
            raise InputError(f"documents={documents!r} was given; choose joined or apart")
        for choice in (targets, scored_targets):
            rule(choice)
        apart = documents == "apart"
        for one, other, contradictory, reason in (
            ("carry=True", f"shuffle={shuffle}", carry and shuffle is not None, "lanes are read in order"),
            ("carry=True", f"stride={stride}", carry and stride is not None, "lanes go on where they ended"),
            ("carry=True", "documents='apart'", carry and apart, "lanes run across documents"),
            ("documents='apart'", "bos=False", apart and not bos, "each document is read from its start"),
            ("stream=True", f"test_fraction={test_fraction}", stream and test_fraction > 0, "the end is not known"),
            ("stream=True", "carry=True", stream and carry, "lanes begin all over a text, a stream at one place"),
            ("stream=True", "documents='apart'", stream and apart, "windows of a stream run across them"),
            ("stream=True", f"num_workers={num_workers}", stream and num_workers > 0, "one thread reads a stream"),
            ("stream=True", f"stride={stride} for length={length}", stream and (stride or 0) > length, "text is lost"),
        ):
            if contradictory:
                raise InputError(f"{one} and {other} contradict each other, since {reason}; leave out one of the two")
        self.subset, self.text_column = subset, column
        self.fractions = HeldOut(val_fraction, test_fraction)
        self.length: int = length
        self.batch_size, self.stride = batch_size, stride or length
        self.carry, self.shuffle = carry, shuffle is not False
        self.documents, self.bos, self.eos = documents, bos, eos
        self.targets, self.scored_targets = targets, scored_targets
        self.stream, self.shuffle_buffer, self.held_out = stream, shuffle_buffer, held_out
        if stream:
            self.order = (*self.order, "stream", "shuffle_buffer", "held_out")
        self._columns: dict[str, tuple[Tensor, TextFacts]] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:  # type: ignore[override]  # read when it is first asked for
        """The text in its splits; of a stream, `train` is a sample from its start."""
        if self.stream:
            return load_stream(self.source_data, subset=self.subset, column=self.text_column, held_out=self.held_out)
        return load_corpus(self.source_data, subset=self.subset, column=self.text_column, held_out=self.fractions)

    @property
    def extent(self) -> str:
        characters = f"{self.facts('train').characters:,} characters"
        if isinstance(self.corpus, StreamedCorpus):
            return f"{self.corpus.extent}; counts and vocabulary are of its first {characters}"
        return f"{characters} to train on"

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:  # type: ignore[override]  # made when it is first asked for
        """The tokenizer, trained on the training split unless it was given."""
        return self.make_tokenizer(["text"], bpe_size=1024)

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

    def training_batches(self, replica: Replica = Replica()) -> Batches:
        """The training batches of one rank.

        Raises:
            InputError: the text is too short, or has none of the chosen targets.
        """
        batches = self._training(self.batch_size, replica)
        if self.targets == "all":
            return batches
        check_targets(self._training(self.batch_size * replica.world, Replica()), self.targets)  # the same on all ranks
        return ChosenTargets(batches, self.targets)

    def _training(self, batch_size: int, replica: Replica) -> Batches:
        sizes = (self.length, batch_size, self.stride)
        if isinstance(self.corpus, StreamedCorpus):
            buffer = self.shuffle_buffer if self.shuffle else 0
            order = (buffer, self.seed, replica)
            return StreamedWindows(self.corpus, self.tokenizer, *sizes, *order, bos=self.bos, eos=self.eos)
        column = self.tokens("train")
        if self.carry:
            return Lanes(column, self.length, batch_size, self.seed, replica)
        kind = DocumentWindows if self.documents == "apart" else Windows
        return kind(column, *sizes, self.shuffle, self.seed, replica)

    def scored_batches(
        self, split: str, replica: Replica = Replica(), *,
        lanes: int = 8, stride: int | None = None, piece: int | None = None, rows: int | None = None,
    ) -> Batches:  # fmt: skip
        """The batches of a split that one rank scores; together, the ranks score every (chosen) target exactly once.

        Args:
            split: name of the split.
            replica: rank and number of processes.
            lanes: with carry, number of lanes; only the first token of a lane has no context.
            stride: without carry, number of tokens that a window scores; those before them are context.
            piece: with carry, positions T of a batch, which changes nothing but the speed; default: 256 or the length
                of training, whichever is longer. If chosen targets of a row are scored, rows are as in training.
            rows: without carry, windows in a batch; default: as in training.
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
