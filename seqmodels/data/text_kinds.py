"""What a file is, by its first bytes: text, text in markup, or no UTF-8 text at all, and how to make it one."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from shlex import quote

from seqmodels.data.folders import CODE, TABLES, suffix
from seqmodels.errors import InputError

START_BYTES = 1 << 16
"""Bytes at the beginning of a file that show what it is."""

PLAIN = "pandoc -t plain {0} > {0}.txt"
SHEET = "a sheet; save it as CSV in UTF-8, or as Parquet"
ZIPPED = {
    **dict.fromkeys((".docx", ".odt", ".epub"), f"a zip archive of markup; make it text first, with: {PLAIN}"),
    **dict.fromkeys((".xlsx", ".ods", ".numbers"), SHEET),
    **dict.fromkeys((".npz", ".pt", ".pth", ".ckpt", ".keras"), "a zip archive of numbers; expected UTF-8 text"),
}
"""What a zip archive is, by its suffix."""

PICKLE = "stored objects of Python (.pkl), never loaded, since they may run any program; write their text to a file"
KINDS = {
    b"\xff\xfe\0\0": "UTF-32; convert it first, with: iconv -f UTF-32 -t UTF-8 {}",
    b"\0\0\xfe\xff": "UTF-32; convert it first, with: iconv -f UTF-32 -t UTF-8 {}",
    b"\xff\xfe": "UTF-16; convert it first, with: iconv -f UTF-16 -t UTF-8 {}",
    b"\xfe\xff": "UTF-16; convert it first, with: iconv -f UTF-16 -t UTF-8 {}",
    b"BZh": "compressed by bzip2; unpack it first, with: bunzip2 {}",
    b"\xfd7zXZ": "compressed by xz; unpack it first, with: unxz {}",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first, with: unzstd {}",
    b"\x04\x22\x4d\x18": "compressed by lz4; unpack it first, with: unlz4 {}",
    b"\x1f\x9d": "compressed by compress; unpack it first, with: gunzip {}",
    b"7z\xbc\xaf": "a 7z archive; unpack it, and give the text that is in it",
    b"Rar!": "a RAR archive; unpack it, and give the text that is in it",
    b"PK\x03\x04": "a zip archive, as .docx, .xlsx and .epub are; unpack it, or save it as plain text",
    b"PAR1": "Parquet; call it .parquet, and give the column of its text",
    b"ORC": "ORC; make it Parquet or JSON Lines",
    b"Obj\x01": "Avro; make it Parquet or JSON Lines",
    b"ARROW1": "Arrow; give the folder that save_to_disk wrote, or make it Parquet or JSON Lines",
    b"\xff\xff\xff\xff": "Arrow; give the folder that save_to_disk wrote, or make it Parquet or JSON Lines",
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95", b"(dp0\n", b"(lp0\n"), PICKLE),
    b"%PDF": "a PDF; extract its text first, for example with: pdftotext {}",
    b"%!PS": "PostScript; extract its text first, for example with: ps2ascii {0} > {0}.txt",
    b"\xd0\xcf\x11\xe0": "an old file of an office program; save it as plain text",
    b"{\\rtf": "rich text (RTF); save it as plain text",
    b"SQLite format 3": "a database (SQLite); export a table of it as CSV",
    b"\x89PNG": "a picture (PNG); expected UTF-8 text",
    b"\xff\xd8\xff": "a picture (JPEG); expected UTF-8 text",
    b"GIF8": "a picture (GIF); expected UTF-8 text",
    b"\x7fELF": "a program; expected UTF-8 text",
    b"\x1f\x8b": "gzipped twice; unpack it first, with: gunzip {}",
}
"""Other files than text, by their first bytes."""

TAR = slice(257, 262)
"""Where a tar archive says `ustar`."""

ESCAPES = {b"\x1b$B": "ISO-2022-JP", b"\x1b$@": "ISO-2022-JP", b"\x1b$)C": "ISO-2022-KR", b"\x1b$)A": "ISO-2022-CN"}
"""Encodings in seven bits, by the escape that switches to their own letters."""

NO_TEXT = re.compile(rb"[\x00-\x07\x0e-\x19\x1c-\x1f]")
"""Control characters that no encoding of text has, but for some in seven bits."""

TIMES = ("numbers and times", "sed -E '/^[0-9]+.?$|-->|^WEBVTT/d' {0} > {0}.txt")
TAGS, PAGES = ("tags", None), ("tags", PLAIN)
MARKUP: dict[str, tuple[str, str | None]] = {
    **dict.fromkeys((".html", ".htm", ".xhtml", ".fb2"), PAGES),
    **dict.fromkeys((".xml", ".svg", ".tmx", ".xlf", ".xliff", ".ttml", ".sgm", ".sgml"), TAGS),
    ".srt": TIMES, ".vtt": TIMES, ".ass": ("times and styles", None), ".lrc": ("times", None), ".sub": ("times", None),
    ".ipynb": ("format and outputs", "jupyter nbconvert --to markdown {0}"),
    ".tex": ("commands of LaTeX", PLAIN),
    ".eml": ("headers and coding", None), ".mbox": ("headers and coding", None), ".po": ("comments and keys", None),
    ".conllu": ("annotations", None), ".conll": ("annotations", None), ".mrg": ("annotations", None),
    ".cha": ("annotations", None),
}  # fmt: skip
"""By the suffix of a text, what stands in it beside what people read, and how that is taken out."""

SEVERAL = 3
"""How many lines show a markup by `LINES` at least."""

MAIL = ("headers and coding", None)
BEGINNINGS: dict[tuple[str, str | None], str] = {
    PAGES: r"\s*<(!doctype )?html\b",
    TAGS: r"\s*<([?!][a-z]|[a-z][^<>\n]*>[ \r]*\n)",
    ("commands of roff", "man -l {0} | col -bx > {0}.txt"): r"""['.]\\"|\.(TH|SH|Dd|ig)\b""",
    MAIL: r"(From \S+ .*\d\d:\d\d|(Return-Path|Received|MIME-Version|Message-ID): )",
    ("headers and pages", None): r"WARC/1",
}
LINES: dict[tuple[str, str | None], str] = {
    TIMES: r"^[\d:.,]+ --> [\d:.,]+",
    TAGS: r"^\s*<[a-z][^<>\n]*>.*</[a-z]+>\s*$",
    ("lines of % between texts", "sed '/^%$/d' {0} > {0}.txt"): r"^%$",
    ("@@ of subwords", "sed 's/@@ //g' {0} > {0}.txt"): r"^.*\w@@ \w",
    ("spaces of SentencePiece", "sed 's/ //g; s/▁/ /g' {0} > {0}.txt"): r"^▁\w.* ▁\w",
}
LICENCE = (
    "the header and the licence of Project Gutenberg",
    r"sed '1,/^\*\*\* START OF/d; /^\*\*\* END OF/,$d' {0} > {0}.txt",
)
COLUMNS = ("columns between tabs", "cut -f 1 {0} > {0}.txt")
"""The same by how a text looks: by its beginning, by some of its lines, or by all of those in the beginning."""

