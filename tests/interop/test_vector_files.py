"""Files of word vectors from bytes made by hand: formats, damage, n-grams of fastText and floret."""

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import assert_refused
from torch import Tensor
from vector_bytes import as_binary, as_fasttext, as_quantised, as_text, numbers, written

from seqmodels.errors import InputError
from seqmodels.interop.word_vectors import Subwords, WordVectors, byte_source, fasttext, selection
from seqmodels.interop.word_vectors.subwords import fnv1a, murmur3

WORDS = ["the", "king", "café", "火车", "</s>", "7", "."]
DIM = 5


@pytest.fixture
def matrix() -> Tensor:
    return torch.randn(len(WORDS), DIM, generator=torch.Generator().manual_seed(1))


FORMATS: dict[str, Callable[[list[str], Tensor], bytes]] = {
    "word2vec": lambda words, matrix: as_text(words, matrix, True),
    "word2vec with spaces at the ends": lambda words, matrix: as_text(words, matrix, True, " \r\n"),
    "glove": lambda words, matrix: as_text(words, matrix, False),
    "binary": as_binary,
    "binary without line ends": lambda words, matrix: as_binary(words, matrix, b""),
    "fasttext": lambda words, matrix: as_fasttext(words, matrix, torch.zeros(0, DIM), 0, 0),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind: str, zipped: bool, matrix: Tensor, tmp_path: Path) -> None:
    content = FORMATS[kind](WORDS, matrix)
    path = written(tmp_path, gzip.compress(content) if zipped else content)
    found = WordVectors.read(path)
    assert found.words == WORDS
    assert torch.equal(found.matrix, matrix)
    assert WordVectors.read(path, limit=2).words == WORDS[:2]
    some = WordVectors.read(path, words=["火车", "king", "absent"])
    assert some.words == ["king", "火车"]
    assert torch.equal(some.matrix, matrix[[1, 3]])
    assert WordVectors.read(path, limit=1, words=["火车", "king"]).words == ["king"]


@pytest.mark.parametrize(
    "words", [[" ", "route 66", "ad inf"], ["", "a ", " b"], ["\u00a0", "\t", "x\x1cy\x01"], ["1", "2 3", "\x85"]]
)
@pytest.mark.parametrize("end", ["\n", " \r\n"])
def test_a_word_is_all_in_front_of_as_many_numbers_as_the_header_says(
    words: list[str], end: str, tmp_path: Path
) -> None:
    numbers_ = torch.tensor([[1.0, 2], [0.5, 1e-9], [3, 4]])
    assert WordVectors.read(written(tmp_path, as_text(words, numbers_, True, end))).words == words


def test_words_with_spaces(matrix: Tensor, tmp_path: Path) -> None:
    """As in the largest file of GloVe, also behind a byte order mark."""
    words = [". . .", "at name@domain.com", "to", *WORDS[3:]]
    for mark in ("", "\ufeff"):
        for header in (False, True):
            content = mark.encode() + as_text(words, matrix, header)
            assert WordVectors.read(written(tmp_path, content)).words == words
    assert WordVectors.read(written(tmp_path, b"a\t1\t2\nb  3  4\nc 5 6\n")).words == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["a.txt", "a.vec.gz"])
def test_what_is_written_is_read_to_the_bit(name: str, tmp_path: Path) -> None:
    words = ["the", " ", "", "a b 1", "火", " x ", "\u2028", "\n"]
    vectors = WordVectors(words, torch.randn(len(words), 3) * 10.0 ** torch.arange(-30, 10, 5.0)[:, None])
    vectors.write(tmp_path / name)
    found = WordVectors.read(tmp_path / name)
    assert found.words == [*words[:-1], "</s>"]
    assert torch.equal(found.matrix, vectors.matrix)
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b" if name.endswith("gz") else b"8 3\nthe ")
    for odd in ("a\nb", "\ud800"):
        assert_refused("cannot be written", WordVectors([odd], torch.ones(1, 2)).write, tmp_path / "odd")
    assert_refused("cannot be written", WordVectors(["\n", "</s>"], torch.ones(2, 2)).write, tmp_path / "odd")
    assert_refused("cannot write", vectors.write, tmp_path / "no" / "a.txt")
    assert not (tmp_path / "odd").exists()


