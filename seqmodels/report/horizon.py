"""The section of how far back gradients reach."""

from collections.abc import Sequence

from seqmodels.diagnostics.horizon import SHARE, gradient_norms, has_states
from seqmodels.diagnostics.horizon_curves import Curve, draw_horizon, draw_horizons, read_horizon, thinned
from seqmodels.errors import InputError
from seqmodels.report.figures import inline
from seqmodels.report.names import in_words
from seqmodels.report.section import Section, note, table
from seqmodels.report.subject import Subject

ROWS, POSITIONS, PASSES = 8, 128, 8
"""Of the held-out text that is read, and how many targets of each row are looked at."""
LEAD = (
    "How much the prediction at one place depends on what was read k places before it: the norm of the gradient of the "
    "loss with respect to the input there, relative to that at distance 0. Where it falls along a straight line, each "
    "step back shrinks it by the same factor, and what lies beyond the horizon cannot be learned from."
)


def measured(subject: Subject, states: bool) -> dict[str, Curve]:
    """Norms of gradients by distance on held-out text.

    Args:
        subject: the run.
        states: of the states of a recurrent network, too, which takes longer than those of the inputs alone.

    Raises:
        InputError: there is no model or no text, or it has no gradient.
    """
    task = subject.task
    batch = subject.batch(ROWS, POSITIONS)
    norms = gradient_norms(task, batch, passes=PASSES, states=states and has_states(task))
    return {kind: thinned(found) for kind, found in norms.items()}


def horizon(subject: Subject) -> Section:
    """The gradient horizon of the trained model, and how it became so.

    Raises:
        InputError: see `measured`.
    """
    curves = measured(subject, states=True)
    named = {in_words(kind): curve for kind, curve in curves.items() if float(curve.norms[0]) > 0}
    if not named:
        raise InputError("the gradient at distance 0 is zero, so there is nothing to compare the others with")
    reach = {name: reached(curve) for name, curve in named.items()}
    spoken = "; ".join(f"{name} {said}" for name, said in reach.items())
    body = inline(
        draw_horizons(named), f"Norm of the gradient by distance; it falls below one per cent: {spoken}", "horizon-now"
    )
    body += table(("gradient by", f"below {SHARE:.0%} from"), list(reach.items()))
    body += note(f"Measured on {ROWS} rows of held-out text, without dropout and from an empty state.")
    if (path := subject.folder / "gradient_horizon.csv").exists():
        steps = read_horizon(path)
        if len(steps) > 1:
            label = f"The same at {len(steps)} steps of the training, on training text"
            body += f"<h3>While it learned</h3>{inline(draw_horizon(steps), label, 'horizon-then')}"
    return Section("horizon", "Gradient horizon", LEAD, body)


def reached(curve: Curve) -> str:
    """The horizon in words."""
    above = (curve.norms >= SHARE * curve.norms[0]).nonzero()
    last = int(above[-1]) if len(above) else 0
    if last + 1 == len(curve.distances):
        return f"beyond {int(curve.distances[-1])} tokens"
    return f"{int(curve.distances[last + 1])} tokens back"


def compared(subjects: Sequence[Subject]) -> Section:
    """The horizons of several models in one figure.

    Raises:
        InputError: none could be measured.
    """
    curves, missing = dict[str, Curve](), dict[str, str]()
    for subject in subjects:
        try:
            curve = measured(subject, states=False)["x"]
            if not float(curve.norms[0]) > 0:
                raise InputError("the gradient at distance 0 is zero")
            curves[subject.name] = curve
        except InputError as error:
            missing[subject.name] = str(error)
    if not curves:
        raise InputError("; ".join(f"{name}: {why}" for name, why in missing.items()))
    spoken = {name: reached(curve) for name, curve in curves.items()}
    label = "Norm of the gradient by distance: " + "; ".join(f"{name} {said}" for name, said in spoken.items())
    body = inline(draw_horizons(curves), label, "compared-horizon")
    body += table(("run", f"below {SHARE:.0%} from"), list(spoken.items()))
    body += "".join(note(f"{name} is missing: {why}") for name, why in missing.items())
    return Section("horizon", "Gradient horizon", LEAD, body)
