"""Gates of a network on a text: their values, saturation, and the memory of units."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqmodels.analysis.figures import new_figure
from seqmodels.batch import Batch
from seqmodels.errors import InputError
from seqmodels.nn import Trace
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State
from seqmodels.tasks import LanguageModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLOSED, OPEN = 0.1, 0.9
"""Below and above which a gate counts as saturated (Karpathy, Johnson and Li 2016)."""

BINS = 40
"""Of a histogram, from 0 to 1."""


class Gate(NamedTuple):
    """A gate of D units, over all positions of a text."""

    mean: Tensor
    """Mean value, (D,)."""
    closed: Tensor
    """Fraction of positions with a value below 0.1, (D,)."""
    open: Tensor
    """Fraction of positions with a value above 0.9, (D,)."""
    histogram: Tensor
    """Fractions of units and positions in 40 equal bins from 0 to 1, (40,)."""
    memory: Tensor | None
    """Steps until a value has decayed to 1/e, `-1 / mean(log f)`, (D,), of a gate that scales the state; else None.
    Logarithms are averaged since a value decays by the product of the gate's values, so that one position with a closed
    gate is enough to forget. Zero where a gate was 0, infinite where it was always 1."""


def gates(task: LanguageModel, batch: Batch, state: State | None = None) -> dict[str, Gate]:
    """Statistics of all gates of a network on a batch, without dropout.

    Args:
        task: a model with gates; in evaluation mode meanwhile.
        batch: B rows of T positions; padding does not count.
        state: initial state; None for that of the network.

    Returns:
        By layer and gate: `1.i`, `1.f` and `1.o` of an LSTM's first layer, `1.r` and `1.z` of a GRU's.

    Raises:
        InputError: the network has no gates, or all is padding.
    """
    return of_trace(gated_trace(task, batch, state), batch.mask)


def gated_trace(task: LanguageModel, batch: Batch, state: State | None = None) -> Trace:
    """The trace of a network with gates, see `gates`."""
    with evaluating(task), torch.no_grad():
        _, _, trace = task.traced(batch, state)
    if not trace.gates:
        raise InputError(f"{task.name} has no gates; take a network with gates, such as an LSTM or a GRU")
    return trace


def of_trace(trace: Trace, mask: Tensor | None = None) -> dict[str, Gate]:
    """Statistics of the gates of a trace, (B, T, D) each; the mask, bool (B, T), is False at padding.

    Raises:
        InputError: all is padding.
    """
    if mask is not None and not mask.any():
        raise InputError("a batch with nothing but padding was given; expected at least one token")
    found = {}
    for name, values in trace.gates.items():
        values = (values.flatten(0, 1) if mask is None else values[mask]).detach().cpu().double()
        counts = values.mul(BINS).long().clamp(max=BINS - 1).flatten().bincount(minlength=BINS)
        memory = 1 / values.log().mean(0).abs() if name in trace.highways else None
        found[name] = Gate(
            values.mean(0),
            (values < CLOSED).double().mean(0),
            (values > OPEN).double().mean(0),
            counts / values.numel(),
            memory,
        )
    return found


def draw_gates(found: Mapping[str, Gate]) -> "Figure":
    """Two panels for each gate, and a third for those that scale the state.

    First, the distribution of values; second, a point for each unit, by the fractions of positions at which it is
    closed and open (Karpathy, Johnson and Li 2016), on the diagonal if it is always one of both; third, a histogram of
    memory.
    """
    wide = 3 if any(gate.memory is not None for gate in found.values()) else 2
    figure = new_figure(2.6 * wide, 2.1 * len(found))
    grid = figure.subplots(len(found), wide, squeeze=False)
    for (values, saturation, *rest), (name, gate) in zip(grid, found.items(), strict=True):
        edges = torch.linspace(0, 1, BINS + 1)
        values.stairs((gate.histogram * BINS).numpy(), edges.numpy(), fill=True, alpha=0.7)
        values.set(xlim=(0, 1), ylabel=f"gate {name}", yticks=[])
        saturation.scatter(gate.closed.numpy(), gate.open.numpy(), s=6, linewidths=0, alpha=0.6)
        saturation.plot([0, 1], [1, 0], color="#808080", linewidth=0.8, linestyle=":")
        saturation.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel="fraction open")
        for axes in rest:
            _draw_memory(axes, gate.memory)
    grid[0][0].set_title("values", fontsize="medium")
    grid[0][1].set_title("saturation", fontsize="medium")
    grid[-1][0].set_xlabel("value")
    grid[-1][1].set_xlabel("fraction closed")
    return figure


def _draw_memory(axes: "Axes", memory: Tensor | None) -> None:
    """A histogram of memory over logarithmic time; infinite memory is in the last bin."""
    if memory is None:
        axes.set_visible(False)
        return
    steps = memory.clamp(0.1, 1e6)
    first, last = (end.log10().item() for end in steps.aminmax())
    axes.hist(steps.numpy(), torch.logspace(first - 0.05, last + 0.05, 25).tolist(), alpha=0.7)
    axes.set(xscale="log", ylabel="units")
    if last - first < 2:  # labels between powers of ten would cover one another
        ticks = torch.logspace(first, last, 3).tolist() if first < last else [10**first]
        axes.set_xticks(ticks, [f"{float(f'{tick:.2g}'):,g}" for tick in ticks])
        axes.minorticks_off()
    axes.set_title("memory in steps", fontsize="medium")
