"""Norms of keys and of associative memories along a text: whether a memory fills, and whether it forgets."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from seqmodels.analysis.figures import new_figure
from seqmodels.nn import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEYS, MEMORIES = "k", "S"
"""Names of norms in a trace, behind the layer."""


class Norms(NamedTuple):
    """Norms of one kind in one layer, of H heads over T positions."""

    by_head: Tensor
    """Mean over all positions, (H,)."""
    by_position: Tensor
    """Mean over rows and heads, (T,); NaN where all rows are padding."""


def norms(trace: Trace, mask: Tensor | None = None) -> dict[str, Norms]:
    """Norms of keys and of memories by layer and kind, such as `1.k` and `1.S`; none of networks without such states.

    Args:
        trace: of a network that was traced on B rows of T positions.
        mask: bool (B, T), False at padding, which does not count; at least one position is real.
    """
    found = {}
    for name, values in trace.norms.items():
        values = values.detach().cpu().double()
        real = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask.cpu()
        some = torch.where(real.unsqueeze(-1), values, torch.nan)
        found[name] = Norms(values[real].mean(0), some.mean(-1).nanmean(0))
    return found


def draw_norms(found: Mapping[str, Norms]) -> "Figure":
    """Norms by position, of memories on the left and of keys on the right, with a line for each layer."""
    figure = new_figure(7.2, 2.8)
    for axes, kind, title in zip(
        figure.subplots(1, 2), (MEMORIES, KEYS), ("norm of the memory", "length of the key"), strict=True
    ):
        for name, of_layer in found.items():
            layer, _, part = name.rpartition(".")
            if part == kind:
                axes.plot(range(1, len(of_layer.by_position) + 1), of_layer.by_position.numpy(), label=f"layer {layer}")
        axes.set(xlabel="position", ylim=(0, None))
        axes.set_title(title, fontsize="medium")
    figure.axes[0].legend(fontsize="small")
    return figure
