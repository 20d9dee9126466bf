"""The data module of sentences with their translations."""

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from seqmodels.data.base import CorpusDataModule
from seqmodels.data.bpe_dropout import BpeDropout
from seqmodels.data.buckets import Buckets, Layout, Sentences
from seqmodels.data.corpora import Corpus, HeldOut
from seqmodels.data.given import SIDES
from seqmodels.data.parallel_corpora import load_parallel
from seqmodels.data.sampler import Replica
from seqmodels.data.tables import marked
from seqmodels.data.token_column import TextFacts, tokenize_column
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError

CHECKED = 1000
"""Sentences on which BPE-dropout is compared with its tokenizer."""


class TranslationDataModule(CorpusDataModule):
    """Sentences with their translations, in batches of similar lengths under a budget of tokens.

    Validation and test score every pair exactly once, however long it is. Training drops the pairs of which a side is
    empty or longer than `max_length`; `dropped` counts them.

    Args:
        data: "phrases" for the built-in corpus, two text files with a sentence a line, a directory with such files for
            each split (train.en, train.fr.gz, ...), a table or a directory of tables, a folder that `save_to_disk`
            wrote, or a hub name; from Python also a Dataset, an IterableDataset, a dict of them by split, or a list or
            generator of pairs of texts, which is read once.
        source: language to translate from: the suffix of files, a column, or a key of the column "translation".
        target: language to translate to, likewise.
        subset: configuration of a hub dataset.
        columns: numbers of the columns of source and target, from 1, in tab-separated text without a header.
        tokenizer: bpe, word, char or byte, or the path of a tokenizer.json for both sides; from Python also a
            Tokenizer.
        source_tokenizer: path of a tokenizer.json for the source alone, where tokenizer is one of the target; from
            Python also a Tokenizer.
        vocab_size: largest size of a bpe or word vocabulary; default: 4096 for bpe, all words for word.
        min_count: least number of occurrences of a word in a word vocabulary.
        joint: one vocabulary for both sides, so that names and numbers have the same tokens.
        batch_tokens: most tokens of a batch on each device, padding included: pairs times the longest side.
        max_length: most tokens of a side of a training pair.
        layout: pair, source and target apart, for an encoder and a decoder; or joined, both in one row with BOS
            between and the loss on the target alone, for a language model.
        bpe_dropout: probability of leaving out a BPE merge in training: words are re-segmented in every epoch.
        val_fraction: fraction of the sources that validate where there is no validation split.
        test_fraction: fraction of the sources that test where there is no test split.
        seed: random seed of the order of the data; on the command line, of the initial weights too.
        num_workers: processes that load batches.

    Raises:
        InputError: a value cannot be used, or two contradict each other.
    """

    pairs = True
    size_argument = "batch_tokens"
    order = ("source", "target", "joint", "batch_tokens", "max_length", "layout", "bpe_dropout", "seed")

    def __init__(
        self, data: str | list[str] | Any = "phrases", source: str = "en", target: str = "de",
        subset: str | None = None, columns: list[int] | None = None,
        tokenizer: str | Tokenizer = "bpe", source_tokenizer: str | Tokenizer | None = None,
        vocab_size: int | None = None, min_count: int = 1, joint: bool = False,
        batch_tokens: int = 2048, max_length: int = 100, layout: Layout = "pair", bpe_dropout: float = 0.0,
        val_fraction: float = 0.1, test_fraction: float = 0.0, seed: int = 1, num_workers: int = 0,
    ) -> None:  # fmt: skip
        sizes = {"batch_tokens": batch_tokens, "max_length": max_length}
        super().__init__(data, tokenizer, vocab_size, min_count, seed, num_workers, **sizes)
        if source == target:
            raise InputError(f"source and target were both given as {source!r}; expected two languages")
        if layout not in get_args(Layout):
            raise InputError(f"layout={layout!r} was given; choose pair or joined")
        if source_tokenizer is not None and (joint or layout == "joined"):
            shared = "joint=True" if joint else "layout='joined'"
            raise InputError(f"source_tokenizer and {shared} contradict each other; leave out one of the two")
        if isinstance(source_tokenizer, str) and not Path(source_tokenizer).is_file():
            raise InputError(f"there is no file {source_tokenizer!r}; expected the tokenizer.json of the source")
        for_both = (tokenizer == "byte" or isinstance(tokenizer, Tokenizer)) and source_tokenizer is None
        self.joint, self.wanted_source_tokenizer = joint or layout == "joined" or for_both, source_tokenizer
        self.languages, self.subset, self.columns = (source, target), subset, columns
        self.longest_target = max_length + 1  # with EOS
        self.batch_tokens, self.max_length, self.layout = batch_tokens, max_length, layout
        self.fractions, self.bpe_dropout = HeldOut(val_fraction, test_fraction), bpe_dropout
        self._columns: dict[tuple[str, str], tuple[Tensor, TextFacts]] = {}

    @functools.cached_property
    def corpus(self) -> Corpus:  # type: ignore[override]  # read when it is first asked for
        """The sentences in their splits: columns `source` and `target`."""
        return load_parallel(
            self.source_data, *self.languages, subset=self.subset, columns=self.columns, held_out=self.fractions
        )

    @property
    def extent(self) -> str:
        dropped = f", {self.dropped:,} empty or longer than {self.max_length} tokens left out" if self.dropped else ""
        return f"{len(self.sentences('train')[0]) - self.dropped:,} pairs to train on{dropped}"

    def examples(self, split: str, count: int = 4) -> list[tuple[str, str]]:
        """Pairs of a split, evenly spaced."""
        rows = self.corpus.rows(split)
        count = min(count, len(rows))
        chosen = rows.select([len(rows) * number // count for number in range(count)])
        return list(zip(chosen["source"], chosen["target"], strict=True))

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:  # type: ignore[override]  # made when it is first asked for
        """The tokenizer of the target, trained on the training split unless it was given."""
        return self.make_tokenizer(SIDES if self.joint else SIDES[1:], bpe_size=4096)

    @functools.cached_property
    def source_tokenizer(self) -> Tokenizer:
        """The tokenizer of the source; with a joint vocabulary, that of the target."""
        match self.wanted_source_tokenizer:
            case Tokenizer() as given:
                return given
            case str() as path:
                return Tokenizer.from_file(path)
        return self.tokenizer if self.joint else self.make_tokenizer(SIDES[:1], bpe_size=4096)

    def _column(self, split: str, side: str) -> tuple[Tensor, TextFacts]:
        if (split, side) not in self._columns:
            rows = self.corpus.rows(split).select_columns([side]).rename_column(side, "text")
            tokenizer = self.tokenizer if side == "target" else self.source_tokenizer
            self._columns[split, side] = tokenize_column(marked(rows), tokenizer)
        return self._columns[split, side]

    def sentences(self, split: str) -> tuple[Sentences, Sentences]:
        """Both sides of a split as token ids."""
        source, target = (Sentences(self._column(split, side)[0]) for side in SIDES)
        return source, target

    def facts(self, split: str) -> TextFacts:
        """Counts of the targets of a split, and a hash of both sides."""
        source, target = (self._column(split, side)[1] for side in SIDES)
        both = hashlib.sha256(f"{source.sha256} {target.sha256}".encode()).hexdigest()
        return dataclasses.replace(target, sha256=both)

    def sides(self, split: str) -> dict[str, TextFacts]:
        """See `SequenceDataModule.sides`."""
        return {f"{side}s": self._column(split, side)[1] for side in SIDES}

    def kept(self, source: Sentences, target: Sentences) -> Tensor:
        """Indices of the training pairs that are not dropped, int64 (N,)."""
        both = torch.stack([source.lengths, target.lengths])
        return ((both > 0) & (both <= self.max_length)).all(0).nonzero().squeeze(1)

    @property
    def dropped(self) -> int:
        """Number of pairs of the training split that are not trained on."""
        source, target = self.sentences("train")
        return len(source) - len(self.kept(source, target))

    def training_batches(self, replica: Replica = Replica()) -> Buckets:
        """The training batches of one rank.

        Raises:
            InputError: no pair is left, or one does not fit a batch.
        """
        source, target = self.sentences("train")
        if not len(rows := self.kept(source, target)):
            few = f"none has 1 to max_length={self.max_length} tokens on both sides; give a larger max_length"
            raise InputError(f"of the {len(source):,} pairs of {self.origin}, {few}")
        growth = 1.0
        if self.bpe_dropout:
            texts = self.corpus.rows("train")
            for side, sentences in zip(SIDES, (source, target), strict=True):
                tokenizer = self.tokenizer if side == "target" else self.source_tokenizer
                sentences.dropout, sentences.texts = BpeDropout(tokenizer, self.bpe_dropout, self.seed), texts[side]
                growth = max(growth, sentences.dropout.growth(texts.select(rows[:CHECKED].tolist())[side]))
        sizes = (self.batch_tokens, self.layout, self.seed, replica)
        return Buckets(source, target, rows, *sizes, max_length=self.max_length, growth=growth)

    def scored_batches(self, split: str, replica: Replica = Replica()) -> Buckets:
        """The batches of a split that one rank scores; together, the ranks score every pair exactly once."""
        source, target = self.sentences(split)
        longest = int((source.lengths + target.lengths).max()) + 2
        rows = torch.arange(len(source))
        budget, texts = max(self.batch_tokens, longest), self.corpus.rows(split)
        return Buckets(source, target, rows, budget, self.layout, None, replica, texts=texts)