def test_the_first_of_equal_words_counts(matrix: Tensor, tmp_path: Path) -> None:
    found = WordVectors.read(written(tmp_path, as_text(["a", "b", "a", "c", "d", "e", "b"], matrix, True)))
    assert found.words == ["a", "b", "c", "d", "e"]
    assert torch.equal(found.matrix, matrix[[0, 1, 3, 4, 5]])


GOOD = b"2 3\nking 1 2 3\nqueen 4 5 6\n"
FASTTEXT = as_fasttext(["a", "b"], torch.ones(2, 3), torch.ones(4, 3), 2, 3)
BINARY = as_binary(["a", "b"], torch.ones(2, 3))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "does not begin with a word"),
        (b"\n\n", "does not begin with a word"),
        (b"king\nqueen\n", "does not begin with a word"),
        (b"\x00\x01\x02", "no file of word vectors"),
        (b"PK\x03\x04" + bytes(30), "zip archive"),
        (b"king 1 2 3\nqueen 4 5\nman 1 2 3", "line 2 .* 2 numbers .* expected 3"),
        (GOOD[:-8], "line 3 .* 0 numbers .* expected 3, as the header says"),
        (GOOD[4:].replace(b"4 5", b"4 5 5"), "line 2 .* 4 numbers .* expected 3"),
        (GOOD.replace(b"5", b"five"), "line 3 .* 'five' where a number was expected"),
        (GOOD.replace(b"5", b"nan"), "line 3 .* not finite"),
        (GOOD.replace(b"5", b"1e99"), "line 3 .* not finite"),
        (GOOD.replace(b"2 3\n", b"3 3\n"), "2 vectors, and its header promises 3"),
        (GOOD.replace(b"2 3\n", b"1 3\n"), "2 vectors, and its header promises 1"),
        (GOOD.replace(b"2 3\n", b"9000000000 300\n"), "promises 9,000,000,000 vectors"),
        (GOOD.replace(b"2 3\n", b"0 3\n"), "promises 0 vectors"),
        (GOOD.replace(b"2 3\n", b"1 0\n"), "vectors of 0 numbers"),
        (b"king " + b"1 " * (1 << 20), "line of more than"),
        (BINARY[:-8], "midst of vector 2 of 2|promises 2"),
        (BINARY.replace(b"2 3\n", b"3 3\n"), "promises 3 vectors|midst"),
        (BINARY + b"\nqueen " + numbers(torch.ones(3)), "goes on behind the 2 vectors"),
        (BINARY.replace(numbers(torch.ones(3)), numbers(torch.tensor([1, math.inf, 1]))), "vector 1 of 2 .*not finite"),
        (gzip.compress(GOOD, mtime=0)[:-12], "cannot be unpacked"),
        (gzip.compress(b"2 3\n" + bytes(1 << 20), mtime=0), "64 times its size|has more than"),
        (FASTTEXT[:100], "midst|can hold"),
        (FASTTEXT[:150], "midst|can hold"),
        (FASTTEXT[:-30], "do not fit|midst"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 2, 3, version=13), "version 13 .* at most 12"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 2, 3, quantised=1), "damaged"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 2, 3, pruned=1 << 40), "damaged"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 2, 3, rows=4), "do not fit"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 2, 3, rows=1 << 40), "do not fit"),
        (as_fasttext(["a"], torch.ones(1, 3), torch.ones(4, 3), 5, 3), "n-grams of 5 to 3"),
        (as_fasttext(["a"], torch.full((1, 3), math.nan), torch.ones(4, 3), 2, 3), "not finite"),
        (FASTTEXT.replace(struct.pack("<iii", 2, 2, 0), struct.pack("<iii", 1 << 30, 1 << 30, 0)), "promises"),
        (FASTTEXT.replace(struct.pack("<iii", 2, 2, 0), struct.pack("<iii", 2, 1, 1)), "more words than it promises"),
        (FASTTEXT.replace(struct.pack("<iii", 2, 2, 0), struct.pack("<iii", 2, -2, 4)), "promises"),
    ],
)
def test_files_that_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"(?s){says}") as refused:
        WordVectors.read(written(tmp_path, content))
    assert "\n" not in str(refused.value)


