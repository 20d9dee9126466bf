"""Problems of tracking a state: parity, modular arithmetic, and word problems in groups of permutations.

Inputs are ids of symbols, (B, T). After Delétang et al. (2023), Beck et al. (2024), Merrill, Petty and Sabharwal (2024)
and Grazzi et al. (2025). Where a value is defined at every position, training asks for it there, which takes far fewer
examples than an answer at the end alone; tests ask at the end.
"""

import functools
import itertools
import random

import torch
from torch import Generator, Tensor

from seqmodels.batch import IGNORE

SYMBOLS = "01234+-*=()"
"""The symbols of modular arithmetic, by id."""
MODULUS = 5
_PLUS, _MINUS, _TIMES, _EQUALS, _OPEN, _CLOSE = range(MODULUS, len(SYMBOLS))


def at_the_end(answers: Tensor, length: int) -> Tensor:
    """Targets (B, T) with one answer per row, at its last position; NaN elsewhere if it is a number, or IGNORE."""
    nothing = float("nan") if answers.is_floating_point() else IGNORE
    targets = torch.full((len(answers), length), nothing, dtype=answers.dtype)
    targets[:, -1] = answers
    return targets


def parity(length: int, rows: int, generator: Generator, training: bool = True) -> tuple[Tensor, Tensor]:
    """Whether the number of ones so far is odd; asked everywhere in training, and at the end in tests."""
    bits = torch.randint(2, (rows, length), generator=generator)
    return bits, bits.cumsum(1) % 2 if training else at_the_end(bits.sum(1) % 2, length)


def modular_arithmetic(length: int, rows: int, generator: Generator, training: bool = True) -> tuple[Tensor, Tensor]:
    """The value modulo 5 of digits joined by plus, minus and times, products first; asked at the equals sign.

    T is even: T / 2 digits, and an operator or the equals sign behind each. In training the value of what was read is
    asked for at every digit too.
    """
    digits = torch.randint(MODULUS, (rows, length // 2), generator=generator)
    operators = torch.randint(_PLUS, _TIMES + 1, (rows, length // 2), generator=generator)
    operators[:, -1] = _EQUALS
    total, term = torch.zeros(rows, dtype=torch.int64), digits[:, 0]
    values = [term]
    for digit, operator in zip(digits[:, 1:].T, operators[:, :-1].T, strict=True):
        times = operator == _TIMES
        total = torch.where(times, total, total + term) % MODULUS
        term = torch.where(times, term * digit, torch.where(operator == _PLUS, digit, -digit)) % MODULUS
        values.append((total + term) % MODULUS)
    targets = at_the_end(values[-1], length)
    if training:
        targets[:, ::2] = torch.stack(values, 1)
    return torch.stack((digits, operators), 2).flatten(1), targets


def nested_arithmetic(length: int, rows: int, generator: Generator, training: bool = True) -> tuple[Tensor, Tensor]:
    """The value modulo 5 of an expression in which every operation has brackets; asked at the equals sign.

    An expression is a digit, `-d`, `(d)`, `(-d)`, or `(a+b)`, `(a-b)`, `(a*b)` of two expressions, whose lengths are
    drawn uniformly.
    """
    draw = random.Random(int(torch.randint(1 << 62, (), generator=generator)))
    made = [_expression(length - 1, draw) for _ in range(rows)]
    tokens = torch.tensor([[*symbols, _EQUALS] for symbols, _ in made])
    return tokens, at_the_end(torch.tensor([value for _, value in made]), length)


def _expression(length: int, draw: random.Random) -> tuple[list[int], int]:
    """The symbols of an expression, and its value."""
    if length < 5:
        digit = int(draw.random() * MODULUS)
        symbols = [_MINUS, digit] if length % 2 == 0 else [digit]
        value = -digit % MODULUS if length % 2 == 0 else digit
        return ([_OPEN, *symbols, _CLOSE] if length > 2 else symbols), value
    first = 1 + int(draw.random() * (length - 4))
    left, a = _expression(first, draw)
    right, b = _expression(length - 3 - first, draw)
    operator = _PLUS + int(draw.random() * 3)
    value = (a + b, a - b, a * b)[operator - _PLUS] % MODULUS
    return [_OPEN, *left, operator, *right, _CLOSE], value


@functools.cache
def group(name: str) -> tuple[tuple[tuple[int, ...], ...], Tensor]:
    """The elements of a group of permutations, and its table, (N, N): entry (a, b) is a, then b.

    An element maps place p to the number that stands at p. The identity is element 0.

    Args:
        name: S3, S4, S5, ..., all permutations of so many things, or A4, A5, ..., the even ones.
    """
    elements = tuple(itertools.permutations(range(int(name[1:]))))
    if name[0] == "A":
        elements = tuple(element for element in elements if _swaps(element) % 2 == 0)
    number = {element: index for index, element in enumerate(elements)}
    table = [[number[tuple(b[place] for place in a)] for b in elements] for a in elements]
    return elements, torch.tensor(table)


def _swaps(element: tuple[int, ...]) -> int:
    """The number of pairs in the wrong order."""
    return sum(a > b for a, b in itertools.combinations(element, 2))


def word_problem(
    length: int, rows: int, generator: Generator, training: bool = True, name: str = "S3", swaps: bool = False
) -> tuple[Tensor, Tensor]:
    """The product of the elements of a group so far; asked everywhere in training, and at the end in tests.

    Args:
        length: elements T.
        rows: examples B.
        generator: of the elements.
        training: ask at every position.
        name: see `group`.
        swaps: draw the identity and swaps of two things only, rather than all elements.
    """
    elements, table = group(name)
    drawn = torch.arange(len(elements))
    if swaps:
        moved = [sum(place != thing for place, thing in enumerate(element)) for element in elements]
        drawn = torch.tensor([index for index, count in enumerate(moved) if count <= 2])
    tokens = drawn[torch.randint(len(drawn), (rows, length), generator=generator)]
    products = tokens.clone()
    for position in range(1, length):
        products[:, position] = table[products[:, position - 1], tokens[:, position]]
    return tokens, products if training else at_the_end(products[:, -1], length)
