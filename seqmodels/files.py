"""Plain data from files that anyone may have written: JSON within limits, read from regular files."""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from seqmodels.errors import InputError

DEPTH = 50
"""Most levels of lists and objects within one another."""
SMALL = 4 << 20
"""Bytes of a small file: figures, settings, rows of a table."""

Path_ = str | os.PathLike[str]


def local(path: Path_) -> Path:
    """A path of this machine, with ~ spelled out.

    Raises:
        InputError: it is the address of something elsewhere, or no path at all.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)", text):
        raise InputError(f"{text!r} is an address, and only files of this machine are opened; fetch it first yourself")
    if "\0" in text:
        raise InputError(f"{text!r} was given, and no path has a NUL character; expected that of a file")
    return Path(text).expanduser()


def check_regular(path: Path) -> int:
    """Bytes of a regular file; a pipe or a device is not opened, since it may never end, or never begin.

    Raises:
        InputError: it is something else, or is not there.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{str(path)!r} is no regular file (a folder, a pipe or a device); expected a file")
    return found.st_size


def read_small(path: Path, most: int = SMALL) -> str:
    """The text of a regular file, UTF-8.

    Args:
        path: of this machine.
        most: bytes that it may have.

    Raises:
        InputError: it cannot be read, is larger, or is not UTF-8.
    """
    if (size := check_regular(path)) > most:
        raise InputError(f"{str(path)!r} has {size:,} bytes; expected at most {most:,}, so it is not what it should be")
    try:
        with path.open("rb") as file:
            return file.read(most + 1).decode()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 ({error.reason}); expected text") from error


def parsed(text: str, name: str) -> Any:
    """What JSON says, every field once, at most `DEPTH` levels deep.

    A field that is given twice is refused, since readers do not agree on which one counts.

    Args:
        text: the JSON.
        name: what to call it where something is wrong.

    Raises:
        InputError: it is no JSON, or goes deeper.
    """
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply; expected at most {DEPTH} levels") from error
    except ValueError as error:
        raise InputError(f"{name} is no JSON: {error}; it may be damaged") from error
    check_depth(found, name)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is given twice")
    return found


def check_depth(value: Any, name: str) -> None:
    """Refuse plain data that goes deeper than `DEPTH` levels; it holds no part of itself.

    Raises:
        InputError: it does.
    """
    level = [value]
    for _ in range(DEPTH):
        level = [
            part
            for outer in level
            if isinstance(outer, dict | list)
            for part in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise InputError(f"{name} is nested too deeply; expected at most {DEPTH} levels")


def read_json(path: Path, most: int = SMALL) -> dict[str, Any]:
    """The object in a small file of JSON.

    Raises:
        InputError: there is none; see `read_small` and `parsed`.
    """
    found = parsed(read_small(path, most), repr(str(path)))
    if not isinstance(found, dict):
        raise InputError(f"{str(path)!r} holds a {type(found).__name__}; expected an object of JSON")
    return found


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which is there under its name only once all of it is on the disk.

    It is written beside its place, synced and renamed, so that whatever is killed or full, there is the file that was
    there before or the whole new one.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names that were given in a folder last through a loss of power from here on."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_beside(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole(path) as file:
        file.write(text.encode("utf-8"))
