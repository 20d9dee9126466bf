"""Corpora: text in splits from the built-in corpus, local files or the Hugging Face hub, cached on disk."""

import glob
import hashlib
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

import datasets

from seqmodels.data.cache import generated, no_bars
from seqmodels.data.folders import SPLITS, TABLES, TEXT, files_told, in_splits, is_empty, split_of, suffix, told, walk
from seqmodels.data.given import Given, is_saved, saved, tables
from seqmodels.data.hub_tables import from_hub
from seqmodels.data.tables import is_table, marked, read_tables, select_texts
from seqmodels.data.text_files import FEATURES, cut, file_rows, standard_library
from seqmodels.data.text_kinds import is_binary, notes_on
from seqmodels.errors import InputError
from seqmodels.files import check_regular

BUILT_IN = "python"
"""The name of the corpus that works offline: the source of the standard library of the running Python."""

STANDARD_INPUT = "-"
"""The name that other programs have for it."""

Rows = Callable[[], datasets.Dataset]
Splits = Mapping[str, Rows | datasets.Dataset]


class Corpus:
    """Text in splits. A split is read when it is first asked for, and cached on disk.

    Args:
        origin: the source of the text, in one line for people.
        splits: rows, or how to read them, of `train`, `validation`, `test` if there is one, each of several test sets,
            and `whole`, the text before validation was split off. Rows have the columns `text`, `starts` and `ends`,
            the last two true where a document starts or ends; rows of a parallel corpus have `source` and `target`.
    """

    notes: Sequence[str] = ()
    """What people should know of the text, each in a line."""

    def __init__(self, origin: str, splits: Splits) -> None:
        self.origin, self.splits = origin, dict(splits)

    @property
    def test_sets(self) -> list[str]:
        """Names of the test sets, if there are several; `test` is all of them."""
        return [split for split in self.splits if split not in ("train", "validation", "test", "whole")]

    def rows(self, split: str) -> datasets.Dataset:
        """The rows of a split.

        Raises:
            InputError: there is no such split, or its text cannot be read.
        """
        if split not in self.splits:
            raise InputError(f"{self.origin} has no split {split!r}, only {', '.join(self.splits)}")
        rows = self.splits[split]
        with no_bars():
            return rows() if callable(rows) else rows


@dataclass(frozen=True)
class HeldOut:
    """Fractions of a training text that validate and test, where it has no such splits.

    Args:
        validation: fraction that validates, above 0.
        test: fraction that tests; 0: there is no test split then.

    Raises:
        InputError: a fraction is out of range, or nothing is left to train on.
    """

    validation: float = 0.1
    test: float = 0.0

    def __post_init__(self) -> None:
        for name, value, fits in (
            ("val_fraction", self.validation, 0 < self.validation < 1), ("test_fraction", self.test, 0 <= self.test < 1)
        ):  # fmt: skip
            if not fits:
                raise InputError(f"{name}={value} was given; expected a fraction between 0 and 1, such as 0.1")
        if self.validation + self.test >= 1:
            together = f"val_fraction={self.validation} and test_fraction={self.test} were given"
            raise InputError(f"{together}; expected less than 1 together, so that something is left to train on")

    def parts(self, origin: str, splits: Iterable[str]) -> dict[str, tuple[float, float]]:
        """First and last fraction of the training text that becomes each split; empty if it stays as it is.

        Raises:
            InputError: a test split was asked for, and there is one.
        """
        if "test" in splits and self.test:
            raise InputError(f"test_fraction={self.test} was given, and {origin} has a test split; leave it out")
        if "train" not in splits:
            return {}
        test = 1 - self.test
        border = test if "validation" in splits else test - self.validation
        parts = {"train": (0.0, border), "validation": (border, test), "test": (test, 1.0)}
        return {split: part for split, part in parts.items() if part[0] < part[1]} if border < 1 else {}


TENTH = HeldOut()
"""A tenth validates, and nothing tests."""


def load_corpus(
    source: str | Given, *, subset: str | None = None, column: str = "text", held_out: HeldOut = TENTH
) -> Corpus:
    """Load a corpus by name, or of what a program gave.

    Files and folders named train, valid and test are the splits, also shards such as `train-00000-of-00002.parquet`.
    Each row of a table is one document; rows whose text is null are left out and counted in the origin of the corpus.

    Args: as for `TextDataModule`, where `source` is called `data`.

    Raises:
        InputError: there is no such file or dataset, or no text in it.
    """
    if isinstance(source, Given) or is_saved(folder := Path(os.path.expanduser(source))):
        given = source if isinstance(source, Given) else saved(folder)
        if subset is not None:
            raise InputError(f"subset={subset!r} was given with {given.origin}; it is of datasets on the hub")
        origin = given.origin if isinstance(source, Given) else f"{folder.name}, {given.origin}"
        return _of_given(origin, given, column, held_out)
    if found := local_files(source):
        check_settings(*found, subset, column)
        return of_files(*found, column, held_out)
    return _of_tables(f"{source} from the hub", from_hub(source, subset, [column], BUILT_IN), column, held_out)


