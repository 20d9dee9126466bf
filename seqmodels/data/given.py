"""Data given as Python objects: Hugging Face datasets, lists, generators and splits of them become tables."""

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from seqmodels.config import Described
from seqmodels.data.folders import SPLITS
from seqmodels.data.vocabularies import is_unicode
from seqmodels.errors import InputError, one_line

Table: TypeAlias = datasets.Dataset | datasets.IterableDataset
SAVED = ("dataset_dict.json", "dataset_info.json")
"""Files of a folder that `save_to_disk` of `datasets` wrote; the second, of a single dataset, has a state beside it."""
SIDES = ("source", "target")
"""Columns of sentences and their translations."""
UNITS = ("texts", "pairs")
"""What a list of a language model holds, and one of a translator."""
NAME_CHARACTERS, PATH_CHARACTERS = 255, 4095
"""The longest name of a file, and the longest path, that systems take."""


class Given(Described):
    """Data that a program gave, in its splits; a run's record describes them, and cannot bring them back.

    Args:
        data: a Dataset, IterableDataset or a dict of them by split; or a list or generator of texts (with `pairs`, of
            pairs of texts), which is read here, once, or a dict of these by split.
        pairs: whether sentences and translations are expected.

    Raises:
        InputError: it is something else, or empty.
    """

    def __init__(self, data: Any, pairs: bool = False) -> None:
        unit = UNITS[pairs]
        by_split = data if isinstance(data, Mapping) else {"train": data}
        self.ours = False
        """Whether the columns are called as this package does, and not by the user."""
        self.splits: dict[str, Table] = {}
        for name, part in by_split.items():
            if str(name) not in SPLITS:
                if not isinstance(data, datasets.DatasetDict | datasets.IterableDatasetDict):
                    expected = "train, validation and test"
                    raise InputError(f"data has a split {one_line(repr(name)):.60}; expected {expected}")
                continue
            split = SPLITS[str(name)]
            if split in self.splits:
                same = [str(other) for other in by_split if SPLITS.get(str(other)) == split]
                raise InputError(f"data has splits {same}, which all mean {split}; give one of them")
            self.splits[split] = part if isinstance(part, Table) else self._table(part, pairs)
        if not self.splits:
            raise InputError(f"data has splits {list(by_split)}; expected a split 'train'")
        kind = type(data).__name__
        counted = [part for part in self.splits.values() if isinstance(part, datasets.Dataset)]
        self.rows = sum(map(len, counted)) if len(counted) == len(self.splits) else None
        known = isinstance(data, Table | datasets.DatasetDict | datasets.IterableDatasetDict)
        self.kind = kind if known else unit
        """What it is, for people: Dataset, or texts."""

    def _table(self, data: Any, pairs: bool) -> datasets.Dataset:
        """The table of a list or generator."""
        items = list(items_of(data, pairs))
        expected = "a pair of texts" if pairs else "text"
        if not items:
            raise InputError(f"data is empty; expected {expected}s")
        if all(isinstance(item, Mapping) for item in items):
            return datasets.Dataset.from_list([dict(item) for item in items])
        for number, item in enumerate(items, 1):
            parts = item if pairs and isinstance(item, tuple | list) else (item,)
            fits = len(parts) == (2 if pairs else 1) and all(isinstance(part, str) for part in parts)
            if not (fits and all(map(is_unicode, parts))):
                given = f"{one_line(repr(item)):.60} of type {type(item).__name__}"
                raise InputError(f"item {number:,} of data is {given}; expected {expected}")
        self.ours = True
        if not pairs:
            return datasets.Dataset.from_dict({"text": list(map(str, items))})
        return datasets.Dataset.from_dict({side: [str(item[n]) for item in items] for n, side in enumerate(SIDES)})

    @property
    def name(self) -> str:
        """For the name of a run."""
        return self.kind.lower()

    @property
    def origin(self) -> str:
        """The source of the data, in one line for people."""
        if self.rows is None:
            return f"{self.kind} given in Python"
        if self.ours:
            return f"{self.rows:,} {self.kind}"
        return f"{self.rows:,} rows of {self.kind}" if self.kind in UNITS else f"a {self.kind} of {self.rows:,} rows"

    @property
    def description(self) -> dict[str, Any]:
        """See `config.Described`: its kind, its rows, and the fingerprints of `datasets`."""
        counted = {name: part for name, part in self.splits.items() if isinstance(part, datasets.Dataset)}
        prints = {name: part._fingerprint for name, part in counted.items()}
        return {"given": self.kind, "rows": self.rows, "fingerprints": prints}


