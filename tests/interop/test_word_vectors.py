"""Word vectors: formats from bytes made by hand, damaged files, neighbours, analogies, embeddings and maps."""

import gzip
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import assert_refused, refused
from torch import Tensor, nn

from seqmodels import LSTM, LanguageModel, Tokenizer
from seqmodels.analysis import draw_map, map_of
from seqmodels.cli.main import main
from seqmodels.errors import InputError
from seqmodels.interop.word_vectors import Accuracy, Subwords, WordVectors, byte_source, fasttext, selection, words_of
from seqmodels.interop.word_vectors.analogies import read_questions
from seqmodels.interop.word_vectors.subwords import fnv1a, murmur3

WORDS = ["the", "king", "café", "火车", "</s>", "7", "."]
DIM = 5


@pytest.fixture
def matrix() -> Tensor:
    return torch.randn(len(WORDS), DIM, generator=torch.Generator().manual_seed(1))


def numbers(row: Tensor) -> bytes:
    return struct.pack(f"<{len(row)}f", *row.tolist())


def as_text(words: list[str], matrix: Tensor, header: bool, end: str = "\n") -> bytes:
    lines = [f"{word} {' '.join(str(x) for x in row)}{end}" for word, row in zip(words, matrix.tolist(), strict=True)]
    return (f"{len(words)} {matrix.shape[1]}\n" * header + "".join(lines)).encode()


def as_binary(words: list[str], matrix: Tensor, end: bytes = b"\n") -> bytes:
    rows = [w.encode() + b" " + numbers(row) + end for w, row in zip(words, matrix, strict=True)]
    return f"{len(words)} {matrix.shape[1]}\n".encode() + b"".join(rows)


FORMATS: dict[str, Callable[[list[str], Tensor], bytes]] = {
    "word2vec": lambda words, matrix: as_text(words, matrix, True),
    "word2vec with spaces at the ends": lambda words, matrix: as_text(words, matrix, True, " \r\n"),
    "glove": lambda words, matrix: as_text(words, matrix, False),
    "binary": as_binary,
    "binary without line ends": lambda words, matrix: as_binary(words, matrix, b""),
    "fasttext": lambda words, matrix: as_fasttext(words, matrix, torch.zeros(0, DIM), 0, 0),
}


def as_fasttext(
    words: list[str], own: Tensor, parts: Tensor, shortest: int, longest: int, labels: int = 0,
    floret: tuple[int, ...] = (), kept: dict[int, int] | None = None, matrix: bytes | None = None, **other: int,
) -> bytes:  # fmt: skip
    """A model as fastText 0.9 writes it, version 12, up to its input vectors; `floret` is mode and number of hashes."""
    given = {"magic": 793712314, "version": 12, "quantised": 0, "rows": len(own) + len(parts), "model": 2} | other
    pruned, buckets = given.get("pruned", -1 if kept is None else len(kept)), given.get("buckets", len(parts))
    settings = [own.shape[1], 5, 1, 1, 5, 1, 2, given["model"], buckets, shortest, longest, *floret, 100]
    found = struct.pack(f"<ii{len(settings)}id", given["magic"], given["version"], *settings, 1e-4)
    found += struct.pack("<iiiqq", len(words) + labels, len(words), labels, 1000, pruned)
    for word in words:
        found += word.encode() + b"\0" + struct.pack("<qb", 3, 0)
    for label in range(labels):
        found += f"__label__{label}".encode() + b"\0" + struct.pack("<qb", 3, 1)
    found += b"".join(struct.pack("<ii", *pair) for pair in (kept or {}).items())
    dense = struct.pack("<qq", given["rows"], own.shape[1]) + b"".join(numbers(row) for row in [*own, *parts])
    return found + struct.pack("<?", matrix is not None or given["quantised"]) + (matrix or dense) + bytes(17)


def as_quantised(rows: Tensor, wide: int, norms: bool) -> bytes:
    """A matrix in which each part of `wide` numbers, and each norm, has its own place among 256 centroids."""

    def quantised(rows: Tensor, wide: int) -> tuple[bytes, bytes]:
        parts = torch.split(rows, wide, 1)
        centroids = b"".join(
            numbers(torch.cat([part, torch.zeros(256 - len(part), part.shape[1])]).flatten()) for part in parts
        )
        codes = bytes(number for number in range(len(rows)) for _ in parts)
        return codes, struct.pack("<4i", rows.shape[1], len(parts), wide, parts[-1].shape[1]) + centroids

    sizes = rows.norm(dim=1, keepdim=True)
    codes, centroids = quantised(rows / sizes if norms else rows, wide)
    found = struct.pack("<?qqi", norms, *rows.shape, len(codes)) + codes + centroids
    return found + (b"".join(quantised(sizes, 1)) if norms else b"")


