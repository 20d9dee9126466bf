"""Gates of a network while it reads: how open they are, how often they are saturated, and how long units remember."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqmodels.batch import Batch
from seqmodels.errors import InputError
from seqmodels.nn import Trace
from seqmodels.nn.dropout import evaluating
from seqmodels.state import State
from seqmodels.tasks import LanguageModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHUT, OPEN = 0.1, 0.9
"""Below and above which a gate counts as saturated (Karpathy, Johnson and Li 2016)."""

BINS = 40
"""Of a histogram, from 0 to 1."""


class Gate(NamedTuple):
    """One gate of a layer, over all positions of a text; D units."""

    mean: Tensor
    """Of its values, (D,)."""
    shut: Tensor
    """Share of positions at which it is below 0.1, (D,)."""
    open: Tensor
    """Share of positions at which it is above 0.9, (D,)."""
    histogram: Tensor
    """Share of all units and positions with a value in each of 40 equal bins from 0 to 1, (40,)."""
    memory: Tensor | None
    """In steps, (D,), of a gate that scales the state from step to step, else None: how long it takes until a value
    has fallen to 1/e of itself, `-1 / mean(log f)`. The logarithms are averaged since what is left of a value is the
    product of the gate's values: their geometric mean to the power of the steps. One position at which the gate is shut
    is then enough to forget, as it is in the network; -1 / log of the mean would not see it. Zero where a gate was 0,
    infinite where it was 1 throughout."""


def gates(task: LanguageModel, batch: Batch, state: State | None = None) -> dict[str, Gate]:
    """Statistics of all gates of a network while it reads a batch, without dropout.

    Args:
        task: a model of a network with gates; it is in evaluation mode meanwhile.
        batch: B rows of T positions; padding does not count.
        state: where the rows go on from; None for the start.

    Returns:
        By layer and gate: `1.i`, `1.f` and `1.o` of an LSTM's first layer, `1.r` and `1.z` of a GRU's.

    Raises:
        InputError: the network has no gates, or all is padding.
    """
    with evaluating(task), torch.no_grad():
        _, _, trace = task.traced(batch, state)
    if not trace.gates:
        raise InputError(f"{task.name} has no gates to look at; take a network that has, such as an LSTM or a GRU")
    return of_trace(trace, batch.mask)


def of_trace(trace: Trace, mask: Tensor | None = None) -> dict[str, Gate]:
    """The same from what a network had inside.

    Args:
        trace: its `gates` are (B, T, D).
        mask: bool (B, T), False at padding; None where all is real.

    Raises:
        InputError: all is padding.
    """
    if mask is not None and not mask.any():
        raise InputError("a batch of nothing but padding was given; expected one position at least that is real")
    found = {}
    for name, values in trace.gates.items():
        values = (values.flatten(0, 1) if mask is None else values[mask]).detach().double().cpu()
        counts = values.mul(BINS).long().clamp(max=BINS - 1).flatten().bincount(minlength=BINS)
        memory = 1 / values.log().mean(0).abs() if name in trace.highways else None
        found[name] = Gate(
            values.mean(0),
            (values < SHUT).double().mean(0),
            (values > OPEN).double().mean(0),
            counts / values.numel(),
            memory,
        )
    return found


def draw_gates(found: Mapping[str, Gate]) -> "Figure":
    """Two panels for each gate, and a third for those that scale the state from step to step.

    First, how often it has which value; second, a point for each unit with the shares of positions at which it is shut
    and open, as Karpathy, Johnson and Li (2016) draw them, on the diagonal where it is always one or the other; third,
    how many units remember for how long.
    """
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    wide = 3 if any(gate.memory is not None for gate in found.values()) else 2
    figure = Figure(figsize=(2.6 * wide, 2.1 * len(found)), layout="constrained")
    grid = figure.subplots(len(found), wide, squeeze=False)
    for (values, saturation, *rest), (name, gate) in zip(grid, found.items(), strict=True):
        edges = torch.linspace(0, 1, BINS + 1)
        values.stairs((gate.histogram * BINS).numpy(), edges.numpy(), fill=True, alpha=0.7)
        values.set(xlim=(0, 1), ylabel=f"gate {name}", yticks=[])
        saturation.scatter(gate.shut.numpy(), gate.open.numpy(), s=6, linewidths=0, alpha=0.6)
        saturation.plot([0, 1], [1, 0], color="#808080", linewidth=0.8, linestyle=":")
        saturation.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel="share open")
        for axes in rest:
            _draw_memory(axes, gate.memory)
    grid[0][0].set_title("values", fontsize="medium")
    grid[0][1].set_title("saturation", fontsize="medium")
    grid[-1][0].set_xlabel("value")
    grid[-1][1].set_xlabel("share shut")
    return figure


def _draw_memory(axes: "Axes", memory: Tensor | None) -> None:
    """How many units remember for how long, over logarithmic time; those of no end at its end."""
    if memory is None:
        axes.set_visible(False)
        return
    steps = memory.clamp(0.1, 1e6)
    first, last = (float(end.log10()) for end in (steps.min(), steps.max()))
    edges = torch.logspace(first - 0.05, last + 0.05, 25, dtype=torch.float64)
    axes.hist(steps.numpy(), edges.tolist(), alpha=0.7)
    axes.set(xscale="log", ylabel="units")
    axes.set_title("memory in steps", fontsize="medium")
