"""A name becomes text in splits."""

import bz2
import gzip
import io
import lzma
import math
import pickle
import re
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.data import (
    Corpus,
    TextDataModule,
    Tokenizer,
    corpora,
    hub_tables,
    load_corpus,
    text_files,
    tokenize_column,
)  # fmt: skip
from seqmodels.data.corpora import HeldOut
from seqmodels.data.parallel_corpora import load_parallel
from seqmodels.data.text_kinds import notes_on
from seqmodels.errors import InputError


def documents(corpus: Corpus, split: str) -> list[str]:
    """The texts of a split, put together from their pieces."""
    found: list[str] = []
    for row in corpus.rows(split):
        found += [""] if row["starts"] or not found else []
        found[-1] += row["text"]
    return found


def content(corpus: Corpus, split: str) -> str:
    return "".join(corpus.rows(split)["text"])


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


# The built-in corpus


@pytest.fixture(scope="module")
def built_in() -> dict[str, list[str]]:
    corpus = load_corpus("python")
    assert set(corpus.splits) == {"train", "validation", "test"}
    assert "standard library" in corpus.origin
    return {split: documents(corpus, split) for split in corpus.splits}


def test_built_in_splits_are_apart(built_in: dict[str, list[str]]) -> None:
    assert sum(map(len, built_in["train"])) > 1_000_000
    assert all(sum(map(len, built_in[split])) > 10_000 for split in ("validation", "test"))
    sets = {split: set(texts) for split, texts in built_in.items()}
    assert len(set.union(*sets.values())) == sum(map(len, sets.values()))


def test_built_in_is_plain_source(built_in: dict[str, list[str]]) -> None:
    assert all(text.isascii() and text.strip() for texts in built_in.values() for text in texts)
    assert any("def randrange(self" in text for texts in built_in.values() for text in texts)  # of random.py
    assert not any("import unittest.mock\n\nclass Test" in text for text in built_in["train"])


def test_built_in_is_the_same_every_time(
    built_in: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)  # made anew, not found
    monkeypatch.setattr(corpora, "standard_library", lambda: list(reversed(text_files.standard_library()))[:-1])
    corpus = load_corpus("python")
    lost = [text for split in corpus.splits for text in set(built_in[split]) - set(documents(corpus, split))]
    assert len(lost) <= 1  # where a file goes does not depend on the files beside it, nor on their order


def test_python_without_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_files.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(InputError, match=r"no source of its standard library.*--data PATH"):
        load_corpus("python")


# Files


def test_file_is_cut_at_nine_tenths(text: str, text_file: Path) -> None:
    corpus = load_corpus(str(text_file))
    border = len(text) * 9 // 10
    assert content(corpus, "train") == text[:border]
    assert content(corpus, "validation") == text[border:]
    assert content(corpus, "whole") == text
    assert set(corpus.splits) == {"train", "validation", "whole"}


@pytest.mark.parametrize("val_fraction", [0.01, 0.25, 0.5, 0.99])
def test_share_of_validation(text: str, text_file: Path, val_fraction: float) -> None:
    corpus = load_corpus(str(text_file), held_out=HeldOut(val_fraction))
    train, validation = content(corpus, "train"), content(corpus, "validation")
    assert train + validation == text
    assert len(validation) == pytest.approx(val_fraction * len(text), abs=1)


@pytest.mark.parametrize("test", [0.01, 0.2, 0.6])
def test_share_of_a_test_split(text: str, text_file: Path, test: float) -> None:
    """It is the very end, whether or not there is a file for validation."""
    corpus = load_corpus(str(text_file), held_out=HeldOut(0.3, test))
    parts = {split: content(corpus, split) for split in ("train", "validation", "test")}
    assert "".join(parts.values()) == text
    assert len(parts["test"]) == pytest.approx(test * len(text), abs=1)
    assert len(parts["validation"]) == pytest.approx(0.3 * len(text), abs=2)
    folder = text_file.parent / f"folder{test}"
    folder.mkdir()
    (folder / "train.txt").write_text(text)
    (folder / "valid.txt").write_text("another text")
    corpus = load_corpus(str(folder), held_out=HeldOut(0.3, test))
    assert content(corpus, "train") + content(corpus, "test") == text
    assert content(corpus, "validation") == "another text"


