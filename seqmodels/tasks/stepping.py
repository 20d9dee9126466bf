"""Single steps of a language model, network and softmax layer, for generation; on a GPU as a CUDA graph."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.nn.steppers import Stepper


class Predictor:
    """The `Steps` of a language model, a stepper and a softmax layer: a token per row in, logits of the next out."""

    def __init__(self, stepper: Stepper, head: nn.Module) -> None:
        self._stepper, self._head = stepper, _without(NEVER, head)
        self.recordable, self.prepare = stepper.recordable, stepper.prepare

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V) of the next ones."""
        self.prepare()
        return self.step(tokens)

    def step(self, tokens: Tensor) -> Tensor:
        return self._head(self._stepper.step(tokens))

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._stepper.select(rows)


def _without(tokens: tuple[int, ...], head: nn.Module) -> Callable[[Tensor], Tensor]:
    """The softmax layer with logits of minus infinity for some tokens."""
    if type(head) is not nn.Linear:
        ids = torch.tensor(tokens, device=cast(Tensor, head.weight).device)
        return lambda y: cast(Tensor, head(y)).index_fill_(1, ids, -torch.inf)
    bias = head.bias.index_fill(0, torch.tensor(tokens, device=head.bias.device), -torch.inf)
    weight = head.weight.mT
    return lambda y: torch.addmm(bias, y, weight)


EAGER_STEPS = 3
"""Steps before one is recorded, which takes as long as tens of them."""


class GraphedPredictor:
    """The same, replayed as a CUDA graph: one launch for all of a step's small kernels.

    A step is recorded again after rows have left or the cache was reallocated.

    Args:
        steps: recordable steps on a GPU.
    """

    def __init__(self, steps: Predictor) -> None:
        self._steps, self._made = steps, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V) of the next ones, which the following call overwrites."""
        if self._steps.prepare():
            self._graph = None
        if self._graph is None:
            if self._made < EAGER_STEPS:
                self._made += 1
                return self._steps.step(tokens)
            self._tokens, self._graph = tokens.clone(), torch.cuda.CUDAGraph()
            # Other threads, such as those that load batches, may use the GPU meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._logits = self._steps.step(self._tokens)
        self._tokens.copy_(tokens)
        self._graph.replay()
        return self._logits

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._steps.select(rows)
        self._graph, self._made = None, 0
