r"""What a person knows of a text, for each character: whether it is in a string, how deep in brackets, and so on.

A value says what holds once its character has been read, so that it compares with the state of a network that has read
it: the inside of a string begins with its opening quotation mark and ends with its closing one; the position in a line
is 0 at "\n" and 1 at the first character of the next line. Where nothing can be said, the value is NaN.
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
"""A function of a text: one value for each of its characters, bools (or NaN) for yes and no, otherwise numbers."""


@dataclass(frozen=True)
class Labels:
    """One label of several texts.

    Attributes:
        values: for each text float32 (characters,), 0 and 1 for no and yes, NaN where nothing can be said.
        binary: whether it says yes or no rather than how much.
    """

    values: list[Tensor]
    binary: bool


def labels_of(texts: Sequence[str]) -> dict[str, Label]:
    """The labels that there are of some texts: `SOURCE` where most of them is source code of Python, `PROSE` otherwise.

    Args:
        texts: documents, each as a whole.
    """
    return SOURCE if python_labels.is_python(texts) else PROSE


def labels(texts: Sequence[str], known: Mapping[str, Label] | None = None) -> dict[str, Labels]:
    """Some texts with labels.

    Args:
        texts: documents, each as a whole.
        known: functions by name, your own or others; those of `labels_of` where not given.

    Returns:
        Labels by name.

    Raises:
        InputError: a function does not give a bool or number for each character.
    """
    functions = labels_of(texts) if known is None else known
    return {name: labelled(name, label, texts) for name, label in functions.items()}


def labelled(name: str, label: Label, texts: Sequence[str]) -> Labels:
    """One label of some texts.

    Args:
        name: of the label, for errors.
        label: the function.
        texts: documents, each as a whole.

    Raises:
        InputError: the function does not give a bool or number for each character.
    """
    rows = [_values(name, label, text) for text in texts]
    binary = all(set(map(type, row)) == {bool} or all(type(v) is bool or math.isnan(v) for v in row) for row in rows)
    return Labels([torch.tensor(row, dtype=torch.float32) for row in rows], binary)


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
    """Some of the labels.

    Raises:
        InputError: one is not known; the nearest is offered.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise InputError(f"the label {name!r} is not known for this text; {hint}")
    return {name: known[name] for name in names}


def position(text: str) -> list[float]:
    """How many characters of the line have been read."""
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
    """Inside a quotation, by its marks: “ and « open, ” and » close, a straight " in turns within a paragraph."""
    found, straight, depth = list[bool](), False, 0
    for before, letter in itertools.pairwise(" " + text):
        if before == letter == "\n":  # a mark that was forgotten does no harm beyond its paragraph
            straight, depth = False, 0
        straight ^= letter == '"'
        depth = max(0, depth + TYPOGRAPHIC.get(letter, 0))
        found.append(straight or depth > 0)
    return found


def brackets(text: str) -> list[float]:
    """How many brackets are open in a paragraph; those that close what was not opened do not count."""
    found, depth = list[float](), 0
    for before, letter in itertools.pairwise(" " + text):
        depth = 0 if before == letter == "\n" else max(0, depth + (letter in "([{") - (letter in ")]}"))
        found.append(float(depth))
    return found


def indentation(text: str) -> list[float]:
    """White space that the line began with, in characters; not defined within it, and where there is nothing else."""
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
"""Labels of any text, by simple rules."""

SOURCE: dict[str, Label] = {
    "quotation": python_labels.quotation,
    "single-quoted": python_labels.single_quoted,
    "double-quoted": python_labels.double_quoted,
    "triple-quoted": python_labels.triple_quoted,
    "comment": python_labels.comment,
    "comment-or-string": python_labels.comment_or_string,
    "brackets": python_labels.brackets,
    "indentation": python_labels.indentation,
    "position": position,
    "boundary": boundary,
}
"""Labels of source code of Python, by its tokenizer."""
