"""Files and streams: JSON of unknown origin read within limits, text written atomically, output on any console."""

import contextlib
import errno
import gc
import json
import math
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from seqmodels.errors import InputError

DEPTH = 50
"""Most levels of lists and objects within one another."""
SMALL = 4 << 20
"""Most bytes of a small file: metrics, settings, rows of a table."""

AnyPath = str | os.PathLike[str]


def local(path: AnyPath) -> Path:
    """A path on this machine, with ~ expanded.

    Raises:
        InputError: it is a URL, or no path at all.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(//|:)", text):
        raise InputError(f"{text!r} is an address, and only files of this machine are opened; fetch it first yourself")
    if "\0" in text:
        raise InputError(f"{text!r} was given, and no path has a NUL character; expected that of a file")
    return Path(text).expanduser()


def check_regular(path: Path) -> int:
    """The size of a regular file in bytes; of others, an InputError.

    Pipes and devices are not opened: reading them may never end or begin.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{str(path)!r} is no regular file (a folder, a pipe or a device); expected a file")
    return found.st_size


def read_small(path: Path, most: int = SMALL) -> str:
    """The text of a regular file, UTF-8, of at most so many bytes.

    Raises:
        InputError: it cannot be read, is larger, or is not UTF-8.
    """
    if (size := check_regular(path)) > most:
        raise InputError(
            f"{str(path)!r} has {size:,} bytes; expected at most {most:,}, so it is another file, or damaged"
        )
    try:
        with path.open("rb") as file:
            return file.read(most + 1).decode("utf-8-sig")  # some editors begin a text with a byte order mark
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 ({error.reason}); expected text") from error


def parse_json(text: str, name: str) -> Any:
    """JSON as Python values, at most `DEPTH` levels deep. Duplicate fields are refused: readers disagree on them.

    Args:
        text: the JSON.
        name: in error messages.

    Raises:
        InputError: it is not JSON, or nested more deeply.
    """
    try:
        with _without_collection():
            found = json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError as error:
        raise InputError(f"{name} is nested too deeply; expected at most {DEPTH} levels") from error
    except ValueError as error:
        raise InputError(f"{name} is no JSON: {error}; it may be damaged") from error
    check_depth(found, name)
    return found


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No garbage is searched for while many objects are made, of which none is garbage: it would take longer."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of plain data, with null for numbers that are not finite, which JSON does not have."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field is given twice")
    return found


def check_depth(value: Any, name: str) -> None:
    """Refuse (InputError) lists and dicts nested more than `DEPTH` levels deep."""
    level = [value]
    for _ in range(DEPTH + 1):
        nested = [outer for outer in level if isinstance(outer, (dict, list))]
        if not nested:
            return
        level = [part for outer in nested for part in (outer.values() if isinstance(outer, dict) else outer)]
    raise InputError(f"{name} is nested too deeply; expected at most {DEPTH} levels")


def read_json(path: Path, most: int = SMALL) -> dict[str, Any]:
    """The object in a small JSON file; errors as of `read_small` and `parse_json`."""
    found = parse_json(read_small(path, most), repr(str(path)))
    if not isinstance(found, dict):
        raise InputError(f"{str(path)!r} holds a {type(found).__name__}; expected an object of JSON")
    return found


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which replaces `path` only once all of it is on the disk.

    It is written beside its target, synced and renamed: if the process is killed or the disk is full, the old file
    is still there.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        with beside.open("xb") as file:  # never through a link
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power loss; Windows opens no folders, and keeps such a promise itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_writer(path) as file:
        file.write(text.encode())


def append_text(path: Path, text: str) -> None:
    """Append to a UTF-8 text file, never through a link."""
    if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():  # Windows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    only = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # line ends stay as they are
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | only, 0o666)
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys instead of showing them, and those that change the direction of the text; also lone
surrogates, which no file can hold.
"""


def markdown_table(rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table from its header and its rows; bars and line breaks within a cell do not end it."""
    lines = (rows[0], ["---"] * len(rows[0]), *rows[1:])
    return "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", r"\|").splitlines())


def printable(text: str) -> str:
    """The text with escapes for control and direction characters; line ends and tabs stay."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Output:
    """A stream that takes any text: characters that its encoding does not have are escaped, and on a terminal control
    characters, too.

    Args:
        stream: such as standard output.
        lasting: go on silently once the stream cannot be written any more: its reader has left, or the disk is full.
    """

    def __init__(self, stream: TextIO, lasting: bool) -> None:
        self.stream, self.lasting, self._read = stream, lasting, True

    def write(self, text: str) -> int:
        """Write a text; a carriage return on its own goes back to the start of the line."""
        shown = printable(text) if self.stream.isatty() and text != "\r" else text
        encoding = self.stream.encoding or "utf-8"
        self._attempt(lambda: self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding)))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._attempt(self.stream.flush)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            if self._read:
                action()
        except OSError as error:
            if not self.lasting:
                raise
            self._read = False
            discard(self.stream)
            print(f"note     the output cannot be written ({error.strerror}); going on without it", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def discard(stream: TextIO) -> None:
    """Let a stream that cannot be written to any more lead nowhere, also at the end of the program."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


@contextlib.contextmanager
def any_console(*, lasting: bool = False) -> Iterator[None]:
    """Standard output and error as `Output` for the duration of the block."""
    with contextlib.ExitStack() as stack:
        for stream, redirect in ((sys.stdout, contextlib.redirect_stdout), (sys.stderr, contextlib.redirect_stderr)):
            if stream is not None and (lasting or not isinstance(stream, Output)):
                output = stack.enter_context(redirect(Output(bare(stream), lasting)))
                stack.callback(output.flush if lasting else lambda: None)
        yield


def bare(stream: Any) -> Any:
    """The stream below, for programs that colour their text and draw progress bars."""
    return stream.stream if isinstance(stream, Output) else stream


def filter_parts(path: Path, beginning: str, last: int) -> None:
    """Remove the parts of a text of later steps; a part begins with a regular expression, whose group is its step."""
    if path.exists():
        head, *parts = re.split(beginning, path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
        steps = (int(step.replace(",", "")) for step in parts[::2])
        write_text(path, head + "".join(part for step, part in zip(steps, parts[1::2], strict=True) if step <= last))
