"""The section of single units that can be read."""

from collections.abc import Sequence

import torch

from seqmodels.batch import BOS, Batch
from seqmodels.data import TextDataModule
from seqmodels.diagnostics.activations import Activations, activations, untrained
from seqmodels.diagnostics.coloured import coloured_html, passage
from seqmodels.diagnostics.labels import Labels, labels, labels_of
from seqmodels.diagnostics.neurons import Neuron, halves, rank
from seqmodels.errors import InputError
from seqmodels.neurons import typical
from seqmodels.report.section import Section, note, table
from seqmodels.report.setting import NONE
from seqmodels.report.subject import Subject
from seqmodels.tasks import LanguageModel

WORK = 20 << 20
"""Units times characters that are compared, which bounds the time."""
LEAST, MOST = 8_000, 40_000
"""Characters of held-out text that are read, the fewer the more units there are."""
LONGEST, DOCUMENTS = 12_000, 400
"""Characters of a document that is read as a whole, and documents that are looked through for such."""
RANKED = 7_000
"""Positions by which units are ranked, from all over the text."""
SPAN, CONTEXT = 768, 256
"""Tokens that are read side by side, and those before them for their state."""
LEAD = (
    "Single units of the network that follow something a person would name. Each was chosen on one half of the "
    "held-out text and is scored on the other: by AUC where the answer is yes or no (0.5 is chance, 1 perfect), by "
    "R² where it is a number (0 is chance, 1 perfect). A network with random weights says how much of it needs no "
    "learning. Below, text in the colours of the units, from blue for low values to red for high ones; pointing at "
    "a letter shows its value."
)
MEANINGS = {
    "quotation": "inside a string or quotation", "comment": "inside a comment", "brackets": "depth of brackets",
    "indentation": "depth of indentation", "position": "position in the line", "boundary": "at the end of a word",
}  # fmt: skip


def neurons(subject: Subject) -> Section:
    """The unit that best predicts each label, and text coloured by it.

    Raises:
        InputError: there is no language model, or no text.
    """
    model = subject.language_model
    units = _units(model)
    texts = documents(subject, max(LEAST, min(MOST, WORK // units)))
    known = labels(texts, labels_of(texts))
    found = _read(model, texts)
    ranking = {name: best for name, best in rank(_thinned(found), known).items() if best}
    if not ranking:
        raise InputError("what a person would name is the same everywhere in the held-out text, so nothing follows it")
    fresh = rank(_thinned(_read(untrained(model), texts)), known)
    rows = [
        [MEANINGS.get(name, name), best.unit, best.measure, f"{best.score:.3f}", _score(fresh[name])]
        for name, (best, *_) in ranking.items()
    ]
    head = ("what it follows", "unit", "measure", "score", "untrained network")
    body = table(head, rows, numeric=True)
    body += "".join(_coloured(name, best[0], texts, found, known[name]) for name, best in ranking.items())
    body += note(f"Found among {units:,} units on {sum(map(len, texts)):,} characters of held-out text.")
    return Section("neurons", "Neurons", LEAD, body)


def documents(subject: Subject, characters: int) -> list[str]:
    """Held-out documents of moderate length; where there are none, the beginning of the text.

    Args:
        subject: the run.
        characters: of all of them together, at most.

    Raises:
        InputError: there is no running text.
    """
    if not isinstance(subject.data, TextDataModule):
        raise InputError("this is of running text, and the run was trained on something else")
    whole, left, text = list[str](), characters, ""
    for number, row in enumerate(subject.data.corpus.rows(subject.part)):
        text = row["text"] if row["starts"] else text + row["text"][:LONGEST]
        if row["ends"] and 0 < len(text) <= min(LONGEST, left):
            whole.append(text)
            left -= len(text)
        if left < characters / 10 or number > DOCUMENTS:
            break
    return whole if len(whole) > 1 else [subject.held_out(characters)]


def _units(model: LanguageModel) -> int:
    """How many there are."""
    with torch.inference_mode():
        inputs = torch.tensor([[BOS]])
        _, _, trace = model.traced(Batch(inputs, inputs))
    return sum(values.shape[-1] for values in trace.units.values())


def _read(model: LanguageModel, texts: Sequence[str]) -> Activations:
    return activations(model, texts, span=SPAN, context=CONTEXT)


def _thinned(found: Activations) -> Activations:
    """Every second or third position and so on, since sorting all takes long."""
    step = max(1, len(found.values) // RANKED)
    return Activations(found.units, found.values[::step], found.texts[::step], found.characters[::step])


def _coloured(name: str, best: Neuron, texts: Sequence[str], found: Activations, label: Labels) -> str:
    """Some lines of the half on which the unit was not chosen, in its colours."""
    scored = sorted(set(found.texts[~halves(found.texts)].tolist()))
    number, first, behind = typical(label, scored, texts)
    here = (found.texts == number) & (found.characters >= first) & (found.characters < behind)
    values = found.unit(best.unit)
    title = f"{best.unit}, {MEANINGS.get(name, name)}"
    if not here.any():
        return ""
    places = (found.characters[here] - first).tolist()
    return coloured_html(passage(title, texts[number][first:behind], places, values[here], values))


def _score(units: Sequence[Neuron]) -> str:
    return f"{units[0].score:.3f}" if units else NONE
