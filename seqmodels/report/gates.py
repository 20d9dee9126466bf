"""The section of the gates."""

from torch import Tensor

from seqmodels.analysis.gates import Gate, draw_gates
from seqmodels.analysis.gates import gates as measured
from seqmodels.report.figures import inline
from seqmodels.report.names import in_words
from seqmodels.report.section import Section, note, table
from seqmodels.report.setting import NONE
from seqmodels.report.subject import Subject

ROWS, POSITIONS = 8, 256
"""Of the held-out text that is read."""
DRAWN = 9
"""Most gates with panels of their own."""
LEAD = (
    "A gate is a number between 0, shut, and 1, open, for each unit and each token. On the left, how often each value "
    "occurs; in the middle a point for each unit, by the shares of tokens at which it is shut and open; on the right, "
    "for gates that scale the state from step to step, how many units remember for how long."
)


def gates(subject: Subject) -> Section:
    """Values, saturation and memory of all gates on held-out text.

    Raises:
        InputError: the network has none, or there is no text.
    """
    found = measured(subject.language_model, subject.batch(ROWS, POSITIONS))
    drawn = dict(list(found.items())[:DRAWN])
    label = f"Values, saturation and memory of {len(drawn)} gates: " + ", ".join(map(in_words, drawn))
    rows = [
        [
            in_words(name),
            f"{float(gate.mean.mean()):.2f}",
            f"{float(gate.shut.mean()):.0%}",
            f"{float(gate.open.mean()):.0%}",
            _memory(gate),
        ]
        for name, gate in found.items()
    ]
    head = ("gate", "mean", "shut, below 0.1", "open, above 0.9", "memory in steps: median, longest tenth")
    body = inline(draw_gates(drawn), label, "gates") + table(head, rows, numeric=True)
    body += note(
        "Shut and open are shares of all units and tokens. The memory of a unit is the number of steps after which a "
        "value has fallen to 1/e of itself if nothing is added, by the geometric mean of its gate."
    )
    return Section("gates", "Gates", LEAD, body)


def _memory(gate: Gate) -> str:
    if gate.memory is None:
        return NONE
    return f"{_steps(gate.memory, 0.5)}, over {_steps(gate.memory, 0.9)}"


def _steps(memory: Tensor, share: float) -> str:
    steps = float(memory.quantile(share))
    return f"{steps:,.1f}" if steps < 100 else f"{steps:,.0f}" if steps < 1e6 else "a million"
