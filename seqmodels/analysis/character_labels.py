r"""Labels for each character of a text: inside a quotation, depth of brackets, position in the line, and so on.

A label holds after its character has been read, like the state of a network: the inside of a string begins with its
opening quotation mark and ends before its closing one; the position is 0 at "\n" and 1 at the next character. Undefined
values are NaN.
"""

import difflib
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.analysis import python_labels
from seqmodels.errors import InputError

Label = Callable[[str], Sequence[float | bool]]
"""A function from a text to a value for each character: bools (or NaN), or numbers."""


@dataclass(frozen=True)
class Labels:
    """A label of several texts.

    Attributes:
        values: for each text float32 (characters,); a binary label is 0, 1 or NaN.
        binary: whether it is true or false rather than a number.
    """

    values: list[Tensor]
    binary: bool


def labels_of(texts: Sequence[str]) -> dict[str, Label]:
    """The labels of whole documents: `SOURCE` if most of the text is Python source code, otherwise `PROSE`."""
    return SOURCE if python_labels.is_python(texts) else PROSE


def labels(texts: Sequence[str], known: Mapping[str, Label] | None = None) -> dict[str, Labels]:
    """Labels of whole documents, by functions with names; by default those of `labels_of(texts)`.

    Raises:
        InputError: a function does not give a bool or number for each character.
    """
    found = {}
    for name, label in (labels_of(texts) if known is None else known).items():
        rows = [_values(name, label, text) for text in texts]
        binary = all(type(value) is bool or math.isnan(value) for row in rows for value in row)
        found[name] = Labels([torch.tensor(row, dtype=torch.float32) for row in rows], binary)
    return found


def _values(name: str, label: Label, text: str) -> list[float | bool]:
    given = label(text)
    values: list[float | bool] = given.tolist() if hasattr(given, "tolist") else list(given)  # of torch or numpy
    if len(values) != len(text):
        raise InputError(
            f"the label {name!r} gave {len(values):,} values for a text of {len(text):,} characters; expected one each"
        )
    for kind in set(map(type, values)):
        if not issubclass(kind, bool | int | float):
            raise InputError(f"the label {name!r} gave a {kind.__name__}; expected bools, or numbers")
    return values


def chosen(names: Sequence[str], known: Mapping[str, Label]) -> dict[str, Label]:
    """Labels by their names; an `InputError` if one is not known."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise InputError(f"the label {name!r} is not known for this text; {hint}")
    return {name: known[name] for name in names}


def position(text: str) -> list[float]:
    """Characters of the line that have been read."""
    found, place = list[float](), 0
    for letter in text:
        place = 0 if letter == "\n" else place + 1
        found.append(float(place))
    return found


def boundary(text: str) -> list[bool]:
    r"""Whether a word begins with this character, or ended with the one before: `\b` between the two."""
    places = {match.start() for match in re.finditer(r"\b", text)}
    return [place in places for place in range(len(text))]


def quotation(text: str) -> list[bool]:
    """Inside a quotation: “ and « open, ” and » close, a straight " alternates within a paragraph."""
    found, straight, depth = list[bool](), False, 0
    for before, letter in itertools.pairwise(" " + text):
        if before == letter == "\n":  # a missing mark has no effect beyond its paragraph
            straight, depth = False, 0
        straight ^= letter == '"'
        depth = max(0, depth + TYPOGRAPHIC.get(letter, 0))
        found.append(straight or depth > 0)
    return found


def brackets(text: str) -> list[float]:
    """Open brackets in a paragraph; unmatched closing brackets do not count."""
    found, depth = list[float](), 0
    for before, letter in itertools.pairwise(" " + text):
        depth = 0 if before == letter == "\n" else max(0, depth + (letter in "([{") - (letter in ")]}"))
        found.append(float(depth))
    return found


def indentation(text: str) -> list[float]:
    """Leading white space of the line, in characters; undefined within it."""
    found = list[float]()
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        width = len(line) - len(line.lstrip())
        found += [math.nan] * width + [float(width)] * (len(line) - width)
    return found


TYPOGRAPHIC = {"“": 1, "«": 1, "”": -1, "»": -1}

PROSE: dict[str, Label] = {
    "quotation": quotation,
    "brackets": brackets,
    "indentation": indentation,
    "position": position,
    "boundary": boundary,
}
"""Labels of any text."""

SOURCE: dict[str, Label] = {**python_labels.LABELS, "position": position, "boundary": boundary}
"""Labels of Python source code, by its tokenizer."""
