"""What was measured during a training, as a CSV file that grows; read back from one that anybody may have written."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from seqmodels.errors import InputError
from seqmodels.files import read_small

MOST = 64 << 20
"""Bytes of such a file."""
LARGEST = 10**15
"""Largest whole number in it."""


def append_measurements(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]) -> None:
    """Add rows to a file, below a first line with the names of the columns; numbers with six digits.

    Args:
        path: of the file, which is made where it is not there.
        columns: what the columns are called.
        rows: a value for each column.
    """
    begins = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if begins:
            writer.writerow(columns)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)


def read_measurements(path: Path, columns: dict[str, type]) -> list[tuple[str | int | float, ...]]:
    """The rows of a file, its last one left out where a process died while it wrote it.

    Args:
        path: of the file.
        columns: names of its columns, and what is in them: str, int or float.

    Raises:
        InputError: it is not there, too large, or not what it should be.
    """
    text = read_small(path, MOST)
    whole = text[: text.rfind("\n") + 1]
    try:
        header, *rows = list(csv.reader(io.StringIO(whole, newline=""))) or [[]]
        if header != list(columns):
            raise ValueError(f"its columns are {', '.join(header)[:80]}")
        kinds = columns.values()
        found = [tuple(kind(field) for kind, field in zip(kinds, row, strict=True)) for row in rows]
        if any(isinstance(value, int) and abs(value) > LARGEST for row in found for value in row):
            raise ValueError(f"it has a whole number above {LARGEST:,}")
        return found
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{str(path)!r} is damaged ({error}); expected the columns {', '.join(columns)}, so delete it"
        ) from error
