"""Writing token after token over `step(tokens, state) -> (logits, state)`."""

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from seqmodels.decoding.chance import Chance
from seqmodels.decoding.sampling import Sampling
from seqmodels.state import State, select

Step = Callable[[Tensor, State | None], tuple[Tensor, State]]
"""Tokens (B,) and a state to logits (B, V) of what comes next, and the state after."""


def stream(
    step: Step,
    tokens: Tensor,
    state: State | None,
    sampling: Sampling,
    max_tokens: int,
    chance: Chance,
    seen: Tensor | None = None,
) -> Generator[list[int], Sequence[int] | None, None]:
    """Feed every drawn token back in.

    Args:
        step: any model's single step.
        tokens: the token of each row that was not read yet, int64 (B,).
        state: the state before it; None at the start.
        sampling: how to draw.
        max_tokens: how many to draw for each row.
        chance: random numbers for B rows.
        seen: tokens of each row before `tokens`, True in bool (B, V), which a repetition penalty applies to as well;
            None for none.

    Yields:
        The next token of each row. Rows that are done can leave: `send` the places of those that go on, in their
        order, and only they are in what comes next. The caller stops when it has seen enough.
    """
    for _ in range(max_tokens):
        logits, state = step(tokens, state)
        if sampling.repetition_penalty != 1:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            seen = seen.scatter(1, tokens[:, None], True)
        tokens = sampling.draw(logits, chance.next(), seen)
        rows = yield tokens.tolist()
        if rows is None:
            continue
        if not rows:
            return
        chance.select(rows)
        places = torch.tensor(rows, device=tokens.device)
        tokens, state = tokens[places], select(state, places)
        seen = None if seen is None else seen[places]
