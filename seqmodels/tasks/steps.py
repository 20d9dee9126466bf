"""A model with a softmax layer that reads and predicts one token after another."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.nn.stepper import Stepper


class Predicting:
    """What `decoding.stream` runs on: a network, one token at a time, and the softmax layer on top.

    Args:
        stepper: the network.
        head: the softmax layer.
    """

    def __init__(self, stepper: Stepper, head: nn.Module) -> None:
        self._stepper, self._head = stepper, _without(NEVER, head)

        self.recordable, self.prepare = stepper.recordable, stepper.prepare

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B,) to logits (B, V) of what comes next."""
        self.prepare()
        return self.step(tokens)

    def step(self, tokens: Tensor) -> Tensor:
        """See `Stepper.step`."""
        return self._head(self._stepper.step(tokens))

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        self._stepper.select(rows)


def _without(tokens: tuple[int, ...], head: nn.Module) -> Callable[[Tensor], Tensor]:
    """A softmax layer that gives no probability to some tokens."""
    if type(head) is not nn.Linear:
        places = torch.tensor(tokens)
        return lambda y: cast(Tensor, head(y)).index_fill_(1, places, -torch.inf)
    bias = head.bias.index_fill(0, torch.tensor(tokens, device=head.bias.device), -torch.inf)
    weight = head.weight.mT
    return lambda y: torch.addmm(bias, y, weight)
