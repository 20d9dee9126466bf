"""A split as one long row of token ids."""

import gzip
import hashlib
import itertools
import math
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK
from seqmodels.data import TextFacts, Tokenizer, load_corpus, token_column, tokenize_column
from seqmodels.data.corpora import HeldOut
from seqmodels.data.token_column import encode_all

MANY = [chr(c) for c in [*range(0x3400, 0xA000), *range(0xAC00, 0xD7A0)]]
"""More characters than 16 bits can number with a sign."""


def of_file(path: Path, tokenizer: Tokenizer, split: str = "whole") -> tuple[Tensor, TextFacts]:
    return tokenize_column(load_corpus(str(path)).rows(split), tokenizer)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_one_text(kind: str, text: str, text_file: Path) -> None:
    """BOS before it, nothing after it and nothing inside: the text goes on in the next split."""
    tokenizer = {"char": Tokenizer.char([text]), "byte": Tokenizer.byte(), "bpe": Tokenizer.bpe([text], 300)}[kind]
    whole, facts = of_file(text_file, tokenizer)
    assert whole[0] == BOS
    assert whole[1:].min() > UNK
    assert tokenizer.decode(whole.tolist()) == text
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert facts == TextFacts(len(whole) - 1, len(text), len(text.encode()), unknown=0, documents=1, sha256=digest)
    train, validation = (of_file(text_file, tokenizer, split)[0] for split in ("train", "validation"))
    assert validation[0] == BOS
    if kind != "bpe":  # where a pair may lie across the border
        assert torch.equal(torch.cat([train, validation[1:]]), whole)


def test_many_texts(tmp_path: Path) -> None:
    """Each between BOS and EOS; where one is cut by the border, neither stands at the cut."""
    for name, text in {"a": "xyz", "b": "yyyyy", "c": "zx"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    tokenizer = Tokenizer.char(["xyz"])
    x, y, z = tokenizer.encode("xyz")
    expected = [BOS, x, y, z, EOS, BOS, y, y, y, y, y, EOS, BOS, z, x, EOS]
    ids, facts = of_file(tmp_path, tokenizer)
    assert ids.tolist() == expected
    assert (facts.tokens, facts.characters, facts.bytes, facts.documents) == (15, 10, 10, 3)
    text, beginnings = (hashlib.sha256(content).hexdigest() for content in (b"xyzyyyyyzx", b"0\n3\n8\n"))
    assert facts.sha256 == hashlib.sha256(f"{text} {beginnings}".encode()).hexdigest()
    corpus = load_corpus(str(tmp_path), held_out=HeldOut(0.4))
    train, validation = (
        tokenize_column(corpus.rows(split), tokenizer)[0].tolist() for split in ("train", "validation")
    )
    assert train == expected[:9]
    assert validation == [BOS, *expected[9:]]


def test_without_starts_and_ends(tmp_path: Path) -> None:
    """BOS before the whole stays: the first token of a text needs something to be predicted from."""
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 3)
    tokenizer = Tokenizer.char(["abc"])
    rows = load_corpus(str(tmp_path)).rows("whole")
    for bos, eos in [(False, False), (False, True), (True, False), (True, True)] * 2:  # made, and found in the cache
        column, facts = tokenize_column(rows, tokenizer, bos=bos, eos=eos)
        expected = [t for name in "abc" for t in [BOS] * bos + tokenizer.encode(name * 3) + [EOS] * eos]
        assert column.tolist() == [BOS] * (not bos) + expected
        assert (facts.tokens, facts.documents) == (len(column) - 1, 3)


def test_bits_per_byte_of_the_text_itself(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("  a  b\n\n")
    _, facts = of_file(tmp_path / "text.txt", Tokenizer.word(["a"]))
    assert (facts.tokens, facts.bytes, facts.unknown) == (4, 8, 1)
    assert facts.bits_per_byte(8 * math.log(2)) == pytest.approx(1)


def test_unknown_is_counted(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("xäyäzü")
    ids, facts = of_file(tmp_path / "text.txt", Tokenizer.char(["xyzä"]))
    assert facts.unknown == 1
    assert (ids == UNK).sum() == 1
    assert (facts.characters, facts.bytes) == (6, 9)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 15, torch.int16), ((1 << 15) + 1, torch.int32)])
