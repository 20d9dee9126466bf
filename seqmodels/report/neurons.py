"""The section of single units that can be read."""

from collections.abc import Sequence

import torch

from seqmodels.analysis.activations import Activations, untrained
from seqmodels.analysis.character_labels import Labels, labels, labels_of
from seqmodels.analysis.coloured_text import coloured_html, passage
from seqmodels.analysis.unit_probes import Neuron, halves, rank, typical
from seqmodels.batch import BOS, Batch
from seqmodels.errors import InputError
from seqmodels.report.excerpts import SIZE, Excerpt, documents, excerpts, read, within
from seqmodels.report.section import Section, note, table
from seqmodels.report.setting import NONE
from seqmodels.report.subject import Subject
from seqmodels.tasks import LanguageModel

WORK = 16 << 10
"""Units times excerpts that are read, which bounds the time."""
LEAST, MOST = 16, 128
"""Excerpts that are read, the fewer the more units there are."""
RANKED = 5_000
"""Positions by which units are ranked, from all over the text."""
LEAD = (
    "Single units of the network that follow something a person would name. Each was chosen on one half of the "
    "held-out text and is scored on the other: by AUC where the answer is yes or no (0.5 is chance, 1 perfect), by "
    "R² where it is a number (0 is chance, 1 perfect). A network with random weights says how much of it needs no "
    "learning. Below, text in the colours of the units, from blue for low values to red for high ones; pointing at "
    "a letter shows its value."
)
MEANINGS = {
    "quotation": "inside a string or quotation", "comment": "inside a comment",
    "comment-or-string": "inside a comment or string", "brackets": "depth of brackets",
    "indentation": "depth of indentation", "position": "position in the line", "boundary": "at the border of a word",
}  # fmt: skip


def neurons(subject: Subject) -> Section:
    """The unit that best predicts each label, and text coloured by it.

    Raises:
        InputError: there is no language model, or no text.
    """
    model = subject.language_model
    units = _units(model)
    texts = documents(subject)
    known = labels(texts, labels_of(texts))
    chosen = excerpts(texts, max(LEAST, min(MOST, WORK // units)))
    found = read(model, texts, chosen)
    ranked = _thinned(found)
    ranking = {name: best for name, best in rank(ranked, known).items() if best}
    if not ranking:
        raise InputError("what a person would name is the same everywhere in the held-out text, so nothing follows it")
    fresh = rank(_thinned(read(untrained(model), texts, chosen, most=4 * RANKED * units)), known)
    rows = [
        [MEANINGS.get(name, name), best.unit, best.measure, f"{best.score:.3f}", _score(fresh[name])]
        for name, (best, *_) in ranking.items()
    ]
    head = ("what it follows", "unit", "measure", "score", "untrained network")
    body = table(head, rows, numeric=True)
    scored = _unseen(chosen, ranked)
    body += "".join(_coloured(name, best[0], texts, scored, found, known[name]) for name, best in ranking.items())
    read_of = f"{len(chosen)} excerpts of {len({piece.document for piece in chosen})} held-out documents"
    body += note(f"Found among {units:,} units by {len(ranked.values):,} tokens of {len(found.values):,} in {read_of}.")
    return Section("neurons", "Neurons", LEAD, body)


def _units(model: LanguageModel) -> int:
    """How many there are."""
    with torch.inference_mode():
        inputs = torch.tensor([[BOS]])
        _, _, trace = model.traced(Batch(inputs, inputs))
    return sum(values.shape[-1] for values in trace.units.values())


def _thinned(found: Activations) -> Activations:
    """Every second or third position and so on, since sorting all takes long."""
    step = max(1, len(found.values) // RANKED)
    return Activations(found.units, found.values[::step], found.texts[::step], found.characters[::step])


def _unseen(chosen: Sequence[Excerpt], ranked: Activations) -> list[Excerpt]:
    """Excerpts, or parts of them, of the half on which no unit was chosen."""
    chosen_by, found = halves(ranked.texts), []
    for piece in chosen:
        here = within(ranked, piece)
        unseen = ranked.characters[here & ~chosen_by]
        if len(unseen):
            both = bool((here & chosen_by).any())  # where a text of its own was cut in its middle
            found.append(piece._replace(first=int(unseen.min())) if both else piece)
    return found


def _coloured(
    name: str, best: Neuron, texts: Sequence[str], scored: Sequence[Excerpt], found: Activations, label: Labels
) -> str:
    """Some lines of the half on which the unit was not chosen, in its colours."""
    shown = Labels([label.values[piece.document][piece.first : piece.behind] for piece in scored], label.binary)
    cut = [texts[piece.document][piece.first : piece.behind] for piece in scored]
    number, first, behind = typical(shown, dict.fromkeys(range(len(scored)), 0), cut, SIZE)
    piece = scored[number]
    here = within(found, piece._replace(first=piece.first + first, behind=piece.first + behind))
    values = found.unit(best.unit)
    if not here.any():
        return ""
    places = (found.characters[here] - piece.first - first).tolist()
    title = f"{best.unit}, {MEANINGS.get(name, name)}"
    return coloured_html(passage(title, cut[number][first:behind], places, values[here], values))


def _score(units: Sequence[Neuron]) -> str:
    return f"{units[0].score:.3f}" if units else NONE