def of_files(origin: str, named: Mapping[str, list[Path]], column: str, held_out: HeldOut | None) -> Corpus:
    """A corpus of the files of each split, some of the training text held out where it is asked for.

    Raises:
        InputError: see `load_corpus`.
    """
    if any(is_table(file) for files in named.values() for file in files):
        tables = {split: read_tables(files, [column]) for split, files in named.items()}
        return _of_tables(origin, tables, column, held_out)

    def part(files: list[Path], first: float = 0.0, last: float = 1.0) -> Rows:
        return partial(generated, file_rows, files, FEATURES, first=first, last=last)

    splits = {split: part(files) for split, files in named.items()}
    if parts := held_out.parts(origin, splits) if held_out else {}:
        files = named["train"]
        splits |= {split: part(files, *ends) for split, ends in parts.items()} | {"whole": part(files)}
    corpus = Corpus(origin, splits)
    corpus.notes = notes_on(file for files in named.values() for file in files)
    return corpus


def check_settings(origin: str, named: Mapping[str, list[Path]], subset: str | None, column: str) -> None:
    """Refuse (InputError) settings that local files do not have: a subset, or a column of what is no table."""
    if subset is not None:
        raise InputError(f"subset={subset!r} was given with {origin}; it is of datasets on the hub")
    other = next((file for files in named.values() for file in files if not is_table(file)), None)
    if column != "text" and other:
        raise InputError(
            f"column={column!r} was given with {other.name}, which is no table; expected a file ending in "
            f"{', '.join(TABLES)}"
        )


def _of_given(origin: str, given: Given, column: str, held_out: HeldOut) -> Corpus:
    """A corpus of Python's data; a single text is split by its characters, as a file is."""
    found = tables(given, [column])
    if not (given.ours and list(found) == ["train"] and len(found["train"]) == 1):
        return _of_tables(origin, found, "text" if given.ours else column, held_out)
    text = found["train"][0]["text"]

    def rows(first: float, last: float) -> datasets.Dataset:
        begin, end = int(first * len(text)), int(last * len(text))
        if begin >= end:
            raise InputError(f"a text of {len(text)} characters is too short to be split into training and validation")
        pieces = [piece for piece, _ in cut([text[begin:end]])]
        starts = [begin == 0 and number == 0 for number in range(len(pieces))]
        columns = {"text": pieces, "starts": starts, "ends": [False] * len(pieces)}
        return datasets.Dataset.from_dict(columns, features=FEATURES)

    parts = held_out.parts(origin, found) | {"whole": (0.0, 1.0)}
    return Corpus(origin, {split: rows(*ends) for split, ends in parts.items()})


def _of_tables(origin: str, tables: Mapping[str, datasets.Dataset], column: str, held_out: HeldOut | None) -> Corpus:
    """A corpus of tables in splits, each row a document."""
    origin, splits = text_splits(origin, tables, {"text": column})
    if parts := held_out.parts(origin, splits) if held_out else {}:
        rows, left = splits["train"], len(parts)
        if len(rows) < left:
            needed = f"at least {left}, one each for {', '.join(parts)}"
            raise InputError(f"{origin} has {len(rows)} rows; expected {needed}")
        start = 0
        for split, (_, last) in parts.items():  # at least one row each
            left -= 1
            end = min(max(start + 1, round(len(rows) * last)), len(rows) - left)
            splits[split], start = rows.select(range(start, end)), end
        splits["whole"] = rows
    return Corpus(origin, {split: partial(marked, rows) for split, rows in splits.items()})


def text_splits(
    origin: str, tables: Mapping[str, datasets.Dataset], columns: Mapping[str, str]
) -> tuple[str, dict[str, datasets.Dataset]]:
    """Text columns of the table of each split, and the origin with the number of rows left out; see `select_texts`."""
    found = {split: select_texts(f"{origin}, {split}", rows, columns) for split, rows in tables.items()}
    left_out = sum(count for _, count in found.values())
    told = f"{origin}, {left_out:,} rows without text left out" if left_out else origin
    return told, {split: rows for split, (rows, _) in found.items()}