@given(
    texts=st.lists(st.text("ab\n", min_size=1, max_size=40), min_size=1, max_size=4),
    first=st.floats(0, 1),
    middle=st.floats(0, 1),
)
def test_pieces_put_together_are_the_files(texts: list[str], first: float, middle: float) -> None:
    """Any two adjacent parts hold every character once; starts and ends stand where documents do so."""
    first, middle = sorted((first, middle))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "PIECE_CHARACTERS", 7)
        patch.setattr(text_files, "chunks", lambda path: texts[int(str(path))])  # a letter at a time
        names = [str(number) for number in range(len(texts))]
        whole, total = "".join(texts), sum(map(len, texts))
        cuts = [(a, b) for a, b in ((0.0, first), (first, middle), (middle, 1.0)) if int(a * total) < int(b * total)]
        parts = [list(text_files.file_rows(names, a, b, [])) for a, b in cuts]
    found = ["".join(str(row["text"]) for row in rows) for rows in parts]
    assert found == [whole[int(a * total) : int(b * total)] for a, b in cuts]
    assert "".join(found) == whole
    rows = [row for part in parts for row in part]
    assert all(row["text"] for row in rows)
    place, starts, ends = 0, [], []
    for row in rows:
        starts += [place] if row["starts"] else []
        place += len(str(row["text"]))
        ends += [place] if row["ends"] else []
    borders = [sum(map(len, texts[:n])) for n in range(len(texts) + 1)]
    assert starts == borders[:-1]
    assert ends == (borders[1:] if len(texts) > 1 else [])


def test_long_documents_come_in_pieces(tmp_path: Path) -> None:
    text = ("x" * 99 + "\n") * 3000
    (tmp_path / "long.txt").write_text(text)
    rows = load_corpus(str(tmp_path / "long.txt")).rows("whole")
    assert "".join(rows["text"]) == text
    assert len(rows) > 3
    assert all(len(piece) <= text_files.PIECE_CHARACTERS + 100 and piece.endswith("\n") for piece in rows["text"])
    assert list(rows["starts"]) == [True] + [False] * (len(rows) - 1)
    assert not any(rows["ends"])


@given(
    text=st.text("ab \nä€", max_size=200),
    piece=st.integers(1, 20),
    more=st.integers(1, 20),
    chunk=st.integers(1, 50),
)
def test_where_a_text_is_cut_does_not_depend_on_how_it_is_read(text: str, piece: int, more: int, chunk: int) -> None:
    """And is where it was when texts were held as a whole, unless a line is too long for that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_files, "PIECE_CHARACTERS", piece)
        patch.setattr(text_files, "MOST_PIECE_CHARACTERS", piece + more)
        found = list(text_files.cut(text[i : i + chunk] for i in range(0, len(text), chunk)))
        assert found == list(text_files.cut([text]))
    parts = [part for part, _ in found]
    assert "".join(parts) == text
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True] * bool(found)
    assert all(len(part) <= piece + more for part in parts)
    place = 0
    for part in parts:
        line_end = text.find("\n", place + piece) + 1 or len(text)
        if line_end - place <= piece + more:
            assert len(part) == line_end - place
        place += len(part)


def test_a_file_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters of several bytes across the borders of chunks, plain and gzipped."""
    text = "aä€𝄞\n" * 50
    (tmp_path / "text.txt").write_bytes(text.encode())
    (tmp_path / "text.gz").write_bytes(gzip.compress(text.encode()[:77]) + gzip.compress(text.encode()[77:]))
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr(text_files, "READ_BYTES", size)
        for name in ("text.txt", "text.gz"):
            found = list(text_files.chunks(tmp_path / name))
            assert "".join(found) == text
            assert max(map(len, found)) <= size + 1


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_line_of_a_bad_byte_is_named(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "READ_BYTES", size)
    for content, line, byte in ((b"a\n\nb\xe2\x82", 3, "0xe2"), (b"a\n\xe2\x82\nb", 2, "0xe2"), (b"\xff", 1, "0xff")):
        (tmp_path / "text.txt").write_bytes(content)
        with pytest.raises(InputError, match=f"line {line} has byte {byte}"):
            list(text_files.chunks(tmp_path / "text.txt"))


