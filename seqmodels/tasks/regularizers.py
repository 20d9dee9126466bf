"""Penalties on what a network puts out, added to the loss in training and never to a reported figure.

Pascanu's regulariser: gradients that neither vanish nor explode on their way back through time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.batch import IGNORE
from seqmodels.nn import Cell
from seqmodels.nn.cell import CellState
from seqmodels.nn.trace import Unrolled


def activation_penalty(y: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean square of the outputs (Merity, McCann and Socher 2017): keeps them small.

    Args:
        y: outputs, those that the softmax layer sees, (B, T, D).
        mask: bool (B, T), False at padding.
    """
    return _mean(y.square(), mask)


def temporal_penalty(y: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean square of the change of the outputs from step to step (ibid.): keeps them slow.

    Args:
        y: outputs, before dropout, (B, T, D).
        mask: bool (B, T), False at padding.
    """
    pairs = None if mask is None else mask[:, 1:] & mask[:, :-1]
    return _mean((y[:, 1:] - y[:, :-1]).square(), pairs)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Over features and real positions; zero where there is none."""
    values = values.float() if values.element_size() < 4 else values
    if mask is None:
        return values.sum() / max(1, values.numel())
    return (values * mask.unsqueeze(-1)).sum() / (mask.sum() * values.shape[-1]).clamp(min=1)


def divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over targets of the symmetric Kullback-Leibler divergence between the first half of the rows and the second.

    Half the sum of both directions, as in Liang et al. 2021.

    Args:
        logits: (2B, T, V).
        targets: int64 (2B, T), IGNORE where nothing is scored.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    one, other = logits.log_softmax(-1).chunk(2)
    apart = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2
    scored = (targets != IGNORE).chunk(2)[0]
    return (apart * scored).sum() / scored.sum().clamp(min=1)


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
