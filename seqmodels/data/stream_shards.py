"""Shards of a text: files, or parts of a hub dataset, that are read in sequence from any row on."""

import gzip
import hashlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet

from seqmodels.data.corpora import by_split, hub, no_bars
from seqmodels.data.tables import READERS, check_columns, is_table, reader, unreadable
from seqmodels.data.text_files import document, suffix
from seqmodels.errors import InputError

TextRow = tuple[str, bool, bool]
"""A text, whether a document starts with it, and whether one ends."""

ROWS_PER_READ = 64
"""Rows of a table that are read at a time."""


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
        self.kind, self.settings = reader(files, [column])
        if self.kind == "parquet":  # reads no other columns, and parts of row groups, which may be large
            self.settings = {"columns": [column], "batch_size": ROWS_PER_READ}

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        file, passed = self.files[shard], 0
        try:
            if not file.stat().st_size:
                raise InputError(f"{str(file)!r} is empty; repair or remove the shard")
            if self.kind == "parquet":
                check_columns(str(file), [self.column], pa.parquet.read_schema(file).names)
            # Not through load_dataset, which requests the hub for each file.
            dataset = getattr(datasets.Dataset, f"from_{self.kind}")([str(file)], streaming=True, **self.settings)
            for passed, text in enumerate(column_texts(str(file), dataset, self.column, first), first + 1):  # noqa: B007
                yield text, True, True
        except InputError:
            raise
        except Exception as error:  # readers raise errors of several libraries
            line = f"line {found:,}" if (found := _bad_line(file)) else f"behind row {passed:,}"
            raise InputError(f"{unreadable([file], error)} ({line}); repair or remove the shard") from error


class HubShards(Shards):
    """The shards of a split on the hub, streamed."""

    def __init__(self, name: str, dataset: datasets.IterableDataset, urls: Sequence[str], column: str) -> None:
        count = dataset.num_shards
        self.name, self.dataset, self.column = name, dataset, column
        self.names = [url.rpartition("/")[2] for url in urls]
        if len(self.names) != count:
            self.names = [f"shard {number} of {count}" for number in range(count)]
        self.stamps = list(urls)  # which contain the revision

    def rows(self, shard: int, first: int = 0) -> Iterator[TextRow]:
        name, passed = f"{self.name}, {self.names[shard]}", 0
        dataset = self.dataset.shard(num_shards=len(self.names), index=shard)
        try:
            for passed, text in enumerate(column_texts(name, dataset, self.column, first), first + 1):  # noqa: B007
                yield text, True, True
        except InputError:
            raise
        except Exception as error:  # of the network, too
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{name!r} cannot be read behind row {passed:,} ({type(error).__name__}: {reason}); try again with "
                "--resume, which goes on where the run was saved last"
            ) from error


def column_texts(name: str, dataset: datasets.IterableDataset, column: str, first: int) -> Iterator[str]:
    """The texts of a column that are not null, from number `first` on.

    Raises:
        InputError: there is no such column, or it holds something else, or no text at all.
    """
    empty = True
    for table in dataset.with_format("arrow").iter(ROWS_PER_READ):
        check_columns(name, [column], table.column_names)
        kind = table[column].type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise InputError(f"the column {column!r} of {name!r} holds {kind}; expected text")
        there = table[column].drop_null()
        empty = empty and not len(there)
        yield from there.slice(first).to_pylist()
        first = max(0, first - len(there))
    if empty:
        raise InputError(f"{name!r} has no text in column {column!r}; remove the shard, or name another column")


def _bad_line(path: Path) -> int | None:
    """The number of the first bad line of a file of JSON lines, if there is one."""
    if READERS[suffix(path)] != "json":
        return None
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    number = 0
    try:
        with opened(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
    except ValueError:
        return number
    except (OSError, EOFError):  # gzipped, and broken behind this line
        return number + 1
    return None


def local_shards(files: Sequence[Path], column: str) -> FileShards:
    """Local files, all text or all tables, as shards."""
    return TableShards(files, column) if is_table(files[0]) else TextShards(files)


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
