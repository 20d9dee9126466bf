"""State tracking: what is asked for is found again by permutations composed by hand, and by Python's own arithmetic."""

import itertools

import pytest
import torch
from refusals import assert_refused
from torch import Generator, Tensor

from seqmodels.batch import IGNORE
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.problems import memory_task
from seqmodels.experiments.state_tracking import SYMBOLS, group


def made(name: str, length: int, rows: int, training: bool) -> tuple[Tensor, Tensor]:
    task = memory_task(name, length)
    tokens, targets = task.make(length, rows, Generator().manual_seed(length), training)
    assert tokens.shape == targets.shape == (rows, length)
    assert tokens.dtype == targets.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() < task.inputs
    assert targets.max() < task.outputs
    if not training:
        assert (targets[:, :-1] == IGNORE).all()
        assert (targets[:, -1] != IGNORE).all()
    return tokens, targets


@pytest.mark.parametrize("length", [1, 2, 40])
def test_parity(length: int) -> None:
    for training in (True, False):
        tokens, targets = made("parity", length, 300, training)
        for bits, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
            assert answers[-1] == bits.count(1) % 2
            if training:
                assert answers == [bits[: place + 1].count(1) % 2 for place in range(length)]
    assert 0.4 < tokens.float().mean() < 0.6


@pytest.mark.parametrize("length", [4, 6, 40])
def test_modular_arithmetic_is_that_of_python(length: int) -> None:
    for training in (True, False):
        tokens, targets = made("modular-arithmetic", length, 50, training)
        for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
            text = "".join(SYMBOLS[token] for token in row)
            assert text[-1] == "="
            assert answers[-1] == eval(text[:-1]) % 5
            if training:
                assert answers[:-1:2] == [eval(text[:end]) % 5 for end in range(1, length, 2)]
                assert set(answers[1:-1:2]) <= {IGNORE}
    assert {SYMBOLS[token] for token in tokens[:, 1:-1:2].unique().tolist()} == set("+-*")


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 7, 8, 9, 40])
def test_nested_arithmetic_is_that_of_python(length: int) -> None:
    tokens, targets = made("nested-arithmetic", length, 200, training=False)
    assert torch.equal(targets, made("nested-arithmetic", length, 200, training=True)[1])
    depths = set()
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        text = "".join(SYMBOLS[token] for token in row)
        assert text[-1] == "="
        assert answers[-1] == eval(text[:-1]) % 5
        depths.add(max(itertools.accumulate((c == "(") - (c == ")") for c in text)))
    assert len(depths) > 3 or length < 40
    assert targets[:, -1].unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("name", "order"), [("S3", 6), ("A4", 12), ("A5", 60), ("S5", 120)])
def test_groups_are_those_of_permutations(name: str, order: int) -> None:
    elements, table = group(name)
    assert len(set(elements)) == order
    assert all(sorted(element) == list(range(int(name[1:]))) for element in elements)
    for a, first in enumerate(elements):
        for b, then in list(enumerate(elements))[:: 1 + order // 20]:
            moved = [then[first[place]] for place in range(len(first))]
            assert elements[table[a, b]] == tuple(moved)
    everyone = torch.arange(order)
    assert torch.equal(table[0], everyone)
    assert torch.equal(table[:, 0], everyone)
    assert torch.equal(table.sort(1).values, everyone.expand(order, -1))  # each has an inverse
    assert torch.equal(table[table[:, 1:2], everyone], table[everyone.unsqueeze(1), table[1]])  # (a b) c = a (b c)


def test_even_permutations_are_products_of_two_swaps() -> None:
    found = {tuple(range(5))}
    swapped = [tuple(b if p == a else a if p == b else p for p in range(5)) for a in range(5) for b in range(a)]
    for a, b in itertools.product(swapped, repeat=2):
        found.add(tuple(b[place] for place in a))
    for a, b in itertools.product(list(found), repeat=2):
        found.add(tuple(b[place] for place in a))
    assert found == set(group("A5")[0])


@pytest.mark.parametrize("task", ["words-s3", "words-a5", "words-s5", "words-s5-swaps"])
def test_words_are_composed_element_by_element(task: str) -> None:
    elements, _ = group(task.split("-")[1].upper())
    tokens, targets = made(task, 24, 20, True)
    at_end = made(task, 24, 20, False)[1]
    assert torch.equal(targets[:, -1], at_end[:, -1])
    for row, answers in zip(tokens.tolist(), targets.tolist(), strict=True):
        product = tuple(range(len(elements[0])))
        for token, answer in zip(row, answers, strict=True):
            product = tuple(elements[token][place] for place in product)
            assert elements[answer] == product
    kinds = made(task, 24, 400, True)[0].unique()
    assert len(kinds) == (11 if task.endswith("swaps") else len(elements))


def test_lengths_of_training_batches_are_drawn() -> None:
    data = MemoryDataModule("modular-arithmetic", 12, 3, [1, 2], 5, varied_from=5)
    batches, scored = data.training_batches(), data.scored_batches("validation")
    assert {batches[0, number].inputs.shape for number in range(60)} == {(6, 6), (6, 8), (6, 10), (6, 12)}
    assert scored[0, 0].inputs.shape == (10, 12)
    assert_refused("length=7 was given with modular-arithmetic; expected a multiple of 2", memory_task,
                   "modular-arithmetic", 7)  # fmt: skip
    assert_refused("varied_from=13 was given with parity; expected 1 to 12", MemoryDataModule, "parity", 12,
                   varied_from=13)  # fmt: skip
    growing = MemoryDataModule("modular-arithmetic", 12, shortest=4)
    assert [growing.positions for _ in range(5) if growing.lengthen()] == [6, 10, 12]