def local_files(source: str) -> tuple[str, dict[str, list[Path]]] | None:
    """Find local files by the name of a corpus.

    Returns:
        Their origin, for people, and the files of each split; None if the name means a dataset on the hub.

    Raises:
        InputError: there is no such file, none of text, or text and tables together.
    """
    if source == BUILT_IN:
        return _built_in()
    path = Path(os.path.expanduser(source))  # leaves ~ of an unknown user unchanged
    if path.is_dir():
        every = walk(path)
        files = [file for file in every if suffix(file) in (*TEXT, *TABLES) or file.name.lower() in SPLITS]
        if not files:
            expected = f"files ending in {', '.join((*TEXT, *TABLES))}, plain or with .gz behind"
            others = f"; found {files_told(every)}; {str(path / '*')!r} reads files of any name" if every else ""
            raise InputError(f"the directory {str(path)!r} holds no text; expected {expected}{others}")
        return _named(path.name, path, files, sorted({*every} - {*files}))
    if path.exists():
        check_regular(path)
        return f"the file {path.name}", {"train": [path]}
    if glob.has_magic(source):
        matches = sorted(file for name in glob.glob(str(path), recursive=True) if (file := Path(name)).is_file())
        if not matches:
            raise InputError(f"no file matches {source!r}; expected text files or tables, such as 'data/*.parquet'")
        binary = [file for file in matches if suffix(file) not in (*TEXT, *TABLES) and is_binary(file)]
        if len(binary) == len(matches):
            binary = []  # the first of which is refused by what it is
        return _named(source, path.parent, [file for file in matches if file not in binary], binary)
    if looks_like_a_path(source):
        expected = f"a text file, a directory of them, a hub name, or {BUILT_IN!r} for the built-in corpus"
        raise InputError(not_there(source, path, expected))
    return None


def _built_in() -> tuple[str, dict[str, list[Path]]]:
    files = standard_library()
    splits: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for path in files:  # by a hash of its name, so that its split does not depend on other files
        number = int(hashlib.sha256("/".join(path.parts[-2:]).encode()).hexdigest(), 16) % 50
        splits["validation" if number == 0 else "test" if number == 1 else "train"].append(path)
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return f"standard library of {version}, {len(files)} files", splits


def _named(name: str, root: Path, files: list[Path], others: list[Path]) -> tuple[str, dict[str, list[Path]]]:
    """Files in the splits that their names below a root stand for, and an origin that tells what is left out."""
    empty = [file for file in files if is_empty(file)]
    held = {file.relative_to(root) if file.is_relative_to(root) else Path(file.name): file for file in files}
    if not all(map(is_table, files)):  # in a folder of text, such a file configures a program
        others += [file for path, file in held.items() if suffix(file) == ".json" and not split_of(path)]
    kept = {path: file for path, file in held.items() if file not in {*empty, *others}}
    if not kept:
        raise InputError(f"all {len(files)} files in {name!r} are empty; expected text")
    splits, unnamed = in_splits(kept)
    used = list(dict.fromkeys(file for paths in splits.values() for file in paths))
    tables = [file for file in used if is_table(file)]
    if tables and len(tables) < len(used):
        text = next(file for file in used if not is_table(file))
        both = f"text ({text.name}) and tables ({tables[0].name})"
        pattern = "a pattern such as 'texts/*.txt', or call those to be used train, valid and test"
        raise InputError(f"{name!r} holds {both}; name one file, {pattern}")
    left_out = told(left_out=[*unnamed, *others], empty=empty)
    return f"{len(used)} file{'s' if len(used) > 1 else ''} in {name}{left_out}", splits


def looks_like_a_path(source: str) -> bool:
    """Whether a name is a local path, or an address, rather than a dataset on the hub."""
    path = source.startswith((".", "/", "~")) or source.count("/") > 1 or Path(source).suffix not in ("", ".0")
    return path or source == STANDARD_INPUT


def not_there(source: str, path: Path, expected: str) -> str:
    """What to say of a path that is not there, or of an address in its place."""
    if source == STANDARD_INPUT:
        return f"data={source!r} was given; text is read more than once, so write it to a file first, and give that"
    scheme, _, rest = source.partition("://")
    if not rest:
        return f"there is no file {source!r} (looked in {str(path.parent.absolute())!r}); expected {expected}"
    name = re.search("(?:^hf://|huggingface.co/)datasets/([^/]+/[^/@]+)", source)
    advice = (
        f"give its name, {name[1]}"
        if name
        else f"give its path, {rest}"
        if scheme == "file"
        else (
            f"download it first, with: curl -LO {quote(source)}"
            if scheme in ("http", "https", "ftp")
            else "download it first"
        )
    )
    return f"data={source!r} is an address; {advice}"