LOOKED_INTO = 100
"""Files whose beginning is looked into."""


def notes_on(files: Iterable[Path]) -> list[str]:
    """What should be known of texts of files that are learned with their markup: a line for each kind."""
    kinds: dict[tuple[str, str | None], list[Path]] = {}
    plain = LOOKED_INTO
    for file in files:
        found = MARKUP.get(suffix(file))
        if found is None and plain and suffix(file) not in (*CODE, *TABLES, ".md", ".rst"):
            plain -= 1
            found = look(start_of(file).decode(errors="replace").replace("\r\n", "\n"))
        if found:
            kinds.setdefault(found, []).append(file)
    return [
        f"{found[0].name}{f' and {len(found) - 1:,} more' if found[1:] else ''}: {what} are learned, too; for the text "
        f"alone, convert first{_command(by, found[0])}"
        for (what, by), found in kinds.items()
    ]


def _command(by: str | None, file: Path) -> str:
    """How to convert a file, for people."""
    if by is None:
        return ""
    if file.suffix.lower() != ".gz" or by.startswith("man"):
        return f", with: {by.format(quote(file.name))}"
    return f", with: gunzip -k {quote(file.name)}; {by.format(quote(file.stem))}"


def look(start: str) -> tuple[str, str | None] | None:
    """What stands in a text beside what people read, and how it is taken out, by how its beginning looks."""
    for found, pattern in BEGINNINGS.items():
        if re.match(pattern, start, re.IGNORECASE):
            return found
    for found, pattern in LINES.items():
        if len(re.findall(pattern, start, re.MULTILINE | re.IGNORECASE)) >= SEVERAL:
            return found
    if re.search(r"^\*\*\* ?START OF TH", start, re.MULTILINE):
        return LICENCE
    whole = start.split("\n")[:-1]
    tabbed = sum(re.match(r"[^\t]+\t", line) is not None for line in whole)
    return COLUMNS if tabbed > SEVERAL and tabbed > 0.9 * len(whole) else None