def items_of(data: Any, pairs: bool) -> Iterator[Any]:
    """The items of a list or generator; refuses what is none, by an InputError."""
    kind = type(data)
    if kind.__module__.startswith("pandas"):
        if kind.__name__ == "Series":
            raise InputError("data is a column of pandas; give list(...) of it")
        raise InputError("data is a table of pandas; give datasets.Dataset.from_pandas(...) of it")
    if isinstance(data, set | frozenset):
        raise InputError("data is a set, which has another order in each process; give sorted(...) of it")
    if inspect.isroutine(data):
        raise InputError(f"data is the function {data.__name__}; give what it returns, {data.__name__}()")
    if isinstance(data, str | bytes | os.PathLike) or not isinstance(data, Iterable):
        raise InputError(
            f"data={one_line(repr(data)):.60} of type {kind.__name__} was given; expected a path, a hub name, a "
            f"Dataset or DatasetDict, or a list or generator of {UNITS[pairs]}"
        )
    return iter(data)


def accepted(data: Any, pairs: bool = False) -> Any:
    """The argument `data` of a data module: names and paths as text, all else as `Given`.

    Raises:
        InputError: it is nothing that data can be.
    """
    if isinstance(data, str) and is_text(data):
        raise InputError(
            f"data is a text of {len(data):,} characters, {one_line(repr(data)):.40}...; expected a path, a name or a "
            f"list of {UNITS[pairs]}"
        )
    if isinstance(data, str | Given) or is_description(data):
        return data
    if isinstance(data, os.PathLike):
        return os.fspath(data)
    if isinstance(data, list | tuple) and data and all(isinstance(item, str | os.PathLike) for item in data):
        names = [os.fspath(item) for item in data]
        if pairs:
            return names  # files of sources and of translations
        if all(len(name) < 1000 and "\n" not in name and Path(name).exists() for name in names):
            raise InputError(
                f"data is a list of names of files, such as {names[0]!r}; a list is read as texts: give a folder, or a "
                "pattern such as 'data/*.txt'"
            )
    return Given(data, pairs)


def is_text(data: str) -> bool:
    """Whether a string is a text and no path: it has several lines, or is longer than a path can be."""
    longest = max(map(len, data.split(os.sep)))
    is_long = longest > NAME_CHARACTERS or len(data) > PATH_CHARACTERS
    return ("\n" in data or is_long) and not os.path.exists(data)


def is_data(data: Any) -> bool:
    """Whether a value may be data: a name, a path, a dataset, or something that texts can be read from."""
    return isinstance(data, str | os.PathLike | Table | Iterable) and not isinstance(data, bytes)


def is_description(data: Any) -> bool:
    """Whether a value describes data that were given in Python, as a record of a run does."""
    return isinstance(data, dict) and data.keys() == {"given", "rows", "fingerprints"}


def refuse_description(data: Mapping[str, Any]) -> None:
    """Refuse data of which there is only a description, by an InputError."""
    rows = "" if data["rows"] is None else f", {data['rows']:,} rows"
    prints = data["fingerprints"]
    known = f", fingerprint {next(iter(prints.values()))}" if isinstance(prints, dict) and prints else ""
    raise InputError(
        f"the data were given in Python ({data['given']}{rows}{known}), and no file has them; give --data a folder "
        "that their save_to_disk wrote, or take the same data in Python: fit(task, data, resume=...) goes on, and "
        "Trainer().validate(task, datamodule=...) scores"
    )


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of `datasets` wrote a folder."""
    return (folder / SAVED[0]).is_file() or all((folder / name).is_file() for name in (SAVED[1], "state.json"))


def saved(folder: Path) -> Given:
    """The dataset that `save_to_disk` wrote.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Given(datasets.load_from_disk(str(folder)))
    except InputError as error:
        raise InputError(f"{str(folder)!r}: {error}") from error
    except Exception as error:  # of several libraries
        why = one_line(str(error))[:160]
        raise InputError(f"{str(folder)!r} cannot be read as a dataset of save_to_disk: {why}") from error


def tables(given: Given, columns: Sequence[str]) -> dict[str, datasets.Dataset]:
    """The table of each split; what is read in sequence only is read here, once, into memory: some columns of it."""
    return {name: in_memory(part, columns) for name, part in given.splits.items()}


def in_memory(part: Table, columns: Sequence[str]) -> datasets.Dataset:
    """A table whose rows have numbers."""
    if isinstance(part, datasets.Dataset):
        return part.with_format(None)
    rows = list(part.with_format(None))
    if not rows:
        raise InputError("data is empty; expected rows of text")
    kept = [name for name in rows[0] if name in columns] or list(rows[0])
    return datasets.Dataset.from_list([{name: row.get(name) for name in kept} for row in rows])
