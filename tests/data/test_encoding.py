"""Many texts to token ids, in one process or in several."""

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest

from seqmodels.data import Tokenizer, token_column
from seqmodels.data.token_column import encode_all


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
