"""A split as one long row of token ids."""

import hashlib
import math
from pathlib import Path

import datasets
import pytest
import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK
from seqmodels.data import TextFacts, Tokenizer, column, load_corpus, token_column
from seqmodels.errors import InputError

MANY = [chr(c) for c in [*range(0x3400, 0xA000), *range(0xAC00, 0xD7A0)]]
"""More characters than 16 bits can number with a sign."""


def of_file(path: Path, tokenizer: Tokenizer, split: str = "whole") -> tuple[Tensor, TextFacts]:
    return token_column(load_corpus(str(path)).rows(split), tokenizer)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_one_text(kind: str, text: str, text_file: Path) -> None:
    """BOS before it, nothing after it and nothing inside: the text goes on in the next split."""
    tokenizer = {
        "char": lambda: Tokenizer.char([text]),
        "byte": Tokenizer.byte,
        "bpe": lambda: Tokenizer.bpe([text], 300),
    }[kind]()
    whole, facts = of_file(text_file, tokenizer)
    assert whole[0] == BOS
    assert whole[1:].min() > UNK
    assert tokenizer.decode(whole.tolist()) == text
    assert facts == TextFacts(
        tokens=len(whole) - 1,
        characters=len(text),
        bytes=len(text.encode()),
        unknown=0,
        documents=1,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
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
    assert facts.sha256 == hashlib.sha256(b"xyzyyyyyzx").hexdigest()
    corpus = load_corpus(str(tmp_path), val_share=0.4)
    train, validation = (token_column(corpus.rows(split), tokenizer)[0].tolist() for split in ("train", "validation"))
    assert train == expected[:9]
    assert validation == [BOS, *expected[9:]]


def test_without_starts_and_ends(tmp_path: Path) -> None:
    """BOS before the whole stays: the first token of a text needs something to be predicted from."""
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 3)
    tokenizer = Tokenizer.char(["abc"])
    rows = load_corpus(str(tmp_path)).rows("whole")
    for bos, eos in [(False, False), (False, True), (True, False), (True, True)] * 2:  # made, and found in the cache
        column, facts = token_column(rows, tokenizer, bos=bos, eos=eos)
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


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(100, torch.int16), (1 << 15, torch.int16), ((1 << 15) + 1, torch.int32)]
)
def test_two_bytes_while_they_are_enough(vocab_size: int, dtype: torch.dtype, tmp_path: Path) -> None:
    """The highest id survives on either side of the border."""
    alphabet = MANY[: vocab_size - 4]
    tokenizer = Tokenizer.char(["".join(alphabet)])
    assert tokenizer.vocab_size == vocab_size
    (tmp_path / "text.txt").write_text(alphabet[0] + alphabet[-1], encoding="utf-8")
    ids, _ = of_file(tmp_path / "text.txt", tokenizer)
    assert ids.dtype == dtype
    assert ids.tolist() == [BOS, 4, vocab_size - 1]


def refuse(*_: object) -> None:
    pytest.fail("tokenized again")


def test_tokenized_once(text_file: Path, datasets_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer.byte()
    first = of_file(text_file, tokenizer)
    monkeypatch.setattr(column, "_tokenize", refuse)
    again = of_file(text_file, Tokenizer(tokenizer.json))
    assert torch.equal(again[0], first[0])
    assert again[1] == first[1]
    assert {path.suffix for path in (datasets_cache / "seqmodels").iterdir()} == {".npy", ".json"}  # nothing half-done


def test_changed_text_and_other_tokenizers_are_tokenized(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    chars = Tokenizer.char(["ab"])
    for text in ("aab", "abb"):
        path.write_text(text)
        assert chars.decode(of_file(path, chars)[0].tolist()) == text
    assert Tokenizer.byte().decode(of_file(path, Tokenizer.byte())[0].tolist()) == "abb"
    monkeypatch.setattr(column, "_tokenize", refuse)
    with pytest.raises(pytest.fail.Exception, match="tokenized again"):
        of_file(text_file, chars)


def test_writing_into_the_column_does_not_reach_the_cache(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abab")
    ids, _ = of_file(tmp_path / "text.txt", Tokenizer.byte())
    ids.fill_(7)
    assert Tokenizer.byte().decode(of_file(tmp_path / "text.txt", Tokenizer.byte())[0].tolist()) == "abab"


def test_interrupted_writing_leaves_nothing_to_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "text.txt").write_text("abab")

    def save(file: object, ids: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(column.np, "save", save)
        with pytest.raises(KeyboardInterrupt):
            of_file(tmp_path / "text.txt", Tokenizer.byte())
    assert Tokenizer.byte().decode(of_file(tmp_path / "text.txt", Tokenizer.byte())[0].tolist()) == "abab"


def test_unreadable_text_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError):
        of_file(tmp_path / "text.txt", Tokenizer.byte())
