"""Text files on disk: which there are, what they say, where a document begins and ends."""

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

from seqmodels.errors import InputError

SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".py", ".c", ".h", ".js", ".html")
"""What counts as text inside a directory, also with `.gz` behind it. A file named by itself may end in anything."""

PIECE = 1 << 16
"""Characters after which a long document is cut at the next line end; the pieces are tokenized side by side."""

LONGEST = 1 << 20
"""Characters after which it is cut at a space, or anywhere, where no line ends: memory stays flat for any text."""

CHUNK = 1 << 20
"""Bytes that are read at a time."""

NOT_LEARNED_FROM = {"test", "tests", "idle_test", "encodings", "pydoc_data", "lib2to3", "site-packages", "__pycache__"}
"""Folders of the standard library left out: tests, tables and generated text."""


def suffix(path: Path) -> str:
    """How the name of a file ends, in lower case and without the `.gz` behind."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def text_files(directory: Path, others: Iterable[str] = ()) -> list[Path]:
    """All text files below a directory, and those with other suffixes, in the order of their names.

    Raises:
        InputError: there is none.
    """
    suffixes = (*SUFFIXES, *others)
    found = sorted(path for path in directory.rglob("*") if path.is_file() and suffix(path) in suffixes)
    if not found:
        raise InputError(
            f"the directory {str(directory)!r} holds no text; expected files ending in {', '.join(suffixes)}, "
            "plain or with .gz behind"
        )
    return found


def standard_library() -> list[Path]:
    """The running interpreter's own source, without tests: every file of plain ASCII.

    Raises:
        InputError: this Python comes without its source.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = list[Path]()
    for folder, below, names in os.walk(root):
        below[:] = set(below) - NOT_LEARNED_FROM  # and what is below them, thousands of files
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    files.sort()
    files = [path for path in files if (content := path.read_bytes()).isascii() and content.strip()]
    if len(files) < 50:
        raise InputError(
            f"this Python has no source of its standard library in {str(root)!r}; give a text file with --data PATH"
        )
    return files


def read_text(path: Path) -> str:
    """The whole of a UTF-8 text file, unzipped where it is gzipped, to the character.

    Raises:
        InputError: the file cannot be read, is empty, is damaged, or is not UTF-8.
    """
    return "".join(chunks(path))


def chunks(path: Path) -> Iterator[str]:
    """A UTF-8 text file in chunks of a bounded size, unzipped where it is gzipped, to the character.

    Raises:
        InputError: the file cannot be read, is empty, is damaged, or is not UTF-8.
    """
    decoder, lines, empty = codecs.getincrementaldecoder("utf-8")(), 1, True
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
            while content := file.read(CHUNK):
                text = decoder.decode(content)
                lines += content.count(b"\n")
                if text:
                    empty = False
                    yield text
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:  # of this chunk, and what the decoder kept of the one before
        line = lines + error.object.count(b"\n", 0, error.start)
        raise InputError(
            f"{str(path)!r} is not UTF-8: line {line:,} has byte {error.object[error.start]:#04x}; "
            f"convert it first, for example with: iconv -f LATIN1 -t UTF-8 {path.name}"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{str(path)!r} is a damaged gzip file ({error}); make or fetch it again") from error
    if empty:
        raise InputError(f"{str(path)!r} is empty; expected UTF-8 text")


def cut(texts: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """A text that comes in chunks, cut into pieces: where they are cut does not depend on the chunks.

    Yields:
        Pieces of `PIECE` characters and the rest of the line, none longer than `LONGEST`, and whether it is the last.
    """
    rest = ""
    for text in itertools.chain(texts, [None]):
        rest += text or ""
        low = 0
        while len(rest) - low > PIECE:
            behind = rest.find("\n", low + PIECE, low + LONGEST) + 1
            if not behind and len(rest) - low > LONGEST:
                behind = rest.rfind(" ", low + PIECE, low + LONGEST) + 1 or low + LONGEST
            if not behind or (text is not None and behind == len(rest)):  # whether it is the last is not known yet
                break
            yield rest[low:behind], text is None and behind == len(rest)
            low = behind
        rest = rest[low:]
    if rest:
        yield rest, True


def document(path: Path, low: float = 0, high: float = math.inf) -> Iterator[tuple[str, bool, bool]]:
    """The pieces of a text file, or of the characters from `low` to before `high`.

    Yields:
        A piece, whether it is the first, and whether it is the last.

    Raises:
        InputError: see `chunks`.
    """
    first = True
    for text, last in cut(_between(chunks(path), low, high)):
        yield text, first, last
        first = False


def _between(texts: Iterable[str], low: float, high: float) -> Iterator[str]:
    place = 0
    for text in texts:
        begin, end = max(low - place, 0), min(high - place, len(text))
        place += len(text)
        if begin < end:
            yield text[int(begin) : int(end)]
        if place >= high:
            return


def pieces(files: tuple[str, ...], first: float, last: float, stamps: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """The text of some files, or a share of it, in rows of a bounded size; no file is ever in memory as a whole.

    Args:
        files: paths; each file is one document.
        first: where to begin, as a share of all characters.
        last: where to end.
        stamps: size and time of each file; not read, but part of what the cached result depends on.

    Yields:
        Rows of `text`, with `starts` and `ends` true where a document does so.

    Raises:
        InputError: a file cannot be read, or the share has no character.
    """
    lengths = [sum(map(len, chunks(Path(file)))) for file in files]  # read twice: a share is one of characters
    total = sum(lengths)
    begin, end = int(first * total), int(last * total)
    if begin >= end:
        raise InputError(f"a text of {total} characters is too short to be split into training and validation")
    place = 0
    for file, length in zip(files, lengths, strict=True):
        low, high = max(begin - place, 0), min(end - place, length)
        place += length
        if low >= high:
            continue
        for text, opens, closes in document(Path(file), low, high):
            # A text that is one single document has no boundary inside, and none at its end.
            yield {
                "text": text,
                "starts": opens and low == 0,
                "ends": closes and high == length and len(files) > 1,
            }
