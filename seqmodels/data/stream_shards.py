"""Shards of a text: files, or parts of a hub dataset, that are read in sequence from any row on."""

import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets

from seqmodels.data.cache import no_bars
from seqmodels.data.corpora import by_split, hub
from seqmodels.data.tables import ROWS_PER_READ, check_columns, read_rows
from seqmodels.data.text_files import document
from seqmodels.errors import InputError

TextRow = tuple[str, bool, bool]
"""A text, whether a document starts with it, and whether one ends."""


class Shards(ABC):
    """Shards of a text, numbered from 0.

    Attributes:
        names: name of each shard.
        stamps: size or revision of each, which tells it from others of its name.
        bytes: size of all shards together, if known.
    """

    names: list[str]
    stamps: list[str]
    bytes: int | None = None

    @abstractmethod
    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        """The rows of a shard, from row `first` on.

        Raises:
            InputError: the shard is damaged, empty or without text; the message names it, and the row or line.
        """

    @property
    def fingerprint(self) -> str:
        """A hash of names and stamps."""
        return hashlib.sha256(json.dumps([self.names, self.stamps]).encode()).hexdigest()


class FileShards(Shards):
    """Shards that are local files."""

    def __init__(self, files: Sequence[Path]) -> None:
        sizes = [file.stat().st_size for file in files]
        self.files, self.bytes = files, sum(sizes)
        self.names, self.stamps = [file.name for file in files], [str(size) for size in sizes]


class TextShards(FileShards):
    """Text files, each a document, in the same pieces as `text_files.file_rows`."""

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        for text, opens, closes in itertools.islice(document(self.files[shard]), first, None):
            yield text, opens, closes and len(self.files) > 1


class TableShards(FileShards):
    """Tables of one kind, each row a document."""

    def __init__(self, files: Sequence[Path], column: str) -> None:
        super().__init__(files)
        self.column = column

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        file = self.files[shard]
        texts = (row[self.column] for row in read_rows(file, [self.column]))
        yield from _documents(str(file), self.column, texts, first)


class HubShards(Shards):
    """The shards of a split on the hub, streamed."""

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
            raise InputError(
                f"{name!r} cannot be read behind row {passed:,} ({type(error).__name__}: {reason}); try again with "
                "--resume, which goes on where the run was saved last"
            ) from error

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
    with no_bars(), hub(name):
        builder = datasets.load_dataset_builder(name, subset)
        loaded = builder.as_streaming_dataset()
    urls = builder.config.data_files or {}
    found = {split: HubShards(name, rows, list(urls.get(split, [])), column) for split, rows in loaded.items()}
    return dict(by_split(name, found))
