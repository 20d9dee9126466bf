"""The sections on gradients, recurrent matrices and gates of the trained model."""

from markupsafe import Markup
from torch import Tensor

from seqmodels.analysis.gates import Gate, draw_gates, gated_trace, of_trace
from seqmodels.analysis.gradient_horizon import (
    FRACTION,
    draw_horizon,
    draw_horizons,
    gradient_norms,
    has_states,
    read_horizon,
    thinned,
)
from seqmodels.analysis.memory_norms import Norms, draw_norms, norms
from seqmodels.analysis.spectra import Spectrum, draw_radii, draw_spectra, read_radii, recurrent_maps, spectrum
from seqmodels.errors import InputError
from seqmodels.report.figures import inline
from seqmodels.report.page import NONE, Section, macro
from seqmodels.report.run import Run

HORIZON_BATCH, TARGETS = (8, 128), 8
"""Rows and positions of the batch for gradients, and the targets of each row."""
GATES_BATCH = (8, 256)
"""Rows and positions of the batch for gates."""
MAX_GATES, MAX_MAPS = 9, 12
"""Most gates and recurrent matrices that are drawn."""
MAX_CUBES = 16 * 512**3
"""Limit for the sum of the cubes of the sizes of matrices, which the time for eigenvalues grows with."""
WORDS = {
    "h": "hidden state", "c": "cell state", "g": "candidate", "n": "candidate", "m": "factors", "i": "input gate",
    "f": "forget gate", "o": "output gate", "r": "reset gate", "z": "update gate", "a": "decay", "x": "embedded inputs",
    "source": "embedded source", "w": "decay", "rate": "rate of learning", "beta": "writing strength", "k": "key",
    "S": "memory",
}  # fmt: skip
"""By the names of traces and recurrent matrices."""
HORIZON = (
    "The norm of the gradient of the loss at a position with respect to the input k positions before, relative to the "
    "norm at k = 0 (for the source of a translator, at its last token). On a straight line, each step back shrinks the "
    "gradient by the same factor; from beyond the horizon the model hardly learns."
)


def in_words(name: str) -> str:
    """`1.f` as "forget gate of layer 1"; a prefix before the layer is kept."""
    layer, dot, part = name.rpartition(".")
    if not dot:
        return WORDS.get(name, f"layer {name}" if name.isdecimal() else name)
    prefix, _, number = layer.rpartition(" ")
    return f"{prefix} {WORDS.get(part, part)} of layer {number}".strip()


def held_out_norms(run: Run, states: bool) -> dict[str, Tensor]:
    """Norms of gradients by distance on held-out text, on request also with respect to recurrent states."""
    norms = gradient_norms(run.task, run.batch(*HORIZON_BATCH), passes=TARGETS, states=states and has_states(run.task))
    norms = {name: of_kind for name, of_kind in norms.items() if float(nearest(of_kind)) > 0}
    if not norms:
        raise InputError("the gradient at distance 0 is zero, so there is nothing to compare the others with")
    return norms


def nearest(norms: Tensor) -> Tensor:
    """The norm at the smallest measured distance, or zero; the source of a translator has no distance 0."""
    measured = norms[norms.isfinite()]
    return measured[0] if len(measured) else norms.new_zeros(())


def reach(norms: Tensor) -> str:
    """The horizon in words."""
    last = int((norms >= FRACTION * nearest(norms)).nonzero()[-1])
    farthest = int(norms.isfinite().nonzero()[-1])
    return f"beyond {farthest} tokens" if last == farthest else f"{last + 1} tokens back"


def horizon_section(run: Run) -> Section:
    """The gradient horizon of the trained model, and how it changed during training."""
    norms = {in_words(kind): of_kind for kind, of_kind in held_out_norms(run, states=True).items()}
    body = horizon_body("gradient with respect to", norms, "horizon-now")
    remark = f"Measured on {HORIZON_BATCH[0]} rows of held-out text, from the initial state, without dropout."
    body += macro("note", remark)
    if (path := run.folder / "gradient_horizon.csv").exists() and len(steps := read_horizon(path)) > 1:
        label = f"The gradient norms at {len(steps)} steps, on training text"
        body += macro("heading", "During training") + inline(draw_horizon(steps), label, "horizon-then")
    return Section(HORIZON, body)


def horizon_body(kind: str, norms: dict[str, Tensor], key: str) -> Markup:
    """A figure and a table of horizons by name, for one run or several."""
    reached = {name: reach(of_name) for name, of_name in norms.items()}
    words = "; ".join(f"{name} {words}" for name, words in reached.items())
    figure = draw_horizons({name: thinned(of_name) for name, of_name in norms.items()})
    label = f"Norm of the gradient by distance; it falls below one per cent: {words}"
    return inline(figure, label, key) + macro("table", (kind, f"below {FRACTION:.0%} from"), list(reached.items()))


