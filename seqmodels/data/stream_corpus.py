"""A corpus that is too large to be stored: its rows in sequence, and a sample of its start."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import datasets

from seqmodels.data.corpora import Corpus, Rows, local_files, of_files
from seqmodels.data.stream_shards import Shards, TableShards, TextRow, TextShards, hub_shards
from seqmodels.data.tables import is_table
from seqmodels.data.text_files import FEATURES
from seqmodels.errors import InputError

SAMPLE_CHARACTERS = 1 << 24
"""Characters at the start of a stream that its counts and its vocabulary are made of."""

HELD_OUT_CHARACTERS = 1 << 20
"""Most characters that are held out for validation."""


class StreamedCorpus(Corpus):
    """Training text in shards. Its split `train` is a sample; validation and test are read in full.

    Args:
        origin: the source of the text, in one line for people.
        shards: the training text.
        others: how to read other splits.
        held_out: rows at the start of the stream that validate if there is no validation split: pieces of text files,
            documents of tables.

    Raises:
        InputError: a shard cannot be read, or all rows are held out.
    """

    def __init__(
        self, origin: str, shards: Shards, others: Mapping[str, Rows | datasets.Dataset], held_out: int
    ) -> None:
        self.shards, held = shards, list[TextRow]()
        self._first = [0] * len(shards.names)
        if "validation" not in others:
            held = self._hold_out(held_out)
            others = {**others, "validation": partial(_stored, held)}
        self.numbers = [
            number
            for number, first in enumerate(self._first)
            if not first or any(True for _ in shards.rows(number, first))
        ]
        if not self.numbers:
            raise InputError(
                f"{origin} has no more than the {len(held):,} rows that are held out for validation; give a smaller "
                "held_out, or leave out stream: a text of this size can be stored"
            )
        super().__init__(origin, {**others, "train": self._sample})

    def _hold_out(self, count: int) -> list[TextRow]:
        """The first rows of the stream; `_first` becomes the first training row of each shard."""
        held, characters = list[TextRow](), 0
        for number in range(len(self._first)):
            for row in self.shards.rows(number):
                if len(held) == count or characters >= HELD_OUT_CHARACTERS:
                    return held
                held.append(row)
                characters += len(row[0])
                self._first[number] += 1
        return held

    def _sample(self) -> datasets.Dataset:
        sample, characters = list[TextRow](), 0
        rows = itertools.chain.from_iterable(map(self.rows_of, range(len(self.numbers))))
        while characters < SAMPLE_CHARACTERS and (row := next(rows, None)):
            sample.append(row)
            characters += len(row[0])
        return _stored(sample)

    def rows_of(self, number: int, first: int = 0) -> Iterator[TextRow]:
        """The training rows of shard `numbers[number]`, from row `first` on."""
        shard = self.numbers[number]
        return self.shards.rows(shard, self._first[shard] + first)

    @property
    def extent(self) -> str:
        """The number of shards and their size, for people."""
        count = len(self.numbers)
        size = "" if self.shards.bytes is None else f" of {self.shards.bytes / 1e6:,.1f} MB"
        return f"a stream of {count} shard{'s' if count > 1 else ''}{size}"

    def fingerprint(self, sample: str) -> str:
        """A hash of names and sizes of the shards and of `sample`, the hash of the sample's text."""
        return hashlib.sha256(f"{self.shards.fingerprint} {self._first} {sample}".encode()).hexdigest()


def load_stream(source: str, *, subset: str | None, column: str, held_out: int) -> StreamedCorpus:
    """Load a streamed corpus by name; see `corpora.load_corpus`.

    Raises:
        InputError: there is no such file or dataset, or it has no training text.
    """
    found = local_files(source)
    if found is None:
        origin, splits = f"{source} from the hub", hub_shards(source, subset, column)
        train = splits.pop("train")
        others: Mapping[str, Rows | datasets.Dataset] = {split: partial(_whole, part) for split, part in splits.items()}
    else:
        origin, named = found
        if "train" not in named:
            raise InputError(f"{origin} has nothing to train on, only {', '.join(named)}")
        files = named.pop("train")
        train = TableShards(files, column) if is_table(files[0]) else TextShards(files)
        others = of_files(origin, named, column, val_fraction=0.0).splits
    return StreamedCorpus(origin, train, others, held_out)


def _whole(shards: Shards) -> datasets.Dataset:
    return _stored(itertools.chain.from_iterable(map(shards.rows, range(len(shards.names)))))


def _stored(rows: Iterable[TextRow]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(dict(zip(FEATURES, map(list, zip(*rows, strict=True)), strict=True)))
