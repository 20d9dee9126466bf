"""Tables of text: JSON lines, CSV, TSV and Parquet files, and tables of the hub; each row is one document."""

import csv
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq

from seqmodels.data.cache import cache_folder, generated, no_bars
from seqmodels.data.folders import TABLES, suffix
from seqmodels.data.text_files import chunks, lines
from seqmodels.data.vocabularies import is_unicode
from seqmodels.errors import InputError

TRANSLATION = "translation"
"""The column of the hub's translation datasets: a sentence for each language."""

ROWS_PER_READ = 64
"""Rows of a Parquet file that are read at a time: row groups may be large."""

RETURN = "\uffff"
"""Stands for a carriage return inside a field, which `csv` takes for a line end; no text has this noncharacter."""

NAMED = 12
"""Columns that an error names; of others, the number."""

ANKI = re.compile("#(separator|html|columns|(notetype|deck|tags|guid)( column)?):")
"""What a line before the text begins with in exports of Anki."""

Records = Iterator[tuple[int, dict[str, Any]]]
"""Rows by the names of their columns, with the number of the line or row."""


def is_table(path: Path) -> bool:
    """Whether a file is a table, by its suffix."""
    return suffix(path) in TABLES


def read_tables(
    files: Sequence[Path], columns: Sequence[str], *, header: bool = True, skipped: int = 0
) -> datasets.Dataset:
    """Some columns of all rows of tables of one kind, without the first rows that are to be `skipped`.

    Raises:
        InputError: they are of several kinds; or see `table_rows`.
    """
    kinds = sorted({suffix(path) for path in files})
    if len({READERS[kind] for kind in kinds}) > 1:
        raise InputError(
            f"tables of different kinds cannot be read as one ({', '.join(kinds)}); give one, such as {str(files[0])!r}"
        )
    features = datasets.Features({column: datasets.Value("string") for column in columns})
    return generated(_table_rows, files, features, columns=tuple(columns), header=header, skipped=skipped)


def _table_rows(
    files: tuple[str, ...], stamps: tuple[str, ...], columns: tuple[str, ...], header: bool, skipped: int
) -> Iterator[dict[str, Any]]:
    for file in files:
        yield from itertools.islice(table_rows(Path(file), columns, header=header), skipped, None)


def table_rows(path: Path, columns: Sequence[str], *, header: bool = True) -> Iterator[dict[str, str | None]]:
    """The texts of some columns of a table, row by row: None where a row has none. No other column matters.

    Values are text as it is written: "NA" is not null, nor "007" a number. In a table with a column `translation` that
    holds a sentence for each language, languages are columns. Without a header, columns are called by their numbers
    from 1, and a file is tab-separated unless its name ends in `.csv`.

    Raises:
        InputError: the file cannot be read, is damaged or empty, lacks a column, or has a value that is no text; the
            message has the number of the line or row.
    """
    kind, found = suffix(path), dict[str, None]()
    reader = READERS[kind] if header else partial(_csv if kind == ".csv" else _tsv, header=False)
    number = 0
    try:
        for number, row in reader(path, columns):
            if isinstance(inner := row.get(TRANSLATION), dict):
                row = {**row, **inner}
            if len(found) < len(columns):
                found |= dict.fromkeys(column for column in columns if column in row)
            texts = {column: row.get(column) for column in columns}
            for column, text in texts.items():
                if not (text is None or (isinstance(text, str) and is_unicode(text))):
                    held = f"{text!r:.40} ({'row' if kind == '.parquet' else 'line'} {number:,})"
                    raise InputError(f"the column {column!r} of {str(path)!r} holds {held}; expected text")
            yield texts
    except InputError:
        raise
    except Exception as error:  # readers raise errors of several libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{str(path)!r} cannot be read as {kind[1:]}: {reason[:160]}; repair or remove it") from error
    if number:
        check_columns(str(path), columns, list(dict.fromkeys([*row, *found])))


