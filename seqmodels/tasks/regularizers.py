"""Penalties on what a network puts out, added to the loss in training and never to a reported figure."""

import torch
from torch import Tensor

from seqmodels.batch import IGNORE


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
