"""A corpus that is too large to be stored: shards that are read in sequence, and a sample of their start."""

import hashlib
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import datasets

from seqmodels.data.corpora import BUILT_IN, Corpus, Splits, check_settings, local_files, of_files
from seqmodels.data.given import Given, is_saved, saved
from seqmodels.data.hub_tables import SCHEME, HubFile, by_split, hub, plain_files
from seqmodels.data.tables import ROWS_PER_READ, check_columns, is_table, table_rows
from seqmodels.data.text_files import FEATURES, document
from seqmodels.data.text_kinds import notes_on
from seqmodels.errors import InputError

SAMPLE_CHARACTERS = 1 << 24
"""Characters at the start of a stream that its counts and its vocabulary are made of."""

HELD_OUT_CHARACTERS = 1 << 20
"""Most characters that are held out for validation."""

TextRow = tuple[str, bool, bool]
"""A text, whether a document starts with it, and whether one ends."""


class Shards(ABC):
    """Shards of a text, numbered from 0."""

    names: list[str]
    stamps: list[str]
    """Size or revision of each, which tells it from others of its name."""
    bytes: int | None = None
    """Size of all shards together, if known."""

    @abstractmethod
    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        """The rows of a shard, from row `first` on.

        Raises:
            InputError: the shard is damaged, empty or without text; the message names it, and the row or line.
        """


class FileShards(Shards):
    """Local files: text, each file a document, in the same pieces as `file_rows`; or tables, each row a document."""

    def __init__(self, files: Sequence[Path], column: str) -> None:
        self.files, self.column = files, column
        sizes = [file.stat().st_size for file in files]
        self.names, self.stamps, self.bytes = [file.name for file in files], list(map(str, sizes)), sum(sizes)

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        file = self.files[shard]
        if is_table(file):
            texts = (row[self.column] for row in table_rows(file, [self.column]))
            yield from _documents(str(file), self.column, texts, first)
            return
        for text, opens, closes in itertools.islice(document(file), first, None):
            yield text, opens, closes and len(self.files) > 1


class HubFileShards(Shards):
    """Files of a split on the hub, streamed: of tables each row is a document, of text each line."""

    def __init__(self, urls: Sequence[str], column: str) -> None:
        self.column, self.stamps = column, list(urls)  # which contain the revision
        self.files = [cast(Path, HubFile(url.removeprefix(SCHEME))) for url in urls]  # all of a path that readers use
        self.names = [file.name for file in self.files]

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        file = self.files[shard]
        texts = (row[self.column] for row in table_rows(file, [self.column]))
        yield from _documents(str(file), self.column, texts, first)


class HubShards(Shards):
    """The shards of a split on the hub, streamed as `datasets` reads them."""

    def __init__(self, name: str, dataset: datasets.IterableDataset, urls: Sequence[str], column: str) -> None:
        self.name, self.dataset, self.column = name, dataset, column
        self.stamps = list(urls)  # which contain the revision
        self.names = [url.rpartition("/")[2] for url in urls]
        if len(self.names) != (count := dataset.num_shards):
            self.names = [f"shard {number} of {count}" for number in range(count)]

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        name, passed = f"{self.name}, {self.names[shard]}", 0
        try:
            for passed, row in enumerate(_documents(name, self.column, self._texts(name, shard), first), first + 1):  # noqa: B007
                yield row
        except InputError:
            raise
        except Exception as error:  # of the network, too
            reason = " ".join(str(error).split())[:160]
            failed = f"{name!r} cannot be read behind row {passed:,} ({type(error).__name__}: {reason})"
            raise InputError(f"{failed}; try again with --resume, from where the run was saved last") from error

    def _texts(self, name: str, shard: int) -> Iterator[Any]:
        dataset = self.dataset.shard(num_shards=len(self.names), index=shard)
        for table in dataset.with_format("arrow").iter(ROWS_PER_READ):
            check_columns(name, [self.column], table.column_names)
            yield from table[self.column].to_pylist()


