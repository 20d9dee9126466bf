"""Steps that are recorded as a CUDA graph: one launch for all of their small kernels."""

import torch
from torch import Tensor

from seqmodels.tasks.steps import Predicting

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
