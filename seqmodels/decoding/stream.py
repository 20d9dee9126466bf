"""Writing token after token over `step(tokens, state) -> (logits, state)`."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from seqmodels.decoding.sampling import Sampling
from seqmodels.state import State

Step = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""Tokens (B,) and a state to logits (B, V) of what comes next, and the state after."""


def stream(
    step: Step, tokens: Tensor, state: State | None, sampling: Sampling, max_tokens: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Feed every drawn token back in.

    Args:
        step: any model's single step.
        tokens: the token of each row that was not read yet, int64 (B,).
        state: the state before it; None at the start.
        sampling: how to draw.
        max_tokens: how many to draw for each row.
        generator: source of chance, on the device of the tokens.

    Yields:
        The next token of each row. The caller stops when it has seen enough.
    """
    for _ in range(max_tokens):
        logits, state = step(tokens, state)
        tokens = sampling.draw(logits, generator)
        yield tokens.tolist()