def _json(path: Path, columns: Sequence[str]) -> Records:
    """Objects, one a line, or in one list, also one under a key of an object."""
    numbered: Iterable[tuple[int, Any]]
    if next(chunks(path)).lstrip().startswith("["):
        numbered = enumerate(json.loads("".join(chunks(path))), 1)
    elif suffix(path) == ".json" and _is_one_object(path):
        numbered = enumerate(_under_a_key(json.loads("".join(chunks(path))), columns), 1)
    else:
        numbered = ((number, _parsed(number, line)) for number, line in enumerate(lines(path), 1) if line.strip())
    for number, row in numbered:
        if not isinstance(row, dict):
            expected = f"an object with {columns[0]!r}"
            raise ValueError(f"a {type(row).__name__} in place of {expected} (line {number:,})")
        yield number, row


def _is_one_object(path: Path) -> bool:
    """Whether a file that begins with an object has no other: its first line is none, or there is no second."""
    texts = (line for line in lines(path) if line.strip())
    try:
        json.loads(next(texts))
    except (ValueError, RecursionError):
        return True
    return next(texts, None) is None


def _under_a_key(found: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    """The rows of an object: those of the one list of objects in it, or the object itself."""
    tables = [name for name, rows in found.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    if not tables or {TRANSLATION, *columns} & found.keys():
        return [found]
    if len(tables) > 1:
        raise ValueError(f"it has several tables, {', '.join(tables[:NAMED])}; write each to a file of its own")
    rows: list[Any] = found[tables[0]]
    return rows


def _parsed(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{error} (line {number:,})") from error


def _csv(path: Path, columns: Sequence[str], header: bool = True) -> Records:
    """Fields between commas, or between what the header has in their place: semicolons in exports of many countries."""
    first, second = [*itertools.islice(lines(path), 2), ""][:2]
    skipped = int(re.fullmatch("sep=[,;\t|]", first.strip(" \r"), re.IGNORECASE) is not None)  # Excel's line
    headers = {mark: next(csv.reader([second if skipped else first], delimiter=mark), []) for mark in ",;\t|"}
    most = max(headers, key=lambda mark: len(headers[mark])) if header else ","  # named, where a column is missing
    delimiter = next((mark for mark, names in headers.items() if header and set(columns) <= set(names)), most)
    limit = csv.field_size_limit(sys.maxsize)
    read = (line.replace("\r", RETURN) + "\n" for line in itertools.islice(lines(path), skipped, None))
    reader = csv.reader(read, delimiter=delimiter, strict=True)
    rows = (
        (reader.line_num + skipped, [field.replace(RETURN, "\r") for field in fields]) for fields in reader if fields
    )
    try:
        yield from _by_name(path, columns, rows, header)
    except csv.Error as error:
        raise ValueError(f"{error} (line {reader.line_num:,})") from error
    finally:
        csv.field_size_limit(limit)


def _tsv(path: Path, columns: Sequence[str], header: bool = True) -> Records:
    """There are no quotes (IANA, text/tab-separated-values): the text is all that stands between tabs."""
    texts: Iterable[tuple[int, str]] = ((number, line) for number, line in enumerate(lines(path), 1) if line)
    if not header:
        texts = itertools.dropwhile(lambda line: ANKI.match(line[1]) is not None, texts)
    rows = ((number, line.split("\t")) for number, line in texts)
    yield from _by_name(path, columns, rows, header)


def _by_name(path: Path, columns: Sequence[str], rows: Iterable[tuple[int, list[str]]], header: bool) -> Records:
    """Rows of fields by the names in the first row, or by numbers."""
    rows = iter(rows)
    names = next(rows, (0, []))[1] if header else list(map(str, range(1, 1 + max(map(int, columns)))))
    check_columns(str(path), columns, names)
    if twice := [column for column in columns if names.count(column) > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}")
    for number, fields in rows:
        if len(fields) < len(names) or (header and any(fields[len(names) :])):
            between = "" if suffix(path) == ".csv" else " between tabs"
            raise ValueError(f"{len(fields)} fields{between} in place of {len(names)} (line {number:,})")
        yield number, dict(zip(names, fields, strict=False))


def _parquet(path: Path, columns: Sequence[str]) -> Records:
    if path.suffix.lower() == ".gz":
        raise InputError(f"{str(path)!r} is zipped, which Parquet files are within; unzip it with: gunzip {path.name}")
    with pq.ParquetFile(path if isinstance(path, Path) else path.open("rb")) as file:
        names = file.schema_arrow.names
        wanted = columns if TRANSLATION not in names or set(columns) <= set(names) else [TRANSLATION, *columns]
        check_columns(str(path), wanted[:1], names)
        batches = file.iter_batches(ROWS_PER_READ, columns=[name for name in wanted if name in names])
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)


def _lines(path: Path, columns: Sequence[str]) -> Records:
    """Plain text as the hub shows it: a table of its lines, called `text`."""
    check_columns(str(path), columns, ["text"])
    yield from ((number, {"text": line}) for number, line in enumerate(lines(path), 1))


READERS: dict[str, Callable[[Path, Sequence[str]], Records]] = {
    ".jsonl": _json, ".ndjson": _json, ".json": _json, ".csv": _csv, ".tsv": _tsv, ".parquet": _parquet,
    ".txt": _lines,
}  # fmt: skip
"""Readers by the suffix of a table; text is one on the hub alone."""


def check_columns(name: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    """Check that a table has its text column, or the columns of sentences and translations.

    Raises:
        InputError: one is missing; the message lists the columns of the table.
    """
    if missing := [column for column in wanted if column not in columns]:
        advice, no_header = "name another with --column", "add one"
        if len(wanted) == 2:
            advice, no_header = "name the columns with --source and --target", "give two numbers, such as --columns 1 2"
        if name.removesuffix(".gz").endswith((".csv", ".tsv")):
            advice += f"; names are in the first line of the file: where that is text, {no_header}"
        more = f" and {len(columns) - NAMED:,} more" if len(columns) > NAMED else ""
        has = f"{name!r} has columns {list(columns[:NAMED])}{more}"
        raise InputError(f"{has}; expected the text in column {missing[0]!r}; {advice}")


def select_texts(name: str, rows: datasets.Dataset, columns: Mapping[str, str]) -> tuple[datasets.Dataset, int]:
    """Text columns of a table alone, and the number of rows left out, in which one is null; empty texts stay.

    Args:
        name: name of the table in error messages.
        rows: the table.
        columns: new names of the columns, and their own.

    Raises:
        InputError: there is no such column, or it holds no text.
    """
    own = list(columns.values())
    languages = rows.features.get(TRANSLATION)
    languages = getattr(languages, "languages", languages)  # of a feature of its own, or of a plain struct
    if isinstance(languages, dict | list | tuple) and not set(own) <= set(rows.column_names):
        check_columns(name, own, list(languages))
        rows = rows.select_columns([TRANSLATION]).flatten()
        own = [f"{TRANSLATION}.{column}" for column in own]
    check_columns(name, own, rows.column_names)
    rows = rows.select_columns(own)
    for column in own:
        if getattr(rows.features[column], "dtype", None) not in ("string", "large_string", "null"):
            raise InputError(f"the column {column!r} of {name!r} holds {rows.features[column]}; expected text")
    there = [np.zeros(0, bool)]
    for batch in rows.with_format("arrow").iter(10_000):
        try:
            batch.validate(full=True)
        except ValueError as error:  # readers let it through
            raise InputError(f"{name!r} has text in columns {own} that is not UTF-8; convert it first") from error
        there.append(np.logical_and.reduce([np.asarray(column.is_valid()) for column in batch.columns]))
    valid = np.concatenate(there)
    if not valid.any():
        raise InputError(f"{name!r} has no text in column {', '.join(map(repr, own))}: {len(rows):,} rows, all without")
    rows = rows.rename_columns({old: new for new, old in zip(columns, own, strict=True) if old != new})
    return rows if valid.all() else rows.select(np.flatnonzero(valid)), int((~valid).sum())


def marked(rows: datasets.Dataset) -> datasets.Dataset:
    """Rows of `text` with columns `starts` and `ends`, all true: each row is a whole document.

    They are cached; those of a user's own folder in our cache, and not beside them, where `datasets` would write.
    """
    own = any(not Path(file["filename"]).is_relative_to(datasets.config.HF_DATASETS_CACHE) for file in rows.cache_files)
    place = str(cache_folder() / f"{rows._fingerprint}.marked.arrow") if own else None
    with no_bars():
        return rows.map(_whole, batched=True, cache_file_name=place)


def _whole(batch: dict[str, list[str]]) -> dict[str, list[bool]]:
    return {"starts": [True] * len(batch["text"]), "ends": [True] * len(batch["text"])}
