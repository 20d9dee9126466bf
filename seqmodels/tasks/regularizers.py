"""Penalties that are added to the training loss, and to no reported figure.

On activations (AWD-LSTM), on the divergence of two passes (R-Drop), and on vanishing gradients (Pascanu's Omega).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.batch import IGNORE
from seqmodels.nn.cell import CellState
from seqmodels.nn.unrolling import Unrolled, step_vjp


def activation_penalty(y: Tensor, mask: Tensor | None = None, window: Tensor | None = None) -> Tensor:
    """Mean square of the inputs of the softmax layer, (B, T, D) (Merity, McCann and Socher 2017), keeps them small.

    The mask, bool (B, T), is False at padding. If these are a piece of a window, whose mask is given, it is the piece's
    part of the mean.
    """
    return _mean(y.square(), mask, window)


def temporal_penalty(y: Tensor, mask: Tensor | None = None, window: Tensor | None = None) -> Tensor:
    """Mean square of the change of the outputs, before dropout, from step to step (ibid.) keeps them slow.

    Of a piece its part, as of `activation_penalty`, if it begins with the last output before it.
    """
    pairs, of_window = (None if real is None else real[:, 1:] & real[:, :-1] for real in (mask, window))
    return _mean((y[:, 1:] - y[:, :-1]).square(), pairs, of_window)


def _mean(values: Tensor, mask: Tensor | None, window: Tensor | None) -> Tensor:
    """Over features and real positions, those of the window if there is one; zero without any."""
    values = values.float() if values.element_size() < 4 else values
    if mask is not None:
        values = values * mask.unsqueeze(-1)
    among = mask if window is None else window
    if among is None:
        return values.sum() / max(1, values.numel())
    return values.sum() / (among.sum() * values.shape[-1]).clamp(min=1)


def divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """Symmetric Kullback-Leibler divergence between the first half of the rows and the second, the mean over targets.

    Half the sum of both directions, as in R-Drop (Liang et al. 2021), of logits (2B, T, V) and targets (2B, T).
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    one, other = logits.log_softmax(-1).chunk(2)
    apart = ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2
    scored = (targets != IGNORE).chunk(2)[0]
    return (apart * scored).sum() / scored.sum().clamp(min=1)


MIN_SQUARED_NORM = 1e-20
"""Steps with a gradient of smaller squared norm, whose direction is noise, are left out."""


def gradient_change(loss: Tensor, layers: Sequence[Unrolled], mask: Tensor | None = None, groups: int = 1) -> Tensor:
    """The change in norm of gradients from one step to the one before (Pascanu, Mikolov and Bengio 2013, eq. 9).

    `(|delta_{t+1} dh_{t+1}/dh_t| / |delta_{t+1}| - 1)^2` with `delta_t = dL/dh_t`, where `h` is the whole state of a
    layer, `c` included. As published, `delta` and the states are constants: the penalty moves weights only through the
    Jacobian of the step. It is the mean over steps and rows, so that its weight does not depend on the length of
    sequences, and the sum over layers. The published program squares the norms: near 1, its weight of 2 is 8 here.

    Args:
        loss: a scalar that depends on the states.
        layers: the layers of a recurrent network, unrolled over T positions.
        mask: bool (B, T), False at padding; None without padding.
        groups: number of networks that share the batch, each with the same number of rows.

    Returns:
        One number for each group, (groups,), whose gradient reaches the recurrent weights; zero for T = 1.
    """
    total = loss.new_zeros(groups)
    for layer in layers:
        if len(layer.states) == 1:
            break  # there is no step to go back through
        deltas = tuple(tensor[:, 1:] for tensor in layer.deltas(loss))
        before = tuple(tensor[:, :-1].detach() for tensor in layer.over_time())
        z = layer.cell.project(layer.inputs[:, 1:]).detach()
        back = step_vjp(layer.cell, z, before, layer.cell.weights(), deltas)
        squares = _squares(deltas)
        counts = squares > MIN_SQUARED_NORM
        if mask is not None:
            counts = counts & mask[:, 1:] & mask[:, :-1]
        ratio = _squares(back) / torch.where(counts, squares, 1.0)  # its gradient is a number, too
        squared = torch.where(counts, ratio, 1.0).clamp(min=MIN_SQUARED_NORM)
        change = (squared.sqrt() - 1).square().view(groups, -1)
        total = total + change.sum(1) / counts.view(groups, -1).sum(1).clamp(min=1)
    return total


def _squares(state: CellState) -> Tensor:
    """Squared norm of all features together."""
    return torch.stack([tensor.square().sum(-1) for tensor in state]).sum(0)
