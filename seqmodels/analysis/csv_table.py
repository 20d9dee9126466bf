"""The CSV tables of a run: `metrics.csv`, `gradient_horizon.csv` and `spectra.csv`.

Tables grow while a model trains, so the last line of a process that was killed may be incomplete; it is left out.
Floats are written with all the digits that restore the same bits. Files are read within limits, since anybody may have
written them.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqmodels.errors import InputError
from seqmodels.files import append_text, read_small, write_text

MAX_BYTES = 64 << 20
"""Largest table that is read."""
MAX_INTEGER = 10**15
"""Largest integer in a table."""

Value = str | int | float
Row = Mapping[str, Value]


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows, values by column, to a table; the table is made, and columns are added, where they are missing."""
    rows = list(rows)
    columns = [] if not path.exists() else _header(path)
    new = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in columns]
    if new:
        before = read_rows(path) if columns else []
        write_text(path, _text([*columns, *new], [*before, *rows]))
    elif rows:
        append_text(path, _text(columns, rows, header=False))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The complete rows of a table: text by column.

    Raises:
        InputError: the table is missing, too large or damaged.
    """
    columns, rows = _parsed(read_small(path, MAX_BYTES), path)
    if any(len(row) != len(columns) for row in rows):
        raise InputError(f"{str(path)!r} is damaged: its rows differ in length; expected {len(columns)} fields in each")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def read_table(path: Path, columns: Mapping[str, type[Value]]) -> list[tuple[Any, ...]]:
    """The complete rows of a table with known columns, by name and type: str, int or float.

    Raises:
        InputError: the table is missing, too large or damaged, or has other columns.
    """
    rows = read_rows(path)
    try:
        if rows and list(rows[0]) != list(columns):
            raise ValueError(f"its columns are {', '.join(rows[0])[:80]}")
        table = [tuple(kind(row[name]) for name, kind in columns.items()) for row in rows]
        if any(isinstance(value, int) and abs(value) > MAX_INTEGER for row in table for value in row):
            raise ValueError(f"it has an integer above {MAX_INTEGER:,}")
    except ValueError as error:
        raise InputError(
            f"{str(path)!r} is damaged ({error}); expected the columns {', '.join(columns)}, so delete it"
        ) from error
    return table


def filter_rows(path: Path, keep: Callable[[int, Mapping[str, str]], bool]) -> None:
    """Rewrite a table with the complete rows that `keep` accepts, by their step; a missing table is passed over.

    Raises:
        InputError: it is no table.
    """
    if not path.exists():
        return
    columns, rows = _parsed(path.read_bytes().decode(errors="replace"), path)
    complete = [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
    kept = [row for row in complete if row.get("step", "").isdecimal() and keep(int(row["step"]), row)]
    write_text(path, _text(columns, kept))


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _parsed(text: str, path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a text, without an incomplete last line."""
    try:
        header, *rows = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))) or [[]]
    except csv.Error as error:
        raise InputError(f"{str(path)!r} is damaged: {error}; expected a table as CSV") from error
    return header, rows


def _text(columns: Sequence[str], rows: Iterable[Row], header: bool = True) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