def test_a_long_text_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    """Forty megabytes without a line end, zipped into few."""
    path, size = tmp_path / "long.txt.gz", 40_000_000
    path.write_bytes(gzip.compress(b"word " * (size // 5), compresslevel=1))
    tracemalloc.start()
    read = sum(len(str(row["text"])) for row in text_files.file_rows((str(path),), 0.0, 0.9, ("",)))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == size * 9 // 10
    assert most < size / 4


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("one\ntwo\rthree\x00\x0c\u2028four \ufeff  \n\n" * 20, None),  # kept to the character
        ("\ufeffone\r\ntwo\rthree\r\n\r\n", "one\ntwo\rthree\n\n"),
        ("one\rtwo\r\rthree\r", "one\ntwo\n\nthree\n"),
        ("one\rtwo\r" * 40_000 + "three\n", "one\ntwo\n" * 40_000 + "three\n"),
        ("one", None),
        ("one\r", "one\n"),
    ],
)
def test_line_ends_and_byte_order_marks(
    text: str, wanted: str | None, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LF, CRLF, or CR where there is no other, wherever chunks are cut."""
    monkeypatch.setattr(text_files, "READ_BYTES", size)
    (tmp_path / "odd.txt").write_bytes(text.encode())
    assert "".join(text_files.chunks(tmp_path / "odd.txt")) == (wanted or text)


def tarred() -> bytes:
    """A tar archive with a text."""
    stored, info = io.BytesIO(), tarfile.TarInfo("text.txt")
    info.size = 4
    with tarfile.open(fileobj=stored, mode="w") as archive:
        archive.addfile(info, io.BytesIO(b"text"))
    return stored.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("text\n".encode("utf-16"), "UTF-16; convert it first, with: iconv -f UTF-16 -t UTF-8 a.txt"),
        ("text\n".encode("utf-16-le"), "UTF-16LE; .* iconv -f UTF-16LE"),
        ("ein Text mit ä\n".encode("utf-16-be"), "UTF-16BE; .* iconv -f UTF-16BE"),
        ("text\n".encode("utf-32"), "UTF-32; .* iconv -f UTF-32"),
        ("text\n".encode("utf-32-be").join([b"\0\0\xfe\xff", b""]), "UTF-32"),
        (bz2.compress(b"text"), "compressed by bzip2; .* bunzip2 a.txt"),
        (lzma.compress(b"text"), "compressed by xz; .* unxz a.txt"),
        (b"PK\x03\x04...", "a zip archive, as .docx"),
        (b"ARROW1\0\0", "Arrow; give the folder that save_to_disk wrote"),
        (b"\xff\xff\xff\xff\xf0\x02", "Arrow; give the folder"),
        (b"%PDF-1.4", "a PDF; .* pdftotext a.txt"),
        (gzip.compress(gzip.compress(b"text", mtime=0), mtime=0), "gzipped twice"),
        (tarred(), "a tar archive; unpack it, with: tar xf a.txt,"),
        (gzip.compress(tarred(), mtime=0), "a tar archive; unpack it, with: tar xf a.txt,"),
        (b"\xcb\r\r\n" + bytes(8) + b"code" * 9, "binary, no text"),
        ("“So”, sagt er …".encode("cp1252"), "not UTF-8: .* iconv -f CP1252"),
        ("Прощай, лето".encode("koi8-r"), "not UTF-8: .* from its own encoding, .* KOI8-R"),
        ("こんにちは、世界".encode("shift-jis"), "not UTF-8: .* from its own encoding, .* SHIFT_JIS"),
        ("日本 and 中国\n".encode("iso2022_jp"), "ISO-2022-JP; .* iconv -f ISO-2022-JP"),
        ("한국 and more\n".encode("iso2022_kr"), "ISO-2022-KR; .* iconv -f ISO-2022-KR"),
        ("élève à l'école ".encode() * 9 + b"\xe9l", "not UTF-8: .* most of it is, .* iconv -c -f UTF-8"),
        (b"a\0\0\0text" * 9, "binary, no text"),
        (b"RIFF\x04\xff\x13\xe9", "binary, no text"),
        (pickle.dumps({"text": ["a"] * 9}), r"stored objects of Python \(\.pkl\), never loaded"),
        (pickle.dumps({"text": ["a"] * 9}, 0), r"stored objects of Python \(\.pkl\), never loaded"),
        (b"ORC\x0a\x0b", "ORC; make it Parquet"),
        (b"%!PS-Adobe-3.0", "PostScript; .* ps2ascii a.txt"),
    ],
)
def test_files_of_other_kinds_are_called_by_name(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"a.txt' is {kind}"):
        load_corpus(str(tmp_path / "a.txt")).rows("whole")


def test_advice_is_a_command_for_the_file(tmp_path: Path) -> None:
    for name, advice in {
        "a b's.pdf": """pdftotext 'a b'"'"'s.pdf'""", "book.epub": "pandoc -t plain book.epub", "sheet.xlsx": "as CSV",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(b"%PDF" if name.endswith("pdf") else b"PK\x03\x04")
        with pytest.raises(InputError, match=re.escape(advice)):
            load_corpus(str(tmp_path / name)).rows("whole")
    (tmp_path / "a.srt.gz").write_bytes(gzip.compress(b"x"))
    (note,) = notes_on([tmp_path / "a.srt.gz"])
    assert "gunzip -k a.srt.gz; sed" in note
    assert note.endswith(" a.srt > a.srt.txt")


LOOKS = {
    "tags": ["<?xml version='1.0'?><a/>", "<!DOCTYPE html>\n<p>", "<s>\nThe\tDT\n</s>\n", '<seg id="1">a</seg>\n' * 3],
    "numbers and times": ["1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 3],
    "commands of roff": ['.\\" A page\n.TH LS 1\n', "'\\\" t\n"],
    "headers and coding": ["From a@b Mon Jan  1 00:00:00 2024\nSubject: x\n", "Return-Path: <a@b>\n"],
    "@@ of subwords": ["the c@@ at\n" * 3],
    "spaces of SentencePiece": ["▁the ▁c at\n" * 3],
    "the header and the licence": ["By A\n*** START OF THE PROJECT GUTENBERG EBOOK 1 ***\nText\n"],
    "columns between tabs": ["Hello\tBonjour\n" * 9, "id\ttext\r\n" + "1\ta b c\r\n" * 9],
    "lines of %": ["one\n%\ntwo\n%\nthree\n%\n"],
    "": [
        "", "Hello.\n", "<unk> is a word\n" * 9, "From Paris to Rome\n", "1.5,2.5\n" * 9, "def f():\n\treturn 1\n" * 9,
        "mail a@@b or c@d\n" * 9, "a < b > c\n" * 9, ".. note:: text\n", "\tindented\n" * 9,
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", LOOKS)
def test_markup_is_known_by_how_a_text_looks(what: str, tmp_path: Path) -> None:
    for text in LOOKS[what]:
        (tmp_path / "a.txt").write_bytes(text.encode())
        notes = notes_on([tmp_path / "a.txt"])
        assert [note.startswith(f"a.txt: {what}") for note in notes] == [True] * bool(what), (text, notes)


def test_settings_that_local_files_do_not_have(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a text\n" * 20)
    (tmp_path / "a.jsonl").write_text('{"body": "a"}\n' * 20)
    with pytest.raises(InputError, match=r"column='body' was given with a\.txt, which is no table"):
        load_corpus(str(tmp_path / "a.txt"), column="body")
    with pytest.raises(InputError, match=r"column='body' was given with a\.txt, which is no table"):
        TextDataModule(str(tmp_path / "a.txt"), column="body", stream=True).corpus  # noqa: B018
    with pytest.raises(InputError, match=r"subset='de' was given with the file a\.jsonl"):
        load_corpus(str(tmp_path / "a.jsonl"), subset="de", column="body")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("https://a.org/b c.txt", "is an address; download it first, with: curl -LO 'https://a.org/b c.txt'"),
        ("https://huggingface.co/datasets/me/some/tree/main", "is an address; give its name, me/some"),
        ("hf://datasets/me/some@main/a.txt", "is an address; give its name, me/some"),
        ("s3://bucket/a.txt", "is an address; download it first"),
        ("file:///a/b.txt", "is an address; give its path, /a/b.txt"),
        ("-", "text is read more than once, so write it to a file first"),
    ],
)
def test_addresses(data: str, message: str) -> None:
    for load in (load_corpus, lambda name: load_parallel(name, "en", "fr")):
        with pytest.raises(InputError, match=re.escape(message)):
            load(data)


@pytest.mark.parametrize("stream", [False, True])
def test_markup_that_is_learned_too_is_told(tmp_path: Path, stream: bool) -> None:
    for name in ("a.txt", "page.html", "other.html", "train/b.srt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\n<i>Hello</i>\n" * 3000)
    (tmp_path / "plain.txt").write_text("Hello\n" * 30_000)

    def notes(name: str) -> list[str]:
        return list(TextDataModule(str(tmp_path / name), stream=stream, held_out=1).notes)

    assert notes("plain.txt") == []
    assert notes("a.txt")[0].startswith("a.txt: numbers and times are learned, too")
    assert notes("*.html") == [
        "other.html and 1 more: tags are learned, too; for the text alone, convert first, with: "
        "pandoc -t plain other.html > other.html.txt"
    ]
    (note,) = notes("train/b.srt")
    assert note.startswith("b.srt: numbers and times are learned, too")
    (tmp_path / "train" / "b.srt").rename(tmp_path / "b.srt")
    shown = subprocess.run(
        note.partition("with: ")[2].partition(" >")[0], shell=True, cwd=tmp_path, capture_output=True
    )
    assert shown.stdout == b"<i>Hello</i>\n" * 3000  # the command does what it is for
    (tmp_path / "wise").write_text("one\n%\ntwo 3%\n%\nthree\n%\n" * 3000)
    assert notes("wise") == [
        "wise: lines of % between texts are learned, too; for the text alone, convert first, with: "
        "sed '/^%$/d' wise > wise.txt"
    ]


def test_gzipped_is_as_plain(text: str, text_file: Path, tmp_path: Path) -> None:
    """Told by its content: a name need not end in .gz."""
    plain = load_corpus(str(text_file))
    for name in ("text.txt.gz", "text"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        zipped = load_corpus(str(tmp_path / name))
        assert all(content(zipped, split) == content(plain, split) for split in plain.splits)


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    for letter in "ab":
        path.write_text(letter * 100)
        assert content(load_corpus(str(path)), "whole") == letter * 100


NAMED = [{"train.txt": "one", f"{name}.en.txt": "two"} for name in ("val", "valid", "validation", "dev", "VALID")]
ODD = {"readme.md": "nothing", "data.bin": "four"}


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        *[(files, {"train": ["one"], "validation": ["two"]}) for files in NAMED],
        (
            {"train.txt": "one", "valid.txt": "two", "test.txt.gz": "three", **ODD},
            {"train": ["one"], "validation": ["two"], "test": ["three"]},
        ),
        (
            {"train.txt": "0123456789", "test.txt": "three"},
            {"train": ["012345678"], "validation": ["9"], "test": ["three"], "whole": ["0123456789"]},
        ),
        (
            {"b.txt": "3456", "a.py": "012", "data.bin": "nothing", "deep/er/c.md.gz": "789"},
            {"train": ["012", "3456", "78"], "validation": ["9"], "whole": ["012", "3456", "789"]},
        ),
    ],
)
def test_directories(files: dict[str, str], wanted: dict[str, list[str]], tmp_path: Path) -> None:
    write(tmp_path, files)
    corpus = load_corpus(str(tmp_path))
    assert {split: documents(corpus, split) for split in corpus.splits} == wanted


def test_source_may_start_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, {"text.txt": "0123456789"})
    assert content(load_corpus("~/text.txt"), "whole") == "0123456789"


def test_real_text(shakespeare: Path) -> None:
    corpus = load_corpus(str(shakespeare))
    text = gzip.decompress(shakespeare.read_bytes()).decode()
    assert content(corpus, "train") == text[: len(text) * 9 // 10]
    assert content(corpus, "validation") == text[len(text) * 9 // 10 :]


# What a user can put right


@pytest.mark.parametrize("source", ["no/such/file.txt", "./nothing", "/nowhere", "~/nothing_here", "book.txt", "a.gz"])
def test_missing_file(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(corpora, "from_hub", lambda *_: pytest.fail("looked for a file on the hub"))
    with pytest.raises(InputError, match=r"there is no file.*'python'"):
        load_corpus(source)


def test_home_of_nobody() -> None:
    with pytest.raises(InputError, match="there is no file"):
        load_corpus("~nobody_of_this_name/text.txt")


@pytest.mark.parametrize("name", ["empty.txt", "empty.gz"])
def test_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    with pytest.raises(InputError, match=f"{name}' is empty"):
        load_corpus(str(tmp_path / name)).rows("train")


def test_file_too_short_to_be_cut(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("a")
    corpus = load_corpus(str(tmp_path / "short.txt"))
    assert content(corpus, "whole") == "a"
    with pytest.raises(InputError):
        corpus.rows("train")


def test_directory_without_text(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no text; expected files ending in \.txt"):
        load_corpus(str(tmp_path))


def test_other_encoding(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"a\n\n" + b"a" * 1234 + "ü".encode("latin-1") + b"b" * 100)
    with pytest.raises(InputError, match=r"latin\.txt' is not UTF-8: line 3 has byte 0xfc; .*iconv"):
        load_corpus(str(tmp_path / "latin.txt")).rows("train")


@pytest.mark.parametrize("damage", ["truncated", "cut in the header", "flipped", "wrong sum"])
def test_damaged_gzip(damage: str, tmp_path: Path) -> None:
    whole = gzip.compress(bytes(range(32, 127)) * 50)
    broken = {
        "truncated": whole[: len(whole) // 2],
        "cut in the header": whole[:5],
        "flipped": whole[:12] + bytes(b ^ 0xFF for b in whole[12:40]) + whole[40:],
        "wrong sum": whole[:-8] + b"\0\0\0\0" + whole[-4:],
    }[damage]
    (tmp_path / "text.txt.gz").write_bytes(broken)
    with pytest.raises(InputError, match=r"text\.txt\.gz'.*(damaged gzip|CRC)"):
        load_corpus(str(tmp_path / "text.txt.gz")).rows("train")


def test_file_gone_in_between(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.txt': No such file"):
        list(text_files.chunks(tmp_path / "gone.txt"))


def test_unknown_split(text_file: Path) -> None:
    with pytest.raises(InputError, match=r"the file text\.txt has no split 'test', only train, validation"):
        load_corpus(str(text_file)).rows("test")


@pytest.mark.parametrize("val_fraction", [0.0, 1.0, -0.5, 2.0, math.nan])
def test_impossible_share_of_validation(val_fraction: float) -> None:
    with pytest.raises(InputError, match=f"val_fraction={val_fraction} was given"):
        HeldOut(val_fraction)


@pytest.mark.parametrize("test_fraction", [1.0, -0.5, math.nan])
def test_impossible_share_of_testing(test_fraction: float) -> None:
    with pytest.raises(InputError, match=f"test_fraction={test_fraction} was given"):
        HeldOut(test=test_fraction)
    with pytest.raises(InputError, match=r"val_fraction=0\.5 and test_fraction=0\.5 were given; expected less than 1"):
        HeldOut(0.5, 0.5)


# The hub


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_tables, "reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", datasets.config.HF_HUB_OFFLINE)  # set there, put back here
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", huggingface_hub.constants.HF_HUB_OFFLINE)


@pytest.fixture
def hub(offline: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Any, Any]]:
    """What the hub has, by name and subset; an exception is raised."""
    stored: dict[Any, Any] = {}

    class Builder:
        """Of a dataset that is no files."""

        config = datasets.BuilderConfig()

        def __init__(self, name: str, subset: str | None) -> None:
            self.held = stored[name, subset]
            if isinstance(self.held, Exception):
                raise self.held

        def download_and_prepare(self) -> None:
            pass

        def as_dataset(self) -> datasets.DatasetDict:
            return self.held

    monkeypatch.setattr(datasets, "load_dataset_builder", Builder)
    return stored  # type: ignore[return-value]


def table(**columns: list[Any]) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["wikitext", "somebody/some-text"])
def test_hub_without_network(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_corpus(name)
    message = str(caught.value)
    assert message.startswith(f"'{name}' is no file here")
    assert "--data python" in message
    assert "--data PATH" in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [ConnectionError(), ValueError("one line\nand another"), RuntimeError("x" * 9999)])
def test_hub_fails_in_many_ways(hub: dict[Any, Any], error: Exception) -> None:
    hub["name", None] = error
    with pytest.raises(InputError, match=r"^[^\n]{1,500}$") as caught:
        load_corpus("name")
    assert type(error).__name__ in str(caught.value)


def test_hub_subset(hub: dict[Any, Any]) -> None:
    hub["name", "de"] = datasets.DatasetDict({"train": table(text=list("abcdefghij"))})
    hub["name", None] = ValueError("a subset is needed")
    assert content(load_corpus("name", subset="de"), "train") == "abcdefghi"


@pytest.mark.parametrize(
    ("count", "val_fraction", "validates"), [(10, 0.1, 1), (10, 0.25, 2), (3, 0.1, 1), (2, 0.9, 1)]
)
def test_hub_dataset_without_validation(hub: dict[Any, Any], count: int, val_fraction: float, validates: int) -> None:
    """The end validates, and neither part is ever empty."""
    texts = [f"text {number}" for number in range(count)]
    hub["name", None] = datasets.DatasetDict({"train": table(text=texts), "test": table(text=["last"])})
    corpus = load_corpus("name", held_out=HeldOut(val_fraction))
    assert list(corpus.rows("train")["text"]) == texts[: count - validates]
    assert list(corpus.rows("validation")["text"]) == texts[count - validates :]
    assert content(corpus, "test") == "last"


def test_hub_dataset_with_a_share_of_its_own_for_testing(hub: dict[Any, Any]) -> None:
    texts = [f"text {number}" for number in range(10)]
    hub["name", None] = datasets.DatasetDict({"train": table(text=texts)})
    for count, fractions, wanted in (
        (10, HeldOut(0.2, 0.3), (5, 2, 3)), (3, HeldOut(0.1, 0.1), (1, 1, 1)), (10, HeldOut(0.01, 0.01), (8, 1, 1))
    ):  # fmt: skip
        hub["name", None] = datasets.DatasetDict({"train": table(text=texts[:count])})
        corpus = load_corpus("name", held_out=fractions)
        rows = [list(corpus.rows(split)["text"]) for split in ("train", "validation", "test")]
        assert tuple(map(len, rows)) == wanted
        assert [text for part in rows for text in part] == texts[:count]
    hub["name", None] = datasets.DatasetDict({"train": table(text=texts), "test": table(text=["last"])})
    with pytest.raises(InputError, match=r"test_fraction=0\.1 was given, and name from the hub has a test split"):
        load_corpus("name", held_out=HeldOut(0.1, 0.1))


def test_hub_documents_stay_apart(hub: dict[Any, Any]) -> None:
    hub["name", None] = datasets.DatasetDict({"train": table(text=["a", "b"]), "validation": table(text=["c"])})
    column, _ = tokenize_column(load_corpus("name").rows("train"), Tokenizer.char(["ab"]))
    assert column.tolist() == [1, 4, 2, 1, 5, 2]


@pytest.mark.parametrize(
    ("tables", "column", "message"),
    [
        ({"train": {"body": ["a"], "title": ["b"]}}, "text", r"columns \['body', 'title'\]; .*'text'.*--column"),
        ({"all": {"text": ["a"]}}, "text", r"has splits \['all'\].*expected a split 'train'"),
        ({"train": {"text": ["a"], "label": [1]}}, "label", "column 'label' of 'name from the hub, train' holds"),
    ],
)
def test_hub_dataset_without_text(hub: dict[Any, Any], tables: dict[str, Any], column: str, message: str) -> None:
    hub["name", None] = datasets.DatasetDict({split: table(**columns) for split, columns in tables.items()})
    with pytest.raises(InputError, match=message):
        load_corpus("name", column=column)


def test_progress_bars_are_as_before(text_file: Path) -> None:
    assert not datasets.are_progress_bars_disabled()
    load_corpus(str(text_file)).rows("whole")
    assert not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        load_corpus(str(text_file)).rows("whole")
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()
