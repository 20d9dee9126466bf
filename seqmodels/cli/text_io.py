"""Lines of text from files and streams, files that a command writes, and progress bars."""

import codecs
import itertools
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from seqmodels.errors import InputError
from seqmodels.files import bare, local, parse_json, write_text

Item = TypeVar("Item")

PART = 256
"""Lines that are read, sorted by length and computed in batches."""
WORKERS_PART = 1024
"""The same for workers, each of which has a batch at a time."""


def read_lines(path: str, content: str = "a prompt") -> list[str]:
    """The lines of a file, without their ends; an InputError where it is missing, empty or not UTF-8."""
    lines = [line for part in parts_of(path, content=content) for line in part]
    if not lines:
        raise InputError(f"the file {path!r} is empty; expected {content} on each line")
    return lines


def parts_of(path: str | None, size: int = PART, content: str = "text") -> Iterator[list[str]]:
    """`parts` of a file, or of standard input; what is typed there is read line by line."""
    if path is None:
        by_hand = sys.stdin.buffer.isatty()
        if by_hand:
            print("reading lines from here, to the end of input (Ctrl-D); or give a FILE", file=sys.stderr)
        yield from parts(sys.stdin.buffer, "standard input", 1 if by_hand else size)
        return
    file = local(path)
    if not file.is_file():
        by_pipe = f"; a text itself comes by a pipe: echo {shlex.quote(path)} | seqmodels ..." if " " in path else ""
        raise InputError(f"there is no file {path!r}; expected one with {content} on each line{by_pipe}")
    with file.open("rb") as stream:
        yield from parts(stream, repr(path), size)


def parts(stream: Iterable[bytes], name: str, size: int = PART) -> Iterator[list[str]]:
    r"""The lines of a binary stream, at most `size` at a time, without a byte order mark before the first.

    Lines end in `\n` or `\r\n`, or in `\r` where there is no other line end.

    Raises:
        InputError: a line is not UTF-8; `name` is that of the stream.
    """
    numbered = enumerate(_lines(stream), 1)
    while part := list(itertools.islice(numbered, size)):
        lines = []
        for number, line in part:
            try:
                lines.append(line.removesuffix(b"\n").removesuffix(b"\r").decode())
            except UnicodeDecodeError as error:
                raise InputError(f"line {number} of {name} is not UTF-8 ({error.reason}); convert it first") from None
        yield lines


def _lines(stream: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream as they come."""
    for number, line in enumerate(stream):
        line = line if number else line.removeprefix(codecs.BOM_UTF8)
        if number == 0 and not line.endswith(b"\n"):  # the only one
            yield from line.splitlines() if b"\r" in line else [line] if line else []
        else:
            yield line


def parsed_bias(text: str | None) -> dict[str, float]:
    """A logit bias from the command line: a JSON object of tokens and numbers, else an InputError."""
    try:
        bias = parse_json(text or "{}", "--logit-bias")
    except InputError:
        bias = None
    if not isinstance(bias, dict) or any(type(number) not in (int, float) for number in bias.values()):
        raise InputError(
            f"--logit-bias was given {text!r}; expected JSON with tokens and numbers, as '{{\"e\": -100}}'"
        )
    return bias


def check_output(flag: str, path: str, endings: Sequence[str] = ()) -> None:
    """Refuse (InputError) a file that cannot be written or has another ending, before any work is done for it."""
    place = local(path)
    if endings and place.suffix not in endings:
        raise InputError(f"{flag} was given {path!r}; expected a file that ends in one of {', '.join(endings)}")
    if not place.absolute().parent.is_dir():
        raise InputError(f"{flag} was given {path!r}, and there is no such folder; make it first")
    if place.is_dir():
        raise InputError(f"{flag} was given {path!r}, which is a folder; give a file in it")


def write_output(flag: str, path: str, text: str) -> None:
    """Write a file that a flag named, or raise an InputError."""
    try:
        write_text(local(path), text)
    except OSError as error:
        raise InputError(f"cannot write {path!r}: {error.strerror or error}; give another {flag}") from error


def progress(items: Sequence[Item], title: str) -> Iterable[Item]:
    """Items, with a progress bar on a terminal."""
    console = Console(file=bare(sys.stderr))
    return track(items, title, console=console, transient=True, disable=not sys.stderr.isatty())