def written(folder: Path, content: bytes, name: str = "vectors") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


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


# Neighbours and analogies


def brute(vectors: WordVectors, target: Tensor, without: list[str]) -> list[tuple[str, float]]:
    """All cosines in double precision, the largest first."""
    cosines = torch.cosine_similarity(vectors.matrix.double(), target.double()).tolist()
    pairs = [pair for pair in zip(vectors.words, cosines, strict=True) if pair[0] not in without]
    return sorted(pairs, key=lambda pair: -pair[1])


@pytest.fixture
def some() -> WordVectors:
    chance = torch.Generator().manual_seed(3)
    scale = torch.rand(60, 1, generator=chance) * 5
    return WordVectors([f"w{i}" for i in range(60)], torch.randn(60, 8, generator=chance) * scale)


def test_neighbours_and_analogies_against_brute_force(some: WordVectors) -> None:
    row = some.vector("w7")
    a, b, c = torch.nn.functional.normalize(some.vectors(["w1", "w2", "w3"]).double(), dim=1)
    for found, expected in (
        (some.neighbours("w7", 9), brute(some, row, ["w7"])),
        (some.neighbours(row, 9), brute(some, row, [])),
        (some.analogy("w1", "w2", "w3", 5), brute(some, b - a + c, ["w1", "w2", "w3"])),
    ):
        assert [one.word for one in found] == [word for word, _ in expected[: len(found)]]
        assert [one.score for one in found] == pytest.approx([score for _, score in expected[: len(found)]], abs=1e-6)
    assert len(some.neighbours("w7", 1000)) == 59
    assert len(some.analogy("w7", "w7", "w8", 1000)) == 58


