"""Tables of text: JSON lines, CSV, TSV and Parquet files, and tables of the hub; each row is one document."""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from seqmodels.data.text_files import suffix
from seqmodels.errors import InputError

READERS = {
    ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
}  # fmt: skip
"""Readers of `datasets` by the suffix of a table."""

UNQUOTED = {"sep": "\t", "quoting": csv.QUOTE_NONE}
"""Tab-separated values have no quotes (IANA, text/tab-separated-values): the text is all that stands between tabs."""


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its suffix."""
    return suffix(path) in READERS


def reader(files: Sequence[Path], columns: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The reader of `datasets` for tables of one kind, and its settings.

    Raises:
        InputError: they are of several kinds, or one is empty or lacks a column.
    """
    kinds = sorted({suffix(path) for path in files})
    if len(kinds) > 1:
        raise InputError(f"tables of different kinds cannot be read as one ({', '.join(kinds)}); give one kind")
    for path in files:
        if not path.stat().st_size:
            raise InputError(f"{str(path)!r} is empty; expected a table with text in columns {list(columns)}")
        if kinds == [".parquet"] and path.suffix.lower() == ".gz":
            raise InputError(
                f"{str(path)!r} is zipped, which Parquet files are within; unzip it with: gunzip {path.name}"
            )
    kind, settings = READERS[kinds[0]], dict[str, Any]()
    if kind == "csv":
        for path in files:
            check_columns(str(path), columns, _header(path))
        # Unchanged: "NA" is not null, nor "007" a number.
        text = datasets.Features({column: datasets.Value("string") for column in columns})
        settings = {"usecols": list(columns), "features": text, "keep_default_na": False}
        settings |= UNQUOTED if kinds == [".tsv"] else {}
    return kind, settings


def unreadable(files: Sequence[Path], error: Exception) -> InputError:
    """The error for tables that cannot be read, whichever library raised `error`."""
    reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    kind = suffix(files[0]).lstrip(".")
    return InputError(f"{', '.join(str(path) for path in files)!r} cannot be read as {kind}: {reason[:160]}")


def read_tables(files: Sequence[Path], columns: Sequence[str]) -> datasets.Dataset:
    """All rows of tables of one kind, with at least these columns.

    Raises:
        InputError: a file is empty or damaged, or lacks a column.
    """
    try:
        kind, settings = reader(files, columns)
        names = {"train": [str(path.absolute()) for path in files]}
        return datasets.load_dataset(kind, data_files=names, **settings)["train"]
    except InputError:
        raise
    except Exception as error:  # readers raise errors of several libraries
        raise unreadable(files, error) from error


def _header(path: Path) -> list[str]:
    """The column names of a CSV or TSV file."""
    opened: Any = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        if suffix(path) == ".tsv":
            return next(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), [])
        return next(csv.reader(file), [])


def check_columns(name: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    """Check that a table has its text column, or the columns of sentences and translations.

    Raises:
        InputError: one is missing; the message lists the columns of the table.
    """
    if missing := [column for column in wanted if column not in columns]:
        advice = "name another with --column" if len(wanted) == 1 else "the columns are called as source and target are"
        raise InputError(f"{name!r} has columns {list(columns)}; expected the text in column {missing[0]!r}; {advice}")


def document_rows(name: str, rows: datasets.Dataset, column: str) -> tuple[datasets.Dataset, int]:
    """Every row of a table as one document; rows whose text is null are left out, empty texts are not.

    Args:
        name: name of the table in error messages.
        rows: the table.
        column: its text column.

    Returns:
        Rows of `text` alone, and the number of rows left out.

    Raises:
        InputError: there is no such column, or it holds no text.
    """
    check_columns(name, [column], rows.column_names)
    held = rows.features[column]
    rows = rows.select_columns([column])
    rows = rows if column == "text" else rows.rename_column(column, "text")
    valid = [np.zeros(0, bool)]
    for batch in rows.with_format("arrow").iter(10_000):
        try:
            batch["text"].validate(full=True)
        except ValueError as error:  # readers let it through
            raise InputError(f"{name!r} has text in column {column!r} that is not UTF-8; convert it first") from error
        valid.append(np.asarray(batch["text"].is_valid()))
    there = np.concatenate(valid)
    if not there.any():
        raise InputError(f"{name!r} has no text in column {column!r}: {len(rows):,} rows, all without")
    if held not in (datasets.Value("string"), datasets.Value("large_string")):
        raise InputError(f"the column {column!r} of {name!r} holds {held}; expected text")
    left_out = len(rows) - int(there.sum())
    return rows.select(np.flatnonzero(there)) if left_out else rows, left_out


def marked(rows: datasets.Dataset) -> datasets.Dataset:
    """Rows of `text` with columns `starts` and `ends`, all true: each row is a whole document."""
    return rows.map(_whole, batched=True)


def _whole(batch: dict[str, list[str]]) -> dict[str, list[bool]]:
    return {"starts": [True] * len(batch["text"]), "ends": [True] * len(batch["text"])}
