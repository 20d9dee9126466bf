"""Parameter groups, and the learning rate over a run."""

import math
from collections.abc import Iterator
from typing import Any

from torch import nn


def parameter_groups(module: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Matrices, which decay, and vectors (biases, norms, initial states), which do not.

    Args:
        module: whose parameters.
        weight_decay: of the matrices (Loshchilov and Hutter 2019).
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    yield {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay}
    yield {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}


def warmup_cosine(share: float, warmup: float) -> float:
    """Factor of the learning rate after a share of the run: a linear rise, then half a cosine down to zero.

    Args:
        share: how much of the run is over, from 0 to 1.
        warmup: the share at which the rate is highest.
    """
    if share < warmup:
        return share / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / (1 - warmup))))