def test_questions_are_answered_as_analogies_are(
    some: WordVectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.interop.word_vectors.vectors.SCORES_AT_ONCE", 60 * 4)  # several pieces
    triples = [(f"w{i}", f"w{(3 * i + 1) % 60}", f"w{(7 * i + 5) % 60}") for i in range(0, 40, 3)]
    lines = [": right"] + [f"{a} {b} {c} {some.analogy(a, b, c, 1)[0].word}" for a, b, c in triples]
    lines += ["", ": wrong and unknown"] + [f"{a} {b} {c} {some.analogy(a, b, c, 2)[1].word}" for a, b, c in triples]
    lines += ["w1 w2 w3 absent", ": nothing known", "a b c d"]
    path = written(tmp_path, "\n".join(lines).encode(), "questions.txt")
    many = len(triples)
    expected = {
        "right": Accuracy(many, many, 0),
        "wrong and unknown": Accuracy(0, many, 1),
        "nothing known": Accuracy(0, 0, 1),
        "total": Accuracy(many, 2 * many, 2),
    }
    assert some.evaluate(path) == some.evaluate(read_questions(path)) == expected
    assert expected["total"].fraction == 0.5
    assert expected["nothing known"].fraction == 0
    upper = written(tmp_path, "\n".join(lines).upper().encode(), "upper.txt")
    assert some.evaluate(upper)["total"] == Accuracy(0, 0, 2 * many + 2)
    assert some.evaluate(upper, lowercase=True)["total"] == expected["total"]


def test_files_without_questions(some: WordVectors, tmp_path: Path) -> None:
    assert_refused("no questions", some.evaluate, written(tmp_path, b": only\n"))
    assert_refused("line 1 .* 3 words", some.evaluate, written(tmp_path, b"a b c\n"))


def test_unknown_words_are_answered_with_their_like() -> None:
    vectors = WordVectors(["Paris", "sister", "brother"], torch.eye(3))
    for word, hint in (("paris", "did you mean Paris"), ("sistr", "sister"), ("zzz", "one of the 3 words")):
        assert_refused(hint, vectors.neighbours, word)
    for bad in (torch.ones(4), torch.ones(1, 3)):
        assert_refused("expected", vectors.neighbours, bad)
    assert_refused("k=0", vectors.neighbours, "Paris", 0)


def test_what_are_no_word_vectors() -> None:
    assert_refused("a row for each word", WordVectors, ["a", "b"], torch.ones(3, 2))
    assert_refused("a row for each word", WordVectors, [], torch.ones(0, 2))
    assert_refused("there twice", WordVectors, ["a", "a"], torch.ones(2, 2))
    assert_refused("'b' .* not finite", WordVectors, ["a", "b"], torch.tensor([[1.0, 2], [3, math.nan]]))


# Into embeddings, and out of them


@pytest.fixture
def words() -> Tokenizer:
    return Tokenizer.word(["the King saw the queen\nand saw and the\n"])


def test_an_embedding_begins_with_vectors(words: Tokenizer) -> None:
    vectors = WordVectors(["queen", "the", "king", "</s>", "other"], torch.randn(5, 6))
    torch.manual_seed(0)
    model = LanguageModel(LSTM(6, 6), words, tie_embeddings=True)
    before = model.embedding.weight.detach().clone()
    filled = vectors.into(model)
    assert filled.found == 3
    assert set(filled.missing) == {"<unk>", "King", "saw", "and"}
    after = dict(zip(words_of(words), model.embedding.weight[3:], strict=False))
    for word, name in (("the", "the"), ("queen", "queen"), ("\n", "</s>")):
        assert torch.equal(after[word], vectors.vector(name))
    unmoved = [number for number, word in enumerate(words_of(words)[:-1], 3) if word not in ("the", "queen", "\n")]
    assert torch.equal(model.embedding.weight[unmoved], before[unmoved])
    assert model.head.weight is model.embedding.weight
    assert model.embedding.weight.requires_grad
    assert set(vectors.into(model, freeze=True, lowercase=True).missing) == {"<unk>", "saw", "and"}
    assert torch.equal(model.embedding.weight[words.encode("King")[0]], vectors.vector("king"))
    assert not model.embedding.weight.requires_grad


def test_vectors_are_rescaled(words: Tokenizer) -> None:
    vectors = WordVectors(words_of(words)[1:], 40 * torch.randn(len(words_of(words)) - 1, 6))
    embedding = nn.Embedding(words.vocab_size, 6)
    size = embedding.weight.square().mean().item()
    vectors.into(embedding, words, rescale=True)
    row = embedding.weight[words.encode("queen")[0]]
    assert torch.cosine_similarity(row, vectors.vector("queen"), dim=0).item() == pytest.approx(1, abs=1e-6)
    assert embedding.weight[4:].square().mean().item() == pytest.approx(size, rel=1e-4)


def test_vectors_that_do_not_fit(words: Tokenizer) -> None:
    vectors = WordVectors(["the"], torch.ones(1, 6))
    assert_refused("input_size=6", vectors.into, nn.Embedding(words.vocab_size, 5), words)
    assert_refused("got none", vectors.into, nn.Embedding(words.vocab_size, 6))
    assert_refused("got one of", vectors.into, nn.Embedding(3, 6), words)
    assert_refused("none of the tokens", vectors.into, nn.Embedding(5, 6), Tokenizer.char("a"))


@pytest.mark.parametrize("kind", ["word", "char", "bpe"])
def test_those_of_a_model(kind: str, words: Tokenizer) -> None:
    tokenizer = {"word": words, "char": Tokenizer.char(["abcé"]), "bpe": Tokenizer.bpe(["the queen the queen"], 270)}
    model = LanguageModel(LSTM(6, 8), tokenizer[kind])
    found = WordVectors.of(model)
    word, text = {"word": ("queen", "queen"), "char": ("é", "é"), "bpe": (" queen", " queen")}[kind]
    (number,) = model.tokenizer.encode(text)
    assert torch.equal(found.vector(word), model.embedding.weight[number])
    assert "<pad>" not in found
    assert "" not in found
    assert len(WordVectors.of(model, limit=3)) == 3
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert found.vector(word).abs().sum() > 0  # a copy


# Maps


def test_a_map_keeps_what_pairs_have_in_common() -> None:
    """Two directions in ten dimensions come out as a parallelogram, turned and perhaps mirrored, to scale."""
    chance = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(10, 2, generator=chance)).Q.T
    flat = torch.tensor([[0.0, 0], [3, 0], [0, 1], [3, 1], [7, 2], [-4, -1]])
    points = map_of(flat @ axes + 5)
    torch.testing.assert_close(torch.cdist(points, points), torch.cdist(flat, flat).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(points[1] - points[0], points[3] - points[2], atol=1e-5, rtol=0)
    assert torch.equal(points, map_of(flat @ axes + 5))
    assert points[:, 0].var() > points[:, 1].var()


def test_pca_against_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = torch.randn(40, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(decomposition.PCA(2).fit_transform(vectors.numpy()))
    found = map_of(vectors)
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-9, rtol=0)
    axes = torch.linalg.lstsq(vectors - vectors.mean(0), found).solution.T
    assert bool((axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all())
    torch.testing.assert_close(map_of(-vectors), -found, atol=1e-9, rtol=0)


def test_tsne_keeps_neighbours() -> None:
    pytest.importorskip("sklearn")
    chance = torch.Generator().manual_seed(0)
    centres = torch.eye(3, 12).repeat_interleave(8, 0)
    vectors = (centres + 0.05 * torch.randn(24, 12, generator=chance)) * (1 + torch.rand(24, 1, generator=chance))
    points = map_of(vectors, "tsne")
    nearest = torch.cdist(points, points).fill_diagonal_(math.inf).argmin(1)
    assert torch.equal(nearest // 8, torch.arange(24) // 8)


def test_maps_that_cannot_be() -> None:
    for vectors, method in ((torch.ones(2, 5), "pca"), (torch.ones(4, 5), "tsne"), (torch.ones(5, 1), "pca")):
        assert_refused("at least", map_of, vectors, method)
    assert_refused("choose pca or tsne", map_of, torch.ones(5, 5), "umap")
    assert_refused("as many of each", draw_map, torch.ones(3, 2), ["a"])
    assert_refused("'d' of a pair", draw_map, torch.ones(3, 2), ["a", "b", "c"], [("a", "d")])


def test_a_map_as_a_picture(tmp_path: Path) -> None:
    words = ["sister", "brother", "niece", "nephew", "upon sister", "$x^", "\n"]
    points = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [0.5, 0.5], [0.2, 0.2]])
    figure = draw_map(points, words, [("sister", "brother"), ("niece", "nephew")])
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.texts if text.get_text()]
    assert names[:4] == words[:4]
    assert "upon sister" not in names  # there is no room
    assert {"$x^", "⏎"} <= set(names)
    apart = draw_map(9 * points[:4] - 4, words[:4])  # beyond what an empty picture shows
    assert len(apart.axes[0].texts) == 4
    figure.savefig(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


# The command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"man": (1, 0, 0), "woman": (1, 1, 0), "king": (1, 0, 2), "queen": (1, 1, 2), "apple": (-3, 1, 0)}
    lines = [f"{word} {a} {b} {c}" for word, (a, b, c) in grid.items()]
    path, picture = written(tmp_path, "\n".join(lines).encode()), tmp_path / "map.svg"
    questions = written(tmp_path, b": royal\nman king woman queen\n", "questions.txt")
    asked = ["--near", "king", "apple", "--analogy", "man", "king", "woman", "--k", "2", "--questions", str(questions)]
    saved = ["--save", str(tmp_path / "saved.txt.gz")]
    main(["embeddings", str(path), *asked, "--map", str(picture), "--pairs", "man", "woman", "king", "queen", *saved])
    out = capsys.readouterr().out
    assert WordVectors.read(tmp_path / "saved.txt.gz").words == list(grid)
    assert "5 words, 3 dimensions" in out
    assert "man is to king as woman is to:\n   0.9" in out
    assert out.split("woman is to:\n")[1].split()[1] == "queen"
    assert "near king:" in out
    assert "near apple:" in out
    assert "100.0% of 1 right" in out
    assert "queen" in picture.read_text() or picture.stat().st_size > 1000
    for words, says in (
        (["--analogy", "a", "b"], "expected three"),
        (["--map", str(picture), "--pairs", "man"], "two for each"),
        (["--pairs", "man", "king"], "without --map"),
        (["--save", str(tmp_path / "no" / "a.txt")], "make it first"),
        (["--map", "map.txt"], "ends in one of"),
        (["--map", str(tmp_path / "no" / "map.png")], "make it first"),
        (["--near", "kng"], "did you mean king"),
        (["--senses", "bank"], "a word and a file"),
        (["--senses", "bank", str(path)], "needs the run"),
        (["--layer", "1.h"], "without --senses"),
    ):
        assert says in refused(capsys, "embeddings", str(path), *words)
    unequal = written(tmp_path, b"king 1 2 3\nqueen 4 5\n", "unequal.txt")
    message = "has 3 numbers behind a word; expected 2, as another line has"
    assert message in refused(capsys, "embeddings", str(unequal), "--near", "king")
