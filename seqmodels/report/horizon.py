"""The section of how far back gradients reach."""

from collections.abc import Sequence

from torch import Tensor

from seqmodels.analysis.gradient_horizon import (
    SHARE,
    draw_horizon,
    draw_horizons,
    gradient_norms,
    has_states,
    read_horizon,
    thinned,
)
from seqmodels.errors import InputError
from seqmodels.report.figures import inline
from seqmodels.report.names import in_words
from seqmodels.report.section import Section, note, table
from seqmodels.report.subject import Subject

ROWS, POSITIONS, PASSES = 8, 128, 8
"""Of the held-out text that is read, and how many targets of each row are looked at."""
LEAD = (
    "How much the prediction at one place depends on what was read k places before it: the norm of the gradient of the "
    "loss with respect to the input there, relative to that at distance 0 (of a translator's source: to that of its "
    "last token). Where it falls along a straight line, each step back shrinks it by the same factor, and what lies "
    "far beyond the horizon is hardly learned from."
)


def measured(subject: Subject, states: bool) -> dict[str, Tensor]:
    """Norms of gradients by distance on held-out text.

    Args:
        subject: the run.
        states: of the states of a recurrent network, too, which takes longer than those of the inputs alone.

    Raises:
        InputError: there is no model or no text, or it has no gradient.
    """
    task = subject.task
    batch = subject.batch(ROWS, POSITIONS)
    return gradient_norms(task, batch, passes=PASSES, states=states and has_states(task))


def horizon(subject: Subject) -> Section:
    """The gradient horizon of the trained model, and how it became so.

    Raises:
        InputError: see `measured`.
    """
    found = measured(subject, states=True)
    named = {in_words(kind): norms for kind, norms in found.items() if float(nearest(norms)) > 0}
    if not named:
        raise InputError("the gradient at distance 0 is zero, so there is nothing to compare the others with")
    reach = {name: reached(norms) for name, norms in named.items()}
    spoken = "; ".join(f"{name} {said}" for name, said in reach.items())
    body = inline(
        draw_horizons({name: thinned(norms) for name, norms in named.items()}),
        f"Norm of the gradient by distance; it falls below one per cent: {spoken}",
        "horizon-now",
    )
    body += table(("gradient by", f"below {SHARE:.0%} from"), list(reach.items()))
    body += note(f"Measured on {ROWS} rows of held-out text, without dropout and from an empty state.")
    if (path := subject.folder / "gradient_horizon.csv").exists():
        steps = read_horizon(path)
        if len(steps) > 1:
            label = f"The same at {len(steps)} steps of the training, on training text"
            body += f"<h3>While it learned</h3>{inline(draw_horizon(steps), label, 'horizon-then')}"
    return Section("horizon", "Gradient horizon", LEAD, body)


def nearest(norms: Tensor) -> Tensor:
    """The norm at the smallest distance that there is, 0 but for the source of a translator; zero where none is."""
    found = norms[norms.isfinite()]
    return found[0] if len(found) else norms.new_zeros(())


def reached(norms: Tensor) -> str:
    """The horizon in words."""
    last = int((norms >= SHARE * nearest(norms)).nonzero()[-1])
    farthest = int(norms.isfinite().nonzero()[-1])
    return f"beyond {farthest} tokens" if last == farthest else f"{last + 1} tokens back"


def compared(subjects: Sequence[Subject]) -> Section:
    """The horizons of several models in one figure.

    Raises:
        InputError: none could be measured.
    """
    found, missing = dict[str, Tensor](), dict[str, str]()
    for subject in subjects:
        try:
            norms = measured(subject, states=False)["x"]
            if not float(nearest(norms)) > 0:
                raise InputError("the gradient at distance 0 is zero")
            found[subject.name] = norms
        except InputError as error:
            missing[subject.name] = str(error)
    if not found:
        raise InputError("; ".join(f"{name}: {why}" for name, why in missing.items()))
    spoken = {name: reached(norms) for name, norms in found.items()}
    label = "Norm of the gradient by distance: " + "; ".join(f"{name} {said}" for name, said in spoken.items())
    drawing = draw_horizons({name: thinned(norms) for name, norms in found.items()})
    body = inline(drawing, label, "compared-horizon")
    body += table(("run", f"below {SHARE:.0%} from"), list(spoken.items()))
    body += "".join(note(f"{name} is missing: {why}") for name, why in missing.items())
    return Section("horizon", "Gradient horizon", LEAD, body)
