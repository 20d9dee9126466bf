"""Long-memory problems, whose answer depends on inputs that were seen long ago; examples are generated on demand."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from seqmodels.batch import IGNORE
from seqmodels.data.hub_tables import from_hub
from seqmodels.errors import InputError
from seqmodels.experiments import recall
from seqmodels.experiments.state_tracking import (
    MODULUS,
    SYMBOLS,
    at_the_end,
    modular_arithmetic,
    nested_arithmetic,
    parity,
    word_problem,
)

TEST_DIGITS = 297
"""The last of scikit-learn's 1,797 pictures of digits are the test set."""


@functools.lru_cache(maxsize=4)
def digits(mnist: bool, training: bool) -> tuple[Tensor, Tensor]:
    """Pixels between 0 and 1, (N, pixels), and the digit of each picture, int64 (N,).

    Args:
        mnist: MNIST, from the hub, rather than scikit-learn's pictures of eight by eight pixels.
        training: the training set rather than the test set.

    Raises:
        InputError: scikit-learn is not installed, or the hub cannot be reached.
    """
    if not mnist:
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise InputError(
                'these digits come with scikit-learn, which is not installed; pip install "seqmodels-lightning[digits]"'
            ) from error
        found = load_digits()
        part = slice(None, -TEST_DIGITS) if training else slice(-TEST_DIGITS, None)
        return torch.from_numpy(found.data[part]).float() / 16, torch.from_numpy(found.target[part]).long()
    rows = from_hub("ylecun/mnist", None, None, built_in="sequential-digits")["train" if training else "test"]
    found = rows.with_format("numpy")[:]
    return torch.from_numpy(found["image"]).float().flatten(1) / 255, torch.from_numpy(found["label"]).long()


Examples = tuple[Tensor, Tensor]
"""Inputs (B, T, D), or ids of symbols (B, T); targets (B, T): classes, with IGNORE for none, or numbers, with NaN."""


@dataclass(frozen=True)
class MemoryTask:
    """A long-memory problem."""

    about: str
    """Description in one line."""
    inputs: int
    """Features D at each position, or the number of symbols."""
    outputs: int
    """Number of classes, or 0 for a number."""
    make: Callable[[int, int, Generator, bool], Examples]
    """Draws examples, given length, rows, generator, and whether they are for training."""
    solved: float
    """Error below which it counts as solved: fraction of wrong answers, or mean squared error."""
    trivial: float
    """Error of the best constant answer."""
    length: int | None = None
    """Length of all examples; None if it can be chosen."""
    shortest: int = 10
    """Minimum length."""
    symbols: bool = False
    """Inputs are ids of symbols, to be embedded."""
    multiple: int = 1
    """Lengths are multiples of this."""
    from_last: bool = False
    """All answers are given from the output at the last position."""


TWO, THREE = ((10, 20), (50, 60)), ((10, 20), (33, 43), (66, 76))
"""Where the symbols of temporal order are, in hundredths of T: tasks 6a and 6b of Hochreiter and Schmidhuber (1997)."""