def test_two_bytes_while_they_are_enough(vocab_size: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """The highest id survives on either side of the border."""
    alphabet = MANY[: vocab_size - 4]
    tokenizer = Tokenizer.char(["".join(alphabet)])
    assert tokenizer.vocab_size == vocab_size
    (tmp_path / "text.txt").write_text(alphabet[0] + alphabet[-1], encoding="utf-8")
    ids, _ = of_file(tmp_path / "text.txt", tokenizer)
    assert ids.dtype == dtype
    assert ids.tolist() == [BOS, 4, vocab_size - 1]


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that tokenizers were given, as they are given them."""
    seen: list[str] = []
    encode_batch = Tokenizer.encode_batch

    def counted(self: Tokenizer, texts: list[str]) -> list[list[int]]:
        seen.extend(texts)
        return encode_batch(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_batch", counted)
    return seen


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache" / "seqmodels"


def test_tokenized_once(text: str, text_file: Path, cache: Path, encoded: list[str]) -> None:
    tokenizer = Tokenizer.byte()
    first = of_file(text_file, tokenizer)
    again = of_file(text_file, Tokenizer(tokenizer.json))
    assert torch.equal(again[0], first[0])
    assert again[1] == first[1]
    assert encoded == [text]
    assert {path.suffix for path in cache.iterdir()} <= {"", ".ids", ".json", ".lock"}  # nothing half-done


def test_the_same_text_elsewhere_is_not_tokenized_again(
    text: str, text_file: Path, tmp_path: Path, cache: Path, encoded: list[str]
) -> None:
    """Known by what it says, not by where it lies, when it was written or how it was packed."""
    (tmp_path / "again.txt").write_text(text)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(text.encode()))
    columns = [of_file(path, Tokenizer.byte()) for path in (text_file, *sorted(tmp_path.glob("*.txt*")))]
    assert len(columns) == 3
    assert all(torch.equal(ids, columns[0][0]) and facts == columns[0][1] for ids, facts in columns)
    assert encoded == [text]


def test_where_documents_end_makes_another_text(tmp_path: Path) -> None:
    """The same characters in one document and in two, and cut elsewhere, are three columns."""
    tokenizer, columns = Tokenizer.char(["ab"]), []
    for number, texts in enumerate((["aabb"], ["aa", "bb"], ["aab", "b"])):
        (tmp_path / str(number)).mkdir()
        for name, text in enumerate(texts):
            (tmp_path / str(number) / f"{name}.txt").write_text(text)
        columns.append(of_file(tmp_path / str(number), tokenizer)[0].tolist())
    assert len({tuple(column) for column in columns}) == 3


def test_changed_text_and_other_tokenizers_are_tokenized(tmp_path: Path, cache: Path, encoded: list[str]) -> None:
    path = tmp_path / "text.txt"
    chars = Tokenizer.char(["ab"])
    for text in ("aab", "abb"):
        path.write_text(text)
        assert chars.decode(of_file(path, chars)[0].tolist()) == text
    assert Tokenizer.byte().decode(of_file(path, Tokenizer.byte())[0].tolist()) == "abb"
    assert encoded == ["aab", "abb", "abb"]


def test_another_layout_is_another_column(text_file: Path, cache: Path, encoded: list[str], monkeypatch: Any) -> None:
    for layout in (token_column.COLUMN_VERSION, token_column.COLUMN_VERSION + 1):
        monkeypatch.setattr(token_column, "COLUMN_VERSION", layout)
        of_file(text_file, Tokenizer.byte())
    assert len(encoded) == 2


COLD = """
import sys
from seqmodels.data import Tokenizer, load_corpus, tokenize_column
encode_batch = Tokenizer.encode_batch
def counted(self, texts):
    print("encoded", len(texts))
    return encode_batch(self, texts)
Tokenizer.encode_batch = counted
rows = load_corpus(sys.argv[1]).rows("whole")
print("ready", flush=True)
sys.stdin.readline()
print(len(tokenize_column(rows, Tokenizer.byte())[0]))
"""


def test_threads_that_start_cold_tokenize_once(text: str, text_file: Path, cache: Path, encoded: list[str]) -> None:
    """Locks are those of the file system, which keep threads apart as they do processes."""
    rows, start = load_corpus(str(text_file)).rows("whole"), threading.Barrier(4)

    def ask(_: int) -> int:
        start.wait()
        return len(tokenize_column(rows, Tokenizer.byte())[0])

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(ask, range(4))) == {len(text.encode()) + 1}
    assert encoded == [text]


@pytest.mark.slow
def test_processes_that_start_cold_tokenize_once_between_them(text: str, text_file: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", COLD, str(text_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_DATASETS_CACHE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(3)
    ]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n"] * 3
    for process in processes:
        print("go", file=process.stdin, flush=True)
    said = "".join(process.communicate(timeout=60)[0] for process in processes).split("\n")
    assert said.count("encoded 1") == 1
    assert said.count(str(len(text.encode()) + 1)) == 3


def test_writing_into_the_column_does_not_reach_the_cache(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abab")
    ids, _ = of_file(tmp_path / "text.txt", Tokenizer.byte())
    ids.fill_(7)
    assert Tokenizer.byte().decode(of_file(tmp_path / "text.txt", Tokenizer.byte())[0].tolist()) == "abab"


def test_interrupted_writing_is_never_found(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed after half of the text leaves a part, which is never taken for the whole."""
    folder = tmp_path / "text"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.txt").write_text(name * 3)
    tokenizer = Tokenizer.byte()

    def killed(texts: Iterable[str], *others: Any) -> Iterator[np.ndarray]:
        yield from itertools.islice(encode_all(texts, *others), 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(token_column, "encode_all", killed)
        with pytest.raises(KeyboardInterrupt):
            of_file(folder, tokenizer)
    assert not list(cache.glob("*.ids"))
    assert tokenizer.decode(of_file(folder, tokenizer)[0].tolist()) == "aaabbbccc"


# In one process or in several


def made_up(count: int) -> list[str]:
    chance = random.Random(1)
    return ["".join(chance.choices("ab \nä", k=chance.randint(0, 40))) for _ in range(count)]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_change_nothing(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are grouped into: the same arrays, in the same order."""
    monkeypatch.setattr(token_column, "GROUP_CHARACTERS", 100)
    texts = made_up(300)
    tokenizer = Tokenizer.bpe(texts, 280)
    found = list(encode_all(iter(texts), tokenizer, 1000, processes))
    assert [ids.tolist() for ids in found] == [tokenizer.encode(text) for text in texts]
    assert {ids.dtype for ids in found} == {np.dtype(np.int16)}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_other_processes_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_column, "encode", lambda tokenizer, texts: [np.array([os.getpid()]) for _ in texts])
    monkeypatch.setattr(token_column, "GROUP_CHARACTERS", 1)
    numbers = {int(ids[0]) for ids in encode_all(["a"] * 40, Tokenizer.byte(), 40, 2)}
    assert os.getpid() not in numbers
    assert 1 <= len(numbers) <= 2


def test_little_text_is_encoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_column, "encode", lambda tokenizer, texts: [np.array([os.getpid()]) for _ in texts])
    assert {int(ids[0]) for ids in encode_all(["a"] * 9, Tokenizer.byte(), 9)} == {os.getpid()}


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_not_asked_for_is_not_read(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text is, a few groups of it are under way and no more."""
    monkeypatch.setattr(token_column, "GROUP_CHARACTERS", 1)
    read = []

    def texts() -> Iterator[str]:
        for number in range(1000):
            read.append(number)
            yield "a"

    for asked, _ in enumerate(encode_all(texts(), Tokenizer.byte(), 1000, processes), 1):
        assert len(read) <= asked + 2 * processes + 1
    assert len(read) == 1000
