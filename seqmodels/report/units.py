"""The section on interpretable units, which are measured on excerpts of held-out documents."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from markupsafe import Markup

from seqmodels.analysis.activations import Activations, activations, untrained
from seqmodels.analysis.character_labels import Labels, labels, labels_of
from seqmodels.analysis.coloured_text import coloured_html, passage
from seqmodels.analysis.unit_probes import first_characters, halves, rank, typical
from seqmodels.batch import BOS, Batch
from seqmodels.errors import InputError
from seqmodels.report.page import NONE, Section, evenly_spaced, macro
from seqmodels.report.run import Run
from seqmodels.tasks import LanguageModel

DOCUMENTS_SIZE, DOCUMENT_SIZE = 160_000, 60_000
"""Characters of all documents together, and of each at most."""
MAX_ROWS = 20_000
"""Rows of the split from which documents are drawn."""
EXCERPT_SIZE, CONTEXT = 500, 256
"""Characters of an excerpt, and characters before it that are read for its state."""
UNITS_TIMES_EXCERPTS = 16 << 10
"""The more units, the fewer excerpts are read, which bounds the time."""
MIN_EXCERPTS, MAX_EXCERPTS = 16, 128
MAX_PAGE_ACTIVATIONS = 2**26
"""256 MiB."""
RANKED = 5_000
"""Positions that units are ranked by."""
MEANINGS = {
    "quotation": "inside a string or quotation", "comment": "inside a comment",
    "comment-or-string": "inside a comment or string", "brackets": "depth of brackets",
    "indentation": "depth of indentation", "position": "position in the line", "boundary": "at a word boundary",
}  # fmt: skip


class Excerpt(NamedTuple):
    """Whole lines of a document: its number, and its characters from `start` to before `stop`."""

    document: int
    start: int
    stop: int


def units_section(run: Run) -> Section:
    """The unit that best predicts each label, and text coloured by it."""
    model = run.language_model
    units = _count_units(model)
    texts = documents(run)
    chosen = excerpts(texts, max(MIN_EXCERPTS, min(MAX_EXCERPTS, UNITS_TIMES_EXCERPTS // units)))
    shown = [texts[number][start:stop] for number, start, stop in chosen]
    known = {
        name: Labels([label.values[number][start:stop] for number, start, stop in chosen], label.binary)
        for name, label in labels(texts, labels_of(texts)).items()
    }
    found = read_excerpts(model, texts, chosen)
    ranked, owner = _thinned(found), torch.tensor([piece.document for piece in chosen])
    here = halves(owner[ranked.texts])
    ranking = {name: best for name, best in rank(ranked, known, here=here).items() if best}
    if not ranking:
        raise InputError("every label is constant in the held-out text, so no unit can follow it")
    fresh = _thinned(read_excerpts(untrained(model), texts, chosen, most=4 * RANKED * units))
    at_chance = rank(fresh, known, here=halves(owner[fresh.texts]))
    begins = first_characters(ranked, ~here)
    rows, coloured = [], Markup()
    for name, (best, *_) in ranking.items():
        scores = [f"{units[0].score:.3f}" if units else NONE for units in (ranking[name], at_chance[name])]
        rows.append([MEANINGS.get(name, name), best.unit, best.measure, *scores])
        number, first, behind = typical(known[name], begins, shown, EXCERPT_SIZE)
        inside = (found.texts == number) & (found.characters >= first) & (found.characters < behind)
        values, places = found.unit(best.unit), (found.characters[inside] - first).tolist()
        title = f"{best.unit}, {MEANINGS.get(name, name)}"
        coloured += Markup(coloured_html(passage(title, shown[number][first:behind], places, values[inside], values)))
    body = macro("table", ("label", "unit", "measure", "score", "untrained network"), rows, numeric=True) + coloured
    source = f"{len(chosen)} excerpts of {len({piece.document for piece in chosen})} held-out documents"
    remark = f"Found among {units:,} units by {len(ranked.values):,} of {len(found.values):,} tokens in {source}."
    lead = (
        "Single units that follow a property of the text. Each was chosen on one half of the held-out text and scored "
        "on the other: by AUC for a yes-or-no label (0.5 is chance, 1 perfect), by R² for a number (0 is chance, 1 "
        "perfect). An untrained network shows how much of the score needs no learning. Below, text coloured by the "
        "units, from blue for low values to red for high ones; point at a letter for its value."
    )
    return Section(lead, body + macro("note", remark))


def documents(run: Run, characters: int = DOCUMENTS_SIZE) -> list[str]:
    """Held-out documents from all over the split, always the same, each from its beginning.

    They have about so many characters in all, and at most `DOCUMENT_SIZE` each. An `InputError` for pairs of sentences.
    """
    rows = run.text.corpus.rows(run.split)
    rows = rows.select(range(min(len(rows), MAX_ROWS)))
    starts = [row for row, begins in enumerate(rows["starts"]) if begins or row == 0]
    stops = [*starts[1:], len(rows)]
    found, left = dict[int, str](), characters
    for number in random.Random(0).sample(range(len(starts)), len(starts)):
        text, row = "", starts[number]
        while row < stops[number] and len(text) < DOCUMENT_SIZE:
            text += rows[row]["text"]
            row += 1
        found[number] = text[:DOCUMENT_SIZE]
        left -= len(found[number])
        if left <= 0:
            break
    return [found[number] for number in sorted(found) if found[number]]


def excerpts(texts: Sequence[str], most: int, size: int = EXCERPT_SIZE) -> list[Excerpt]:
    """At most `most` evenly spaced excerpts of at most `size` characters, which end with a line if one ends in them."""
    pieces = list[Excerpt]()
    for number, text in enumerate(texts):
        start = 0
        while start < len(text):
            stop = min(start + size, len(text))
            if stop < len(text):
                stop = text.rfind("\n", start, stop) + 1 or stop
            pieces.append(Excerpt(number, start, stop))
            start = stop
    return [pieces[place] for place in evenly_spaced(len(pieces), most)]


def read_excerpts(
    model: LanguageModel, texts: Sequence[str], chosen: Sequence[Excerpt], most: int = MAX_PAGE_ACTIVATIONS
) -> Activations:
    """Activations in excerpts of documents, each a text of its own; up to `CONTEXT` characters before it are read, too.

    Of more than `most` activations, every second, third and so on is kept. An `InputError` if there is no text.
    """
    before = torch.tensor([min(piece.start, CONTEXT) for piece in chosen])
    pieces = [
        texts[number][start - more : stop] for (number, start, stop), more in zip(chosen, before.tolist(), strict=True)
    ]
    found = activations(model, pieces, most=most)
    characters = found.characters - before[found.texts]
    inside = characters >= 0
    return Activations(found.units, found.values[inside], found.texts[inside], characters[inside])


def _count_units(model: LanguageModel) -> int:
    with torch.inference_mode():
        inputs = torch.tensor([[BOS]])
        _, _, trace = model.traced(Batch(inputs, inputs))
    return sum(values.shape[-1] for values in trace.units.values())


def _thinned(found: Activations) -> Activations:
    """Every second, third, ... position, since sorting all of them takes long."""
    step = max(1, len(found.values) // RANKED)
    return Activations(found.units, found.values[::step], found.texts[::step], found.characters[::step])
