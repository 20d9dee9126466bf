"""A model with a softmax layer that reads and predicts one token after another."""

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

    def __init__(self, stepper: Stepper, head: nn.Linear) -> None:
        self._stepper, self._weight = stepper, head.weight.mT
        never = torch.tensor(NEVER, device=head.bias.device)
        self._bias = head.bias.index_fill(0, never, -torch.inf)  # of tokens that are never written

        self.recordable, self.prepare = stepper.recordable, stepper.prepare

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B,) to logits (B, V) of what comes next."""
        self.prepare()
        return self.step(tokens)

    def step(self, tokens: Tensor) -> Tensor:
        """See `Stepper.step`."""
        return torch.addmm(self._bias, self._stepper.step(tokens), self._weight)

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        self._stepper.select(rows)