def spectra_section(run: Run) -> Section:
    """Eigenvalues of the trained recurrent matrices, and their spectral radii during training."""
    maps = recurrent_maps(run.task)
    if not maps:
        raise InputError(f"{run.task.name} has no recurrent matrix that a state is multiplied by")
    found = _some_spectra(maps)
    radii = "; ".join(f"{in_words(name)} {one.radius:.3g}" for name, one in found.items())
    label = f"Eigenvalues of {len(found)} recurrent matrices in the complex plane; spectral radii: {radii}"
    rows = [[f"{name}, {in_words(name)}", f"{one.radius:.3f}", f"{one.norm:.3f}"] for name, one in found.items()]
    body = inline(draw_spectra(found), label, "spectra-now")
    body += macro("table", ("matrix", "spectral radius", "spectral norm"), rows, numeric=True)
    if len(found) < len(maps):
        body += macro("note", f"{len(found)} of {len(maps)} matrices, since eigenvalues of large ones take long.")
    if (path := run.folder / "spectra.csv").exists():
        over_time = {in_words(name): radii_of_map for name, radii_of_map in read_radii(path).items()}
        if any(len(radii_of_map) > 1 for radii_of_map in over_time.values()):
            label = f"Spectral radii of {len(over_time)} matrices over the steps of the training"
            body += macro("heading", "During training") + inline(draw_radii(over_time), label, "spectra-then")
    lead = (
        "The eigenvalues of the matrices that multiply the hidden state at every step. Components inside the dotted "
        "unit circle shrink from step to step, those outside grow; the spectral radius is the largest absolute value. "
        "Gates and nonlinearities change this picture."
    )
    return Section(lead, body)


def _some_spectra(maps: dict[str, Tensor]) -> dict[str, Spectrum]:
    """The spectra of at least one matrix, and of more within the limits."""
    found, cubes = dict[str, Spectrum](), 0
    for name, matrix in maps.items():
        cubes += len(matrix) ** 3
        if found and (cubes > MAX_CUBES or len(found) == MAX_MAPS):
            break
        found[name] = spectrum(matrix)
    return found


def gates_section(run: Run) -> Section:
    """Values, saturation and memory of all gates on held-out text."""
    batch = run.batch(*GATES_BATCH)
    trace = gated_trace(run.language_model, batch)
    found = of_trace(trace, batch.mask)
    drawn = dict(list(found.items())[:MAX_GATES])
    label = f"Values, saturation and memory of {len(drawn)} gates: " + ", ".join(map(in_words, drawn))
    rows = []
    for name, gate in found.items():
        means = f"{gate.mean.mean():.2f}", f"{gate.closed.mean():.0%}", f"{gate.open.mean():.0%}"
        rows.append([in_words(name), *means, _memory(gate)])
    head = ("gate", "mean", "closed, below 0.1", "open, above 0.9", "memory in steps: median, 90th percentile")
    body = inline(draw_gates(drawn), label, "gates") + macro("table", head, rows, numeric=True)
    remark = (
        "Closed and open: fractions of all units and tokens. The memory of a unit is the number of steps after which a "
        "value has decayed to 1/e if nothing is added, from the geometric mean of its gate."
    )
    body += macro("note", remark) + memory_norms(norms(trace, batch.mask))
    lead = (
        "A gate is a number between 0 (closed) and 1 (open) for each unit and token. First, the distribution of its "
        "values; then a point for each unit, by the fractions of tokens at which it is closed and open; then, for "
        "gates that scale the state from step to step, the number of units by their memory."
    )
    return Section(lead, body)


def memory_norms(found: dict[str, Norms]) -> Markup:
    """Norms of keys and of matrices as states, where a network has them."""
    if not found:
        return Markup()
    rows = []
    for name, of_kind in found.items():
        known = of_kind.by_position[of_kind.by_position.isfinite()]
        figures = of_kind.by_head.mean(), of_kind.by_head.min(), of_kind.by_head.max(), known[0], known[-1]
        rows.append([in_words(name), *(f"{float(figure):.3g}" for figure in figures)])
    head = ("norm", "mean", "least head", "largest head", "first position", f"position {len(known)}")
    label = "Norms by position: " + "; ".join(f"{row[0]} {row[1]} on average" for row in rows)
    remark = (
        "The length of the keys that are written, and the Frobenius norm of the memory of a head, which begins empty: "
        "where it goes on growing, little is forgotten; where it levels off, what is old is removed."
    )
    table = macro("table", head, rows, numeric=True)
    return (
        macro("heading", "Keys and memories")
        + inline(draw_norms(found), label, "norms")
        + table
        + macro("note", remark)
    )


def _memory(gate: Gate) -> str:
    if gate.memory is None:
        return NONE
    median, upper = (float(gate.memory.quantile(q)) for q in (0.5, 0.9))
    return f"{_steps(median)}, {_steps(upper)}"


def _steps(steps: float) -> str:
    return f"{steps:,.1f}" if steps < 100 else f"{steps:,.0f}" if steps < 1e6 else "over a million"