def test_more_requests_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, GOOD)
    assert_refused("words that are asked for", WordVectors.read, path, words=["prince"])
    assert_refused("limit=0", WordVectors.read, path, limit=0)
    assert_refused("cannot read", WordVectors.read, tmp_path / "absent")
    assert_refused("an address", WordVectors.read, "https://example.org/vectors.txt")
    monkeypatch.setattr(selection, "VECTOR_BYTES", 20)
    assert_refused("give limit", WordVectors.read, path)
    assert WordVectors.read(path, limit=1).words == ["king"]
    monkeypatch.setattr(byte_source, "LINE_BYTES", 8)
    with pytest.raises(InputError, match="vector 1 of 1 has more than 8 bytes"):
        WordVectors.read(written(tmp_path, b"1 2\n\1" + b"x" * 9000 + b" \0\0\0\0"), limit=1)


def test_a_wrong_row_that_nobody_asked_for_does_no_harm(tmp_path: Path) -> None:
    found = WordVectors.read(written(tmp_path, GOOD.replace(b"1 2 3", b"one two three")), words=["queen"])
    assert found.matrix.tolist() == [[4, 5, 6]]


# fastText's parts of words


def naive_buckets(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """All n-grams, each hashed from its start, in the order of fastText."""

    def fnv(text: str) -> int:
        number = 2166136261
        for byte in text.encode():
            signed = byte - 256 if byte > 127 else byte
            number = (number ^ (signed % (1 << 32))) * 16777619 % (1 << 32)
        return number

    marked = f"<{word}>"
    return [
        fnv(marked[first:last]) % buckets
        for first in range(len(marked))
        for last in range(first + shortest, min(first + longest, len(marked)) + 1)
        if marked[first:last] not in ("<", ">")
    ]


@pytest.mark.parametrize("word", ["a", "where", "café", "火车站", "Ж", ""])
@pytest.mark.parametrize(("shortest", "longest"), [(1, 3), (3, 6), (2, 2)])
def test_parts_of_words(word: str, shortest: int, longest: int) -> None:
    found = Subwords(torch.zeros(1000, 1), shortest, longest).rows_of(word.encode())
    assert found == naive_buckets(word, shortest, longest, 1000)


def test_hashes_as_published() -> None:
    """FNV-1a (Fowler, Noll and Vo), and MurmurHash3 of 128 bits for x64 with seed 0 (Appleby)."""
    assert (fnv1a(b"a"), fnv1a(b"foobar")) == (0xE40C292C, 0xBF9CF968)
    for text, whole in (
        (b"", "00000000000000000000000000000000"), (b"hello", "cbd8a7b341bd9b025b1e906a48ae1d19"),
        (b"0123456789abcdef", "4be06d94cf4ad1a787c35b5c63a708da"),
        (b"The quick brown fox jumps over the lazy dog", "e34bbc7bbc071b6c7a433ca9c49a9347"),
    ):  # fmt: skip
        lower, upper, low, high = murmur3(text, 0)
        assert f"{upper:08x}{lower:08x}{high:08x}{low:08x}" == whole


def test_fasttext_with_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vector of a word is the mean over its own and those of its parts; of one that is not there, of the parts."""
    words = ["king", "café", "</s>", "火"]
    own, parts = torch.randn(len(words), DIM), torch.randn(50, DIM)
    path = written(tmp_path, as_fasttext(words, own, parts, 2, 4, labels=3))
    found = WordVectors.read(path)
    assert found.words == words
    for word, row in zip(words, own, strict=True):
        numbers_ = [] if word == "</s>" else naive_buckets(word, 2, 4, 50)
        expected = torch.stack([row, *parts[numbers_]]).double().mean(0)
        torch.testing.assert_close(found.vector(word).double(), expected, atol=1e-6, rtol=0)
    expected = parts[naive_buckets("kings", 2, 4, 50)].double().mean(0)
    torch.testing.assert_close(found.vector("kings").double(), expected, atol=1e-6, rtol=0)
    assert "kings" not in found
    assert found.neighbours("kings", 1)[0].word in words
    monkeypatch.setattr(fasttext, "BLOCK_BYTES", 1)  # a row at a time
    some = WordVectors.read(path, words=["火", "café"])
    assert some.words == ["café", "火"]
    assert torch.equal(some.matrix, found.matrix[[1, 3]])
    assert torch.equal(some.vector("kings"), found.vector("kings"))
    assert WordVectors.read(written(tmp_path, as_fasttext(words, own, parts, 2, 4, pruned=0))).subwords is None


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("wide", [2, 5])
def test_quantised_models(tmp_path: Path, wide: int, norms: bool) -> None:
    """As the same model without quantisation; where it is pruned, as if the buckets it left out were not there."""
    words, own, parts = ["king", "café", "火"], torch.randn(3, DIM), torch.randn(50, DIM)
    whole = as_fasttext(words, own, parts, 2, 4, matrix=as_quantised(torch.cat([own, parts]), wide, norms))
    found = WordVectors.read(written(tmp_path, whole))
    expected = WordVectors.read(written(tmp_path, as_fasttext(words, own, parts, 2, 4)))
    torch.testing.assert_close(found.matrix, expected.matrix)
    torch.testing.assert_close(found.vector("kings"), expected.vector("kings"))
    kept = {bucket: row for row, bucket in enumerate(range(49, 0, -3))}
    matrix = as_quantised(torch.cat([own, parts[list(kept)]]), wide, norms)
    path = written(tmp_path, as_fasttext(words, own, parts, 2, 4, kept=kept, matrix=matrix))
    few = WordVectors.read(path, words=["火", "king"])
    for word in ("king", "火", "kings"):
        rows = [parts[number] for number in naive_buckets(word, 2, 4, 50) if number in kept]
        rows += [own[words.index(word)]] if word in words else []
        torch.testing.assert_close(few.vector(word), torch.stack(rows).mean(0))
    odd = as_fasttext(words, own, parts, 2, 4, kept=kept | {1: 50}, matrix=matrix)
    assert_refused("buckets of n-grams beyond", WordVectors.read, written(tmp_path, odd))
    for cut in range(len(whole) - 60, 100, -997):
        assert_refused("midst|damaged", WordVectors.read, written(tmp_path, whole[:cut]))


def test_versions_before_the_last_are_read_as_fasttext_does(tmp_path: Path) -> None:
    """A supervised model of version 11 has no n-grams, whatever it says."""
    own, parts = torch.randn(2, DIM), torch.randn(9, DIM)
    for model in (2, 3):
        content = as_fasttext(["ab", "b"], own, parts, 2, 3, version=11, model=model)
        found = WordVectors.read(written(tmp_path, content))
        assert (found.subwords is None) == (model == 3)
        assert torch.equal(found.matrix, own) == (model == 3)


@pytest.mark.parametrize("hashes", [1, 2, 4])
def test_models_and_tables_of_floret(tmp_path: Path, hashes: int) -> None:
    """Words are means of the buckets of their n-grams and of themselves, each in so many buckets."""
    words, own, parts = ["king", "火", "</s>"], torch.randn(3, DIM), torch.randn(50, DIM)

    def expected(word: str) -> Tensor:
        marked = f"<{word}>"
        grams = [marked[i:j] for i in range(len(marked)) for j in range(i + 2, min(i + 3, len(marked)) + 1)]
        return torch.stack([parts[n % 50] for gram in [marked, *grams] for n in murmur3(gram.encode())[:hashes]]).mean(
            0
        )

    found = WordVectors.read(written(tmp_path, as_fasttext(words, own, parts, 2, 3, floret=(2, hashes))))
    assert found.words == words
    lines = [f"{number} {' '.join(map(str, row))}\n" for number, row in enumerate(parts.tolist())]
    header = f"50 {DIM} 2 3 {hashes} 2166136261 < >\n"
    path = written(tmp_path, (header + "".join(lines)).encode(), "table")
    table = WordVectors.read(path, words=["火", "new"])
    assert table.words == ["new", "火"]
    for word in ("king", "火", "new"):
        torch.testing.assert_close(found.vector(word), expected(word))
        torch.testing.assert_close(table.vector(word), expected(word))
    assert torch.equal(found.vector("</s>"), own[2])
    assert_refused("a table of floret, which has no words of its own", WordVectors.read, path)
    swapped = (header + "".join(lines[::-1])).encode()
    assert_refused("not numbered in order", WordVectors.read, written(tmp_path, swapped), words=["a"])
    plain = WordVectors.read(written(tmp_path, as_fasttext(words, own, parts, 2, 3, floret=(1, 1))))
    torch.testing.assert_close(
        plain.matrix, WordVectors.read(written(tmp_path, as_fasttext(words, own, parts, 2, 3))).matrix
    )


def test_a_word_without_parts_has_no_vector() -> None:
    vectors = WordVectors(["a"], torch.ones(1, 2), Subwords(torch.ones(3, 2), 5, 6))
    assert_refused("no vector", vectors.vector, "b")
