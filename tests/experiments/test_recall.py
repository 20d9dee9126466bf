"""Recall: every answer is found again in a dictionary that is filled while the symbols are read."""

import pytest
import torch
from torch import Generator, Tensor

from seqmodels.batch import IGNORE
from seqmodels.experiments.problems import memory_task
from seqmodels.experiments.recall import multi_query_recall


def made(name: str, length: int, rows: int, training: bool = False) -> tuple[Tensor, Tensor]:
    task = memory_task(name, length)
    tokens, targets = task.make(length, rows, Generator().manual_seed(7), training)
    assert tokens.shape == targets.shape == (rows, length)
    assert 0 <= tokens.min() <= tokens.max() < task.inputs == task.outputs
    assert targets.max() < task.outputs
    return tokens, targets


@pytest.mark.parametrize(("length", "pairs"), [(64, 4), (128, 8), (256, 16)])
def test_answers_of_many_queries_are_in_a_dictionary(length: int, pairs: int) -> None:
    tokens, targets = made("mqar", length, 50)
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        value_of = dict(zip(row[: 2 * pairs : 2], row[1 : 2 * pairs : 2], strict=True))
        assert len(value_of) == pairs
        assert max(value_of) < 4096 <= min(value_of.values())
        asked = [place for place, answer in enumerate(answers) if answer != IGNORE]
        assert sorted(row[place] for place in asked) == sorted(value_of)  # each once
        assert all(answers[place] == value_of[row[place]] for place in asked)
        assert min(asked) >= 2 * pairs


def test_gaps_follow_a_power_law() -> None:
    """One query of one row in many: gap g has the weight g^(a - 1)."""
    _, targets = multi_query_recall(10, 20_000, Generator().manual_seed(1), symbols=16, pairs=1, power=0.5)
    counted = torch.bincount((targets != IGNORE).nonzero()[:, 1] - 2, minlength=8) / 20_000
    weights = torch.arange(1, 9) ** -0.5
    assert (counted - weights / weights.sum()).abs().max() < 0.015


@pytest.mark.parametrize(("name", "first_noise"), [("mad-recall", 16), ("mad-noisy-recall", 16)])
def test_pairs_that_come_again(name: str, first_noise: int) -> None:
    tokens, targets = made(name, 128, 40)
    noise = 0
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        value_of: dict[int, int] = {}
        for place in range(0, 128, 2):
            key, value = row[place : place + 2]
            assert answers[place + 1] == IGNORE
            if key >= first_noise:
                assert answers[place] == IGNORE
                assert value >= first_noise
                noise += 1
                continue
            assert key < 8 <= value < 16
            assert answers[place] == (value if key in value_of else IGNORE)
            assert value_of.setdefault(key, value) == value
    assert noise / (40 * 64) == pytest.approx(0.2 if name == "mad-noisy-recall" else 0.0, abs=0.03)
    shown, following = made(name, 128, 40, training=True)
    assert torch.equal(shown, tokens)
    assert torch.equal(following[:, :-1], tokens[:, 1:])


def test_keys_and_values_of_several_symbols() -> None:
    tokens, targets = made("mad-fuzzy-recall", 128, 60)
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        start = next(place for place, token in enumerate(row) if token != 15)
        assert 15 not in row[start:]
        value_of: dict[tuple[int, ...], list[int]] = {}
        place, last = start, False
        while place < 128:
            key = tuple(row[place : place + 3])
            assert max(key) < 7
            assert len(set(key)) == 3
            end = place + 3
            while end < 128 and row[end] >= 7:
                end += 1
            value = row[place + 3 : end]
            known = value_of.get(key)
            # An input's target is the next symbol: from the last symbol of the key to the one before the value's last.
            asked = [answer for answer in answers[place + 2 : end - 1 if end < 128 else 128] if answer != IGNORE]
            if known is None:
                assert asked == []
                value_of[key] = value
            else:
                assert asked == known  # the last value's end is a target, but no input
                last = end == 128
            place = end
        assert last
    training = made("mad-fuzzy-recall", 128, 60, training=True)
    assert torch.equal(training[1][:, :-1], training[0][:, 1:])


def test_memorized_values_are_always_the_same() -> None:
    value_of: dict[int, int] = {}
    for rows in (300, 301):
        tokens, targets = made("mad-memorization", 32, rows)
        assert (tokens[:, 1::2] == 255).all()
        assert (targets[:, ::2] == IGNORE).all()
        pairs = zip(tokens[:, ::2].flatten().tolist(), targets[:, 1::2].flatten().tolist(), strict=True)
        assert all(value_of.setdefault(key, value) == value for key, value in pairs)
    assert len(value_of) == len(set(value_of.values())) == 127
    assert max(value_of) < min(value_of.values())
    assert max(value_of.values()) < 255


def test_compression_asks_for_all_symbols() -> None:
    tokens, targets = made("mad-compression", 32, 100)
    assert torch.equal(tokens, targets)
    assert (tokens[:, -1] == 15).all()
    assert tokens[:, :-1].unique().tolist() == list(range(15))


def test_symbols_among_blanks_are_copied_in_order() -> None:
    tokens, targets = made("mad-selective-copying", 256, 100)
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        assert [token for token in row if token < 14] == answers[-16:]
        assert set(answers[:-16]) == {IGNORE}
        assert (row[239], set(row[240:])) == (15, {14})
