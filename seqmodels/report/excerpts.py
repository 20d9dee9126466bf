"""Pieces from all over the held-out text: labels are those of whole documents, of which the network reads a part."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.analysis.activations import Activations, activations
from seqmodels.data import TextDataModule
from seqmodels.errors import InputError
from seqmodels.report.samples import some
from seqmodels.report.subject import Subject
from seqmodels.tasks import LanguageModel

LABELLED, LONGEST = 160_000, 60_000
"""Characters of all documents together, about, and of each at most."""
KNOWN = 20_000
"""Rows of the split from which documents are drawn."""
SIZE = 500
"""Characters of an excerpt: enough whole lines to be looked at, and few, so that there can be many."""
LEAD = 256
"""Characters before an excerpt that are read for the state."""
MOST = 2**26
"""Most activations that are kept: 256 MiB."""


class Excerpt(NamedTuple):
    """Whole lines of a document, where they begin and end in it."""

    document: int
    first: int
    behind: int


def documents(subject: Subject, characters: int = LABELLED) -> list[str]:
    """Held-out documents, drawn from all over the split and always the same, each from its beginning.

    Args:
        subject: the run.
        characters: of all of them together, about; `LONGEST` of each at most.

    Raises:
        InputError: there is no running text.
    """
    if not isinstance(subject.data, TextDataModule):
        raise InputError("this is of running text, and the run was trained on something else")
    rows = subject.data.corpus.rows(subject.part)
    rows = rows.select(range(min(len(rows), KNOWN)))
    starts = [row for row, begins in enumerate(rows["starts"]) if begins or row == 0]
    behind = [*starts[1:], len(rows)]
    found, left = dict[int, str](), characters
    for number in random.Random(0).sample(range(len(starts)), len(starts)):
        text, row = "", starts[number]
        while row < behind[number] and len(text) < LONGEST:
            text += rows[row]["text"]
            row += 1
        found[number] = text[:LONGEST]
        left -= len(found[number])
        if left <= 0:
            break
    return [found[number] for number in sorted(found) if found[number]]


def excerpts(texts: Sequence[str], most: int, size: int = SIZE) -> list[Excerpt]:
    """Pieces from all over some documents, evenly spread.

    Args:
        texts: the documents.
        most: how many pieces, at most.
        size: characters of a piece, at most. It ends with a line where there is the end of one in it.
    """
    pieces = list[Excerpt]()
    for number, text in enumerate(texts):
        first = 0
        while first < len(text):
            behind = min(first + size, len(text))
            if behind < len(text):
                behind = text.rfind("\n", first, behind) + 1 or behind
            pieces.append(Excerpt(number, first, behind))
            first = behind
    return [pieces[place] for place in some(len(pieces), most)]


def read(model: LanguageModel, texts: Sequence[str], chosen: Sequence[Excerpt], most: int = MOST) -> Activations:
    """What units do in excerpts, with the numbers of documents and of characters in them.

    Args:
        model: the model.
        texts: the documents.
        chosen: pieces of them. What is before a piece is read with it, so that its state is nearly what it would be.
        most: how many activations to keep at most; of more, every second, third and so on.

    Raises:
        InputError: there is no text.
    """
    begins = [max(0, piece.first - LEAD) for piece in chosen]
    pieces = [texts[piece.document][begin : piece.behind] for piece, begin in zip(chosen, begins, strict=True)]
    found = activations(model, pieces, most=most)
    numbers, firsts, offsets = (
        torch.tensor(column)[found.texts]
        for column in ([piece.document for piece in chosen], [piece.first for piece in chosen], begins)
    )
    characters = found.characters + offsets
    own = characters >= firsts  # the others were read for the state
    return Activations(found.units, found.values[own], numbers[own], characters[own])


def within(found: Activations, piece: Excerpt) -> Tensor:
    """Which positions are in an excerpt, bool (N,)."""
    return (found.texts == piece.document) & (found.characters >= piece.first) & (found.characters < piece.behind)