def temporal_order(
    length: int, rows: int, generator: Generator, training: bool = True, places: tuple[tuple[int, int], ...] = TWO
) -> Examples:
    """The order of two or three symbols among distractors (Hochreiter and Schmidhuber 1997, tasks 6a and 6b).

    The positions, drawn from [T/10, T/5) and [T/2, 3T/5), or from [T/10, T/5), [33T/100, 43T/100) and [66T/100,
    76T/100), hold one of two symbols, all others one of four distractors. The target at the end is one of four or eight
    classes. Symbols are one-hot: D = 6.
    """
    tokens = torch.randint(2, 6, (rows, length), generator=generator)
    answers = torch.zeros(rows, dtype=torch.int64)
    for low, high in places:
        symbol = torch.randint(2, (rows,), generator=generator)
        tokens[torch.arange(rows), _places(rows, low * length // 100, high * length // 100, generator)] = symbol
        answers = 2 * answers + symbol
    return F.one_hot(tokens, 6).float(), at_the_end(answers, length)


def adding(length: int, rows: int, generator: Generator, training: bool = True, product: bool = False) -> Examples:
    """The sum of two marked numbers, or their product (Hochreiter and Schmidhuber 1997, tasks 4 and 5).

    Features are a number drawn uniformly from [0, 1] and a marker, which is 1 at one position of each half (as in Le,
    Jaitly and Hinton 2015); the target at the end is the sum or the product. The best constant answers, 1 and 1/4, have
    mean squared errors of 1/6 and 7/144.
    """
    numbers, markers = torch.rand(rows, length, generator=generator), torch.zeros(rows, length)
    for low, high in ((0, length // 2), (length // 2, length)):
        markers[torch.arange(rows), _places(rows, low, high, generator)] = 1.0
    marked = numbers[markers > 0].view(rows, 2)
    return torch.stack((numbers, markers), -1), at_the_end(marked.prod(1) if product else marked.sum(1), length)


def copying(length: int, rows: int, generator: Generator, training: bool = True, symbols: int = 10) -> Examples:
    """Copying ten symbols after a delay (as in Arjovsky, Shah and Bengio 2016).

    The inputs are ten of eight symbols, `T - 20` blanks, the last of which is a start signal, and ten blanks, whose
    targets are the ten symbols. D = 10, nine classes. Blanks have no target, since they need no memory.
    """
    shown = torch.randint(8, (rows, symbols), generator=generator)
    tokens = torch.full((rows, length), 8)
    tokens[:, :symbols] = shown
    tokens[:, length - symbols - 1] = 9
    targets = torch.full((rows, length), IGNORE)
    targets[:, -symbols:] = shown
    return F.one_hot(tokens, 10).float(), targets


def random_permutation(length: int, rows: int, generator: Generator, training: bool = True) -> Examples:
    """The first symbol, after a long random sequence (Martens and Sutskever 2011; Pascanu et al. 2013).

    The first symbol is one of two, the others are drawn from 98; the target at the end is the first. D = 100, and all
    100 symbols are classes. After task 2 of Hochreiter and Schmidhuber (1997).
    """
    tokens = torch.randint(2, 100, (rows, length), generator=generator)
    tokens[:, 0] = torch.randint(2, (rows,), generator=generator)
    return F.one_hot(tokens, 100).float(), at_the_end(tokens[:, 0], length)


def sequential_digits(
    length: int, rows: int, generator: Generator, training: bool = True, permuted: bool = False, mnist: bool = False
) -> Examples:
    """The class of a handwritten digit, read pixel by pixel (Le, Jaitly and Hinton 2015).

    Permuted, the pixels of all pictures are in the same random order.
    """
    pictures, classes = digits(mnist, training)
    if permuted:
        pictures = pictures[:, torch.randperm(pictures.shape[1], generator=Generator().manual_seed(92916))]
    chosen = torch.randint(len(pictures), (rows,), generator=generator)
    return pictures[chosen].unsqueeze(-1), at_the_end(classes[chosen], length)


def _places(rows: int, low: int, high: int, generator: Generator) -> Tensor:
    return torch.randint(low, max(high, low + 1), (rows,), generator=generator)


_PICTURES = {
    f"{'permuted' if permuted else 'sequential'}-{name}": MemoryTask(
        f"{about}, pixel by pixel{' in a random order' if permuted else ''}",
        1, 10, partial(sequential_digits, permuted=permuted, mnist=mnist), 0.05, 0.9, pixels, pixels,
    )
    for name, about, mnist, pixels in (
        ("digits", "scikit-learn's small pictures of digits", False, 8 * 8),
        ("mnist", "MNIST's pictures of digits", True, 28 * 28),
    )
    for permuted in (False, True)
}  # fmt: skip

_GROUPS = {
    f"words-{name.lower()}{'-swaps' if swaps else ''}": MemoryTask(
        f"the product of {'swaps' if swaps else 'elements'} of the group {name}", size, size,
        partial(word_problem, name=name, swaps=swaps), 0.01, 1 - 1 / size, None, 1, True,
    )
    for name, size, swaps in (("S3", 6, False), ("A5", 60, False), ("S5", 120, False), ("S5", 120, True))
}  # fmt: skip

_RECALL: dict[str, tuple[Callable[[int, int, Generator, bool], Examples], int, str, int, int]] = {
    "mqar": (recall.multi_query_recall, 8192, "values of keys that were shown once", 16, 16),
    "mad-compression": (recall.compression, 16, "all symbols, from the last output", 4, 1),
    "mad-fuzzy-recall": (recall.fuzzy_recall, 16, "values of several symbols by keys of several", 16, 1),
    "mad-recall": (recall.in_context_recall, 16, "values of keys that were shown before", 8, 2),
    "mad-memorization": (recall.memorization, 256, "values of keys, the same in all examples", 4, 2),
    "mad-noisy-recall": (
        partial(recall.in_context_recall, symbols=32, noise=16, share=0.2), 32, "values of keys among noise", 8, 2,
    ),
    "mad-selective-copying": (recall.selective_copying, 16, "sixteen symbols among blanks", 40, 1),
}  # fmt: skip

TASKS = {
    "temporal-order": MemoryTask("the order of two symbols", 6, 4, temporal_order, 0.01, 0.75),
    "temporal-order-3bit": MemoryTask(
        "the order of three symbols", 6, 8, partial(temporal_order, places=THREE), 0.01, 7 / 8
    ),
    "adding": MemoryTask("the sum of two marked numbers", 2, 0, adding, 0.01, 1 / 6),
    "multiplication": MemoryTask(
        "the product of two marked numbers", 2, 0, partial(adding, product=True), 0.003, 7 / 144
    ),
    "copying": MemoryTask("ten symbols, after a delay", 10, 9, copying, 0.01, 7 / 8, shortest=30),
    "random-permutation": MemoryTask("the first of many symbols", 100, 100, random_permutation, 0.01, 0.5),
    **_PICTURES,
    "parity": MemoryTask("whether the number of ones is odd", 2, 2, parity, 0.01, 0.5, None, 1, True),
    "modular-arithmetic": MemoryTask(
        "the value of an expression without brackets", len(SYMBOLS), MODULUS, modular_arithmetic, 0.01, 0.8, None, 4,
        True, 2,
    ),
    "nested-arithmetic": MemoryTask(
        "the value of an expression with brackets", len(SYMBOLS), MODULUS, nested_arithmetic, 0.01, 0.8, None, 2, True,
    ),
    **_GROUPS,
    **{
        name: MemoryTask(
            about, symbols, symbols, make, 0.01, 1 - 1 / symbols, None, shortest, True, multiple,
            name == "mad-compression",
        )
        for name, (make, symbols, about, shortest, multiple) in _RECALL.items()
    },
}  # fmt: skip
"""All long-memory problems by name."""


def memory_task(name: str, length: int) -> MemoryTask:
    """One of `TASKS`, checked for a length.

    Raises:
        InputError: the name is not known, or its examples cannot have this length.
    """
    if name not in TASKS:
        raise InputError(f"the memory task {name!r} is not known; choose one of {', '.join(TASKS)}")
    task = TASKS[name]
    if task.length not in (None, length):
        raise InputError(f"length={length} was given with {name}, whose examples have {task.length} positions")
    if length < task.shortest:
        raise InputError(f"length={length} was given with {name}; expected at least {task.shortest}")
    if length % task.multiple:
        raise InputError(f"length={length} was given with {name}; expected a multiple of {task.multiple}")
    return task
