"""What a training step minimises."""

from typing import NamedTuple

from torch import Tensor, nn

from seqmodels.metrics import smoothed_nats, summed_nats
from seqmodels.softmax import LOGITS, linear_nats
from seqmodels.state import State


class Losses(NamedTuple):
    """What a training step is about."""

    objective: Tensor
    """What is minimised, summed over the targets of a batch: cross-entropy, with smoothed labels where it has any."""
    nats: Tensor
    """Cross-entropy without smoothing, summed likewise."""
    penalty: Tensor | float
    """What is added to the mean of the objective: a mean over this rank alone."""
    state: State
    """After the batch."""


def scored(
    y: Tensor, head: nn.Linear, targets: Tensor, smoothing: float, compiled: bool = False
) -> tuple[Tensor, Tensor]:
    """Objective and nats, see `Losses`, without all logits at once where these are many.

    Args:
        y: what the softmax layer reads, (B, T, D).
        head: the softmax layer.
        targets: int64 (B, T), IGNORE where nothing is scored.
        smoothing: share of the probability that is spread over all tokens.
        compiled: whether what is done to many logits is compiled.
    """
    if targets.numel() * head.out_features > LOGITS:
        return linear_nats(y, head.weight, head.bias, targets, smoothing, compiled=compiled)
    return scored_logits(head(y), targets, smoothing)


def scored_logits(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """The same, of logits (B, T, V)."""
    nats, _ = summed_nats(logits, targets)
    return smoothed_nats(logits, targets, smoothing) if smoothing else nats, nats
