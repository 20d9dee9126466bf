"""Pictures of handwritten digits, as rows of points.

Problems of long memory: what was seen long ago decides, and nothing in between says so.

Each makes examples as they are needed, from a random generator and nothing else.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from seqmodels.batch import IGNORE
from seqmodels.data.corpora import from_hub
from seqmodels.errors import InputError

DIGITS = 64
"""Points of a picture that scikit-learn brings along, eight by eight."""

HELD_OUT = 297
"""Of its 1,797 pictures, those at the end, by which a network is scored."""


@functools.lru_cache(maxsize=4)
def digits(mnist: bool, training: bool) -> tuple[Tensor, Tensor]:
    """Points between 0 and 1, (N, points), and which digit each picture is, int64 (N,).

    Args:
        mnist: those of MNIST, from the hub, rather than those that scikit-learn brings along.
        training: those to learn from, rather than those to be scored by.

    Raises:
        InputError: scikit-learn is not installed, or the hub cannot be reached.
    """
    if not mnist:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise InputError(
                'these digits come with scikit-learn, which is not installed; pip install "seqmodels[digits]"'
            ) from error
        found = load_digits()
        part = slice(None, -HELD_OUT) if training else slice(-HELD_OUT, None)
        return torch.from_numpy(found.data[part]).float() / 16, torch.from_numpy(found.target[part]).long()
    rows = from_hub("ylecun/mnist", None, built_in="sequential-digits")["train" if training else "test"]
    found = rows.with_format("numpy")[:]
    return torch.from_numpy(found["image"]).float().flatten(1) / 255, torch.from_numpy(found["label"]).long()


Examples = tuple[Tensor, Tensor]
"""Inputs (B, T, D), and targets (B, T): classes, IGNORE where nothing is asked, or numbers, NaN where nothing is."""


@dataclass(frozen=True)
class MemoryTask:
    """A problem as networks see it.

    Attributes:
        about: one line for people.
        inputs: features D at each position.
        outputs: classes, or 0 where the answer is a number.
        make: examples of a length, so many rows, drawn from a generator; the last argument says whether they are to
            learn from, or to be scored by.
        solved: largest error of a network that has learned it: share of wrong answers, or mean squared error.
        trivial: error of the best constant answer.
        length: of every example, where there is one only.
        shortest: length that makes sense.
    """

    about: str
    inputs: int
    outputs: int
    make: Callable[[int, int, Generator, bool], Examples]
    solved: float
    trivial: float
    length: int | None = None
    shortest: int = 10


def temporal_order(length: int, rows: int, generator: Generator, training: bool = True) -> Examples:
    """In which order two symbols came, among distractors (Hochreiter and Schmidhuber 1997, task 6a).

    Each of two positions, drawn from [T/10, 2T/10) and [4T/10, 5T/10), holds one of two symbols; all others one of four
    distractors. The four classes are asked for at the end. Symbols are one-hot: D = 6.
    """
    tokens = torch.randint(2, 6, (rows, length), generator=generator)
    answers = torch.zeros(rows, dtype=torch.int64)
    for low, high in ((1, 2), (4, 5)):
        symbol = torch.randint(2, (rows,), generator=generator)
        tokens[torch.arange(rows), _places(rows, low * length // 10, high * length // 10, generator)] = symbol
        answers = 2 * answers + symbol
    return F.one_hot(tokens, 6).float(), _at_the_end(answers, length)


def adding(length: int, rows: int, generator: Generator, training: bool = True) -> Examples:
    """The sum of two marked numbers (Hochreiter and Schmidhuber 1997, task 4; as in Le, Jaitly and Hinton 2015).

    Features are a number drawn evenly from [0, 1] and a marker, which is 1 at one position of the first half and one of
    the second; the sum is asked for at the end. Always to answer 1 has a mean squared error of 1/6.
    """
    numbers, markers = torch.rand(rows, length, generator=generator), torch.zeros(rows, length)
    for low, high in ((0, length // 2), (length // 2, length)):
        markers[torch.arange(rows), _places(rows, low, high, generator)] = 1.0
    sums = (numbers * markers).sum(1)
    return torch.stack((numbers, markers), -1), _at_the_end(sums, length)


def copying(length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 10) -> Examples:
    """Ten symbols are shown, and asked for after a wait (as in Arjovsky, Shah and Bengio 2016).

    Ten symbols out of eight, `T - 20` blanks of which the last is a sign to begin, and ten more; the answer is blank,
    then the ten symbols. D = 10, nine classes. Only the ten are asked for, since blanks are no matter of memory.
    """
    shown = torch.randint(8, (rows, symbols), generator=generator)
    tokens = torch.full((rows, length), 8)
    tokens[:, :symbols] = shown
    tokens[:, length - symbols - 1] = 9
    targets = torch.full((rows, length), IGNORE)
    targets[:, -symbols:] = shown
    return F.one_hot(tokens, 10).float(), targets


def random_permutation(length: int, rows: int, generator: Generator, training: bool = True) -> Examples:
    """The last symbol is the first one, and all between are noise (Hochreiter and Schmidhuber 1997, task 2).

    The first symbol is one of two, the others are drawn from 98. What comes next is asked for at the last position
    only, where it is the first. D = 100, two classes.
    """
    tokens = torch.randint(2, 100, (rows, length), generator=generator)
    tokens[:, 0] = torch.randint(2, (rows,), generator=generator)
    return F.one_hot(tokens, 100).float(), _at_the_end(tokens[:, 0], length)


def sequential_digits(
    length: int, rows: int, generator: Generator, training: bool = True, permuted: bool = False, mnist: bool = False
) -> Examples:
    """A picture of a handwritten digit, point by point (Le, Jaitly and Hinton 2015); which digit is asked at the end.

    Training draws from one part of the pictures, scoring from another; permuted, the points of all pictures come in one
    random order.
    """
    pictures, classes = digits(mnist, training)
    if permuted:
        pictures = pictures[:, torch.randperm(pictures.shape[1], generator=Generator().manual_seed(92916))]
    chosen = torch.randint(len(pictures), (rows,), generator=generator)
    return pictures[chosen].unsqueeze(-1), _at_the_end(classes[chosen], length)


def _places(rows: int, low: int, high: int, generator: Generator) -> Tensor:
    return torch.randint(low, max(high, low + 1), (rows,), generator=generator)


def _at_the_end(answers: Tensor, length: int) -> Tensor:
    """Targets (B, T) of one answer a row."""
    nothing = float("nan") if answers.is_floating_point() else IGNORE
    targets = torch.full((len(answers), length), nothing, dtype=answers.dtype)
    targets[:, -1] = answers
    return targets


_PICTURES = {
    f"{'permuted' if permuted else 'sequential'}-{name}": MemoryTask(
        f"{about}, a point at a time{' in a random order' if permuted else ''}",
        1, 10, partial(sequential_digits, permuted=permuted, mnist=mnist), 0.05, 0.9, points, points,
    )
    for name, about, mnist, points in (
        ("digits", "scikit-learn's small pictures of digits", False, DIGITS),
        ("mnist", "MNIST's pictures of digits", True, 28 * 28),
    )
    for permuted in (False, True)
}  # fmt: skip

TASKS = {
    "temporal-order": MemoryTask("in which order two symbols came", 6, 4, temporal_order, 0.01, 0.75),
    "adding": MemoryTask("the sum of two marked numbers", 2, 0, adding, 0.01, 1 / 6),
    "copying": MemoryTask("ten symbols, after a wait", 10, 9, copying, 0.01, 7 / 8, shortest=30),
    "random-permutation": MemoryTask("the first of many symbols", 100, 2, random_permutation, 0.01, 0.5),
    **_PICTURES,
}
"""All of them by name."""


def memory_task(name: str, length: int) -> MemoryTask:
    """One of `TASKS`, where it can be that long.

    Raises:
        InputError: there is none of the name, or its examples have another length.
    """
    if name not in TASKS:
        raise InputError(f"the memory task {name!r} is not known; choose one of {', '.join(TASKS)}")
    task = TASKS[name]
    if task.length not in (None, length):
        raise InputError(f"length={length} was given with {name}, whose examples have {task.length} positions")
    if length < task.shortest:
        raise InputError(f"length={length} was given with {name}; expected at least {task.shortest}")
    return task