def start_of(path: Path) -> bytes:
    """The first bytes of a file, plain or gzipped; none where it cannot be read."""
    try:
        with path.open("rb") as raw:
            start = raw.read(START_BYTES)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as file:
                return file.read(START_BYTES)
        return start
    except (OSError, EOFError, zlib.error):
        return b""  # whoever reads it will say so


def is_binary(path: Path) -> bool:
    """Whether a file begins as no text does, in whatever encoding."""
    start = start_of(path)
    try:
        check_kind(path, start)
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except InputError as error:
        return "iconv" not in str(error)
    except UnicodeDecodeError:
        return NO_TEXT.search(start) is not None
    return b"\0" in start


def check_kind(path: Path, start: bytes) -> None:
    """Raise an InputError that says what a file is, if it begins as none of UTF-8 text does."""
    zeros = [start[offset:1000:2].count(0) for offset in (0, 1)]
    for beginning, kind in KINDS.items():
        if start.startswith(beginning):
            kind = ZIPPED.get(path.suffix.lower(), kind) if beginning.startswith(b"PK") else kind
            raise InputError(f"{str(path)!r} is {kind.format(quote(path.name))}")
    if start[TAR] == b"ustar":
        raise InputError(
            f"{str(path)!r} is a tar archive; unpack it, with: tar xf {quote(path.name)}, and give the text in it"
        )
    coding = None
    if max(zeros) > 3 * min(zeros) + len(start[:1000]) // 8:
        coding = "UTF-16BE" if zeros[0] > zeros[1] else "UTF-16LE"
    elif len(NO_TEXT.findall(start)) > len(start) / 10:
        raise _binary(path)
    elif start.isascii():
        coding = next((coding for escape, coding in ESCAPES.items() if escape in start), None)
    if coding:
        raise InputError(
            f"{str(path)!r} is {coding}; convert it first, with: iconv -f {coding} -t UTF-8 {quote(path.name)}"
        )


def _binary(path: Path) -> InputError:
    return InputError(f"{str(path)!r} is binary, no text; expected UTF-8 text")


def not_unicode(path: Path, some: bytes, line: int, byte: int) -> InputError:
    """The error for a file that is no UTF-8 text, with how to make it one, by what some of its bytes look like."""
    if NO_TEXT.search(some):
        return _binary(path)
    read = re.findall("[^\0-\x7f]", some.decode(errors="replace"))
    letters = len(some.translate(None, b" \t\r\n"))
    if len(read) > 2 * read.count("\ufffd"):
        advice = f"most of it is, so leave out what is damaged: iconv -c -f UTF-8 -t UTF-8 {quote(path.name)}"
    elif sum(one > 0x7F for one in some) > 0.45 * letters:
        its_own = "from its own encoding, such as CP1251, KOI8-R, GB18030, SHIFT_JIS or EUC-KR"
        advice = f"convert it first, {its_own}, for example with: iconv -f GB18030 -t UTF-8 {quote(path.name)}"
    else:
        advice = f"convert it first, for example with: iconv -f CP1252 -t UTF-8 {quote(path.name)}"
    return InputError(f"{str(path)!r} is not UTF-8: line {line:,} has byte {byte:#04x}; {advice}")
