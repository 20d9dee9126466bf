"""A model with a softmax layer that reads and predicts one token after another.

Steps that are recorded as a CUDA graph: one launch for all of their small kernels.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.nn.steppers import Stepper


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


BEFORE = 3
"""Steps that are made as they are before one is recorded, which takes as long as tens of them."""


class Replayed:
    """What `decoding.stream` runs on, on a GPU.

    Where rows leave, or the cache has moved, a step is recorded anew.

    Args:
        steps: on a GPU, recordable.
    """

    def __init__(self, steps: Predicting) -> None:
        self._steps, self._made = steps, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B,) to logits (B, V) of what comes next, which the next call writes over."""
        if self._steps.prepare():
            self._graph = None
        if self._graph is None:
            if self._made < BEFORE:
                self._made += 1
                return self._steps.step(tokens)
            self._tokens, self._graph = tokens.clone(), torch.cuda.CUDAGraph()
            # Other threads, such as those that fetch batches, may go on meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._logits = self._steps.step(self._tokens)
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._logits

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        self._steps.select(rows)
        self._graph, self._made = None, 0
