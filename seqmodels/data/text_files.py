"""Text files on disk: found, decoded, and cut into rows with document boundaries."""

import codecs
import gzip
import itertools
import math
import os
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

import datasets

from seqmodels.data.text_kinds import check_kind, not_unicode
from seqmodels.errors import InputError

PIECE_CHARACTERS = 1 << 16
"""Characters after which a long document is cut at the next line end; the pieces are tokenized in parallel."""

MOST_PIECE_CHARACTERS = 1 << 20
"""Characters after which it is cut at a space, or anywhere, if no line ends: memory stays flat for any text."""

READ_BYTES = 1 << 20
"""Bytes that are read at a time."""

FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "starts": datasets.Value("bool"), "ends": datasets.Value("bool")}
)
"""Types of the columns of `file_rows`."""

EXCLUDED_FOLDERS = {"test", "tests", "idle_test", "encodings", "pydoc_data", "lib2to3", "site-packages", "__pycache__"}
"""Folders of the standard library that are left out: tests, tables and generated text."""


def standard_library() -> list[Path]:
    """The source of the running Python's standard library, without tests: every file of plain ASCII.

    Raises:
        InputError: this Python has no source.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = list[Path]()
    for folder, below, names in os.walk(root):
        below[:] = set(below) - EXCLUDED_FOLDERS  # and thousands of files below them
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    files.sort()
    files = [path for path in files if (content := path.read_bytes()).isascii() and content.strip()]
    if len(files) < 50:
        raise InputError(f"this Python has no source of its standard library in {str(root)!r}; give --data PATH")
    return files


def lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file, plain or gzipped, without their ends.

    Raises:
        InputError: see `chunks`.
    """
    rest = ""
    for text in chunks(path):
        *whole, rest = (rest + text).split("\n")
        yield from whole
    if rest:
        yield rest


def chunks(path: Path) -> Iterator[str]:
    r"""The text of a UTF-8 file, plain or gzipped, in chunks of a bounded size, without a byte order mark.

    Line ends become `\n`: `\r\n`, and also `\r` in a text that has no other.

    Raises:
        InputError: the file cannot be read, is empty, is damaged, or is no UTF-8.
    """
    empty = True
    for text in _with_line_feeds(_decoded(path)):
        empty = False
        yield text
    if empty:
        raise InputError(f"{str(path)!r} is empty; expected UTF-8 text")


def _decoded(path: Path) -> Iterator[str]:
    decoder, lines, start = codecs.getincrementaldecoder("utf-8-sig")(), 1, b""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            while content := file.read(READ_BYTES):
                if not start:
                    start = content
                    check_kind(path, start)
                yield decoder.decode(content)
                lines += content.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # of this chunk and bytes kept from the one before
        line = lines + error.object.count(b"\n", 0, error.start)
        raise not_unicode(path, error.object, line, error.object[error.start]) from error
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{str(path)!r} is a damaged gzip file ({error}); make or fetch it again") from error


def _with_line_feeds(texts: Iterable[str]) -> Iterator[str]:
    """The text with line feeds at its line ends; only what may still be a part of one is held back."""
    held, returns = "", None
    for text in itertools.chain(texts, [None]):
        held += text or ""
        if returns is None and "\r" in held:  # undecided: whether carriage returns end its lines
            if "\n" in held[:PIECE_CHARACTERS]:
                returns = False
            elif text is None or len(held) >= PIECE_CHARACTERS:
                returns = True
            else:
                continue
        elif returns is None and "\n" in held:
            returns = False
        half = text is not None and not returns and held.endswith("\r")
        whole, held = (held[:-1], "\r") if half else (held, "")
        if "\r" in whole:
            whole = whole.replace("\r\n", "\n")
            whole = whole.replace("\r", "\n") if returns else whole
        if whole:
            yield whole


def cut(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Cut a text into pieces, which do not depend on the chunks that it comes in, each with whether it is the last.

    A piece has `PIECE_CHARACTERS` and the rest of the line, and at most `MOST_PIECE_CHARACTERS`.
    """
    rest = ""
    for text in itertools.chain(texts, [None]):
        rest += text or ""
        low = 0
        while len(rest) - low > PIECE_CHARACTERS:
            least, most = low + PIECE_CHARACTERS, low + MOST_PIECE_CHARACTERS
            behind = rest.find("\n", least, most) + 1
            if not behind and len(rest) > most:
                behind = rest.rfind(" ", least, most) + 1 or most
            if not behind or (text is not None and behind == len(rest)):  # unknown yet whether it is the last
                break
            yield rest[low:behind], text is None and behind == len(rest)
            low = behind
        rest = rest[low:]
    if rest:
        yield rest, True


def document(path: Path, low: float = 0, high: float = math.inf) -> Iterator[tuple[str, bool, bool]]:
    """The pieces of a text file, or of the characters from `low` to before `high`; whether one is the first, the last.

    Raises:
        InputError: see `chunks`.
    """
    for number, (text, last) in enumerate(cut(_between(chunks(path), low, high))):
        yield text, number == 0, last


def _between(texts: Iterable[str], low: float, high: float) -> Iterator[str]:
    for text in texts:
        if low < len(text):
            yield text[int(max(low, 0)) : int(min(high, len(text)))]
        low, high = low - len(text), high - len(text)
        if high <= 0:
            return


def file_rows(
    files: tuple[str, ...], first: float, last: float, stamps: tuple[str, ...]
) -> Iterator[dict[str, object]]:
    """The text of files, each a document, in rows of `FEATURES` of a bounded size: no file is in memory as a whole.

    Args:
        files: paths.
        first: start of the part to be read, as a fraction of all characters.
        last: its end.
        stamps: size and time of each file; part of the key of the cached rows.

    Raises:
        InputError: a file cannot be read, or the part has no characters.
    """
    lengths = [sum(map(len, chunks(Path(file)))) for file in files]  # read twice: fractions are of characters
    total = sum(lengths)
    begin, end = int(first * total), int(last * total)
    if begin >= end:
        raise InputError(f"a text of {total} characters is too short to be split into training and validation")
    for file, length in zip(files, lengths, strict=True):
        if begin < length and end > 0:
            for text, opens, closes in document(Path(file), begin, end):
                # A text of a single document has no border, not even at its end.
                ends = closes and end >= length and len(files) > 1
                yield {"text": text, "starts": opens and begin <= 0, "ends": ends}
        begin, end = begin - length, end - length
