"""Text files on disk: which there are, what they say, where a document begins and ends."""

import gzip
import sysconfig
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from seqmodels.errors import InputError

SUFFIXES = (".txt", ".text", ".md", ".rst", ".tex", ".py", ".c", ".h", ".js", ".html")
"""What counts as text inside a directory, also with `.gz` behind it. A file named by itself may end in anything."""

PIECE = 1 << 16
"""Characters after which a long document is cut at the next line end; the pieces are tokenized side by side."""

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
    files = sorted(p for p in root.rglob("*.py") if NOT_LEARNED_FROM.isdisjoint(p.relative_to(root).parts))
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
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{str(path)!r} is a damaged gzip file ({error}); make or fetch it again") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{str(path)!r} is not UTF-8: line {line:,} has byte {error.object[error.start]:#04x}; "
            f"convert it first, for example with: iconv -f LATIN1 -t UTF-8 {path.name}"
        ) from error
    if not text:
        raise InputError(f"{str(path)!r} is empty; expected UTF-8 text")
    return text


def pieces(files: tuple[str, ...], first: float, last: float, stamps: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """The text of some files, or a share of it, in rows of a bounded size.

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
    documents = [read_text(Path(file)) for file in files]
    total = sum(map(len, documents))
    begin, end = int(first * total), int(last * total)
    if begin >= end:
        raise InputError(f"a text of {total} characters is too short to be split into training and validation")
    place = 0
    for document in documents:
        low, high = max(begin - place, 0), min(end - place, len(document))
        place += len(document)
        while low < high:
            cut = document.find("\n", min(low + PIECE, high), high) + 1 or high
            # A text that is one single document has no boundary inside, and none at its end.
            ends = cut == len(document) and len(documents) > 1
            yield {"text": document[low:cut], "starts": low == 0, "ends": ends}
            low = cut
