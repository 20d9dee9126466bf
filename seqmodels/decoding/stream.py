"""Writing token after token."""

from collections.abc import Generator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from seqmodels.decoding.chance import Chance
from seqmodels.decoding.sampling import Sampling


class Steps(Protocol):
    """A model that reads one token of each row at a time, and remembers by itself what it has read."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B,) to logits (B, V) of what comes next."""

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""


def stream(
    steps: Steps,
    tokens: Tensor,
    sampling: Sampling,
    max_tokens: int,
    chance: Chance,
    seen: Tensor | None = None,
) -> Generator[list[int], Sequence[int] | None, None]:
    """Feed every drawn token back in.

    Args:
        steps: any model, one step after the other.
        tokens: the token of each row that was not read yet, int64 (B,).
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
        logits = steps(tokens)
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
        tokens = tokens[places]
        steps.select(places)
        seen = None if seen is None else seen[places]
