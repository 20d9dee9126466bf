"""Pascanu's regulariser: gradients that neither vanish nor explode on their way back through time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.nn import Cell
from seqmodels.nn.cell import CellState
from seqmodels.nn.trace import Unrolled

SMALLEST = 1e-20
"""Squared norm of a gradient below which its direction means nothing, and the step is left out."""


def gradient_change(error: Tensor, layers: Sequence[Unrolled], mask: Tensor | None = None, groups: int = 1) -> Tensor:
    """How much gradients change in norm from one step to the one before (Pascanu, Mikolov and Bengio 2013, eq. 9).

    `(|delta_{t+1} dh_{t+1}/dh_t| / |delta_{t+1}| - 1)^2` with `delta_t = dL/dh_t`, where `h` is the whole state of a
    layer, `c` included. The gradients `delta` and the states are constants: weights are moved only through the
    Jacobian of the step itself, as published. It is the mean over steps and rows, so that its weight does not depend
    on how long sequences are, and the sum over layers.

    Args:
        error: what is to be learned, a scalar that depends on the states.
        layers: what happened in each layer of a recurrent network, T positions.
        mask: bool (B, T), False at padding; None where all is real.
        groups: networks that share the batch, each with as many rows; there is a mean for each.

    Returns:
        One number for each group, (groups,), whose gradient reaches the recurrent weights; zero where there is one
        position only.
    """
    total = error.new_zeros(groups)
    for layer in layers:
        if len(layer.states) == 1:
            break  # there is no step to go back through
        cell: Cell = layer.cell
        deltas = tuple(tensor[:, 1:] for tensor in layer.deltas(error))
        before = tuple(tensor[:, :-1].detach() for tensor in layer.over_time())
        z = cell.read(layer.inputs[:, 1:]).detach()
        back = cell.pulled_back(z, before, cell.weights(), deltas)
        squares = _squares(deltas)
        counts = squares > SMALLEST
        if mask is not None:
            counts = counts & mask[:, 1:] & mask[:, :-1]
        ratio = _squares(back) / torch.where(counts, squares, 1.0)  # of which the gradient is a number, too
        squared = torch.where(counts, ratio, 1.0).clamp(min=SMALLEST)
        change = (squared.sqrt() - 1).square().view(groups, -1)
        total = total + change.sum(1) / counts.view(groups, -1).sum(1).clamp(min=1)
    return total


def _squares(state: CellState) -> Tensor:
    """Squared norm of all features together."""
    return torch.stack([tensor.square().sum(-1) for tensor in state]).sum(0)