def _documents(name: str, column: str, texts: Iterable[Any], first: int) -> Iterator[TextRow]:
    """The texts of a column that are not null, each a document, from number `first` on."""
    number = -1
    for number, text in enumerate(text for text in texts if text is not None):
        if not isinstance(text, str):
            raise InputError(f"the column {column!r} of {name!r} holds {text!r:.40}; expected text")
        if number >= first:
            yield text, True, True
    if number < 0:
        raise InputError(f"{name!r} has no text in column {column!r}; remove the shard, or name another column")


def hub_shards(name: str, subset: str | None, column: str) -> dict[str, Shards]:
    """The splits of a dataset on the hub as shards.

    Raises:
        InputError: it cannot be loaded, or has no training split.
    """
    with hub(name, BUILT_IN):
        builder = datasets.load_dataset_builder(name, subset)
        plain = plain_files(builder)
        loaded = builder.as_streaming_dataset() if plain is None else {}
    if plain is not None:
        return {split: HubFileShards(urls, column) for split, urls in by_split(name, plain).items()}
    urls = builder.config.data_files or {}
    found = {split: HubShards(name, rows, list(urls.get(split, [])), column) for split, rows in loaded.items()}
    return dict(by_split(name, found))


def given_shards(given: Given, column: str) -> dict[str, Shards]:
    """The splits of data that are read in sequence, as shards.

    Raises:
        InputError: they have numbers for their rows, or no training split.
    """
    found = dict[str, Shards]()
    for split, part in given.splits.items():
        if not isinstance(part, datasets.IterableDataset):
            have = f"{given.origin}, which is in memory or on disk"
            raise InputError(f"stream=True was given with {have}; leave it out, or give an IterableDataset")
        found[split] = HubShards(given.origin, part, [], column)
    if "train" not in found:
        raise InputError(f"{given.origin} has nothing to train on, only {', '.join(found)}")
    return found


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

    def __init__(self, origin: str, shards: Shards, others: Splits, held_out: int) -> None:
        self.shards, held = shards, list[TextRow]()
        self._first = [0] * len(shards.names)
        if "validation" not in others:
            held = self._hold_out(held_out)
            others = {**others, "validation": partial(_stored, held)}
        left = (not first or any(True for _ in shards.rows(shard, first)) for shard, first in enumerate(self._first))
        self.numbers = [shard for shard, has_rows in enumerate(left) if has_rows]
        if not self.numbers:
            rows = f"no more than the {len(held):,} rows that are held out for validation"
            raise InputError(f"{origin} has {rows}; give a smaller held_out, or leave out stream for so little text")
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
        made_of = [self.shards.names, self.shards.stamps, self._first, sample]
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def load_stream(source: str | Given, *, subset: str | None, column: str, held_out: int) -> StreamedCorpus:
    """Load a streamed corpus by name; see `corpora.load_corpus`.

    Raises:
        InputError: there is no such file or dataset, or it has no training text.
    """
    if not isinstance(source, Given) and is_saved(folder := Path(os.path.expanduser(source))):
        source = saved(folder)
    found, notes = None if isinstance(source, Given) else local_files(source), list[str]()
    if found is None:
        if isinstance(source, Given):
            origin, splits = source.origin, given_shards(source, column)
        else:
            origin, splits = f"{source} from the hub", hub_shards(source, subset, column)
        train: Shards = splits.pop("train")
        others: Splits = {split: partial(_whole, part) for split, part in splits.items()}
    else:
        origin, named = found
        check_settings(origin, named, subset, column)
        if "train" not in named:
            raise InputError(f"{origin} has nothing to train on, only {', '.join(named)}")
        notes = [] if any(map(is_table, named["train"])) else notes_on(named["train"])
        train = FileShards(named.pop("train"), column)
        others = of_files(origin, named, column, held_out=None).splits
    corpus = StreamedCorpus(origin, train, others, held_out)
    corpus.notes = notes
    return corpus


def _whole(shards: Shards) -> datasets.Dataset:
    return _stored(itertools.chain.from_iterable(map(shards.rows, range(len(shards.names)))))


def _stored(rows: Iterable[TextRow]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(dict(zip(FEATURES, map(list, zip(*rows, strict=True)), strict=True)))
