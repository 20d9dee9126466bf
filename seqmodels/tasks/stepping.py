"""Single steps of a language model, network and softmax layer, for generation; on a GPU as a CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqmodels.batch import NEVER
from seqmodels.nn.packing import packed, packs
from seqmodels.nn.steppers import MOST, PAYS, Stepper


class Predictor:
    """The `Steps` of a language model, a stepper and a softmax layer: a token per row in, logits of the next out."""

    def __init__(self, stepper: Stepper, head: nn.Module) -> None:
        self._stepper, self._head, self._made = stepper, _without(NEVER, head), 0
        self.recordable, self.prepare = stepper.recordable, stepper.prepare

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read tokens (B,); returns logits (B, V) of the next ones."""
        self.prepare()
        return self.step(tokens)

    def step(self, tokens: Tensor) -> Tensor:
        self._made += 1
        if self._made == PAYS:
            self._head = _faster(self._head, len(tokens))
        return self._head(self._stepper.step(tokens))

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._stepper.select(rows)


class _Plain:
    """A linear softmax layer."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias, self._columns = weight, bias, weight.mT

    def __call__(self, y: Tensor) -> Tensor:
        return torch.addmm(self.bias, y, self._columns)


def _without(tokens: tuple[int, ...], head: nn.Module) -> Callable[[Tensor], Tensor]:
    """The softmax layer with logits of minus infinity for some tokens."""
    if type(head) is not nn.Linear:
        ids = dict[torch.device, Tensor]()  # made in the first step, before one is recorded

        def filled(y: Tensor) -> Tensor:
            logits: Tensor = head(y)
            if logits.device not in ids:
                ids[logits.device] = torch.tensor(tokens, device=logits.device)
            return logits.index_fill_(1, ids[logits.device], -torch.inf)

        return filled
    bias = head.bias.index_fill(0, torch.tensor(tokens, device=head.bias.device), -torch.inf)
    return _Plain(head.weight, bias)


def _faster(head: Callable[[Tensor], Tensor], rows: int) -> Callable[[Tensor], Tensor]:
    """The same softmax layer, with a copy of its weights in the order in which products of several rows are fastest."""
    if isinstance(head, _Plain) and packs(head.weight, rows) and head.weight.numel() <= MOST:
        return packed(head.weight, head.bias, rows)
    return head


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
