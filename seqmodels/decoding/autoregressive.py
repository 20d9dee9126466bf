"""Writing token after token.

Translations drawn at random over `step(tokens, state, memory) -> (logits, state)`, for many sentences at a time.
"""

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, NEVER
from seqmodels.decoding.beam_search import Hypothesis, MemoryStep, usual_limit
from seqmodels.decoding.rng import Chance
from seqmodels.decoding.sampling import Sampling
from seqmodels.errors import InputError
from seqmodels.state import State, first_tensor, repeat, select


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


@dataclass(frozen=True)
class Draws:
    """How translations are drawn.

    Attributes:
        samples: how many of each sentence.
        sampling: which tokens may be drawn, and how boldly.
        seed: the same translations again; None for one that is made up here, so that all that is drawn with these
            settings differs from what is drawn with others.
        max_length: most tokens; None for 10 more than twice as many as the source has.

    Raises:
        InputError: a value makes no sense.
    """

    samples: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples={self.samples} was given; expected at least 1")
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbits(64))
        elif self.seed < 0:
            raise InputError(f"seed={self.seed} was given; expected a whole number from 0")
        if self.max_length is not None and self.max_length < 1:
            raise InputError(f"max_length={self.max_length} was given; expected at least 1")

    @property
    def rows(self) -> int:
        """How many rows of a batch a sentence takes."""
        return self.samples

    def limits(self, source_lengths: Sequence[int]) -> list[int]:
        """Most tokens of the translation of each source."""
        return [usual_limit(length) if self.max_length is None else self.max_length for length in source_lengths]


@torch.inference_mode()
def draw(
    step: MemoryStep, memory: State, limits: Sequence[int], sampling: Sampling, chance: Chance
) -> list[list[Hypothesis]]:
    """Translations of some sentences, token after token.

    A translation leaves the batch with its end, or where it reaches its limit.

    Args:
        step: a model's single step.
        memory: of as many rows as there are sentences.
        limits: most tokens of each translation.
        sampling: how to draw.
        chance: random numbers, for the samples of a sentence side by side.

    Returns:
        The samples of each sentence in the order in which they were drawn, with their probabilities under the model as
        it is, whatever the sampling made of them; the score is per token.
    """
    samples = len(chance) // max(1, len(limits))
    device = first_tensor(memory).device
    memory = repeat(memory, samples)
    limit = torch.tensor(limits, device=device).repeat_interleave(samples)
    there = torch.arange(len(limit), device=device)
    tokens = torch.full_like(there, BOS)
    never = torch.tensor(NEVER, device=device)
    written: list[list[int]] = [[] for _ in range(len(limit))]
    sums = torch.zeros(len(limit), device=device)
    state: State | None = None
    seen: Tensor | None = None
    for length in range(1, max(limits, default=0) + 1):
        logits, state = step(tokens, state, memory)
        logits = logits.float().index_fill(-1, never, -torch.inf)
        if sampling.repetition_penalty != 1:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            seen = seen.scatter(1, tokens[:, None], True)
        tokens = sampling.draw(logits, chance.next(), seen)
        sums[there] += logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
        for row, token in zip(there.tolist(), tokens.tolist(), strict=True):
            written[row].append(token)
        stay = ((tokens != EOS) & (length < limit)).nonzero().squeeze(1)
        if len(stay) == len(there):
            continue
        if not len(stay):
            break
        chance.select(stay.tolist())
        memory, state = select(memory, stay), select(state, stay)
        there, limit, tokens = there[stay], limit[stay], tokens[stay]
        seen = None if seen is None else seen[stay]
    found = [
        Hypothesis([token for token in tokens if token != EOS], total / len(tokens), total)
        for tokens, total in zip(written, sums.tolist(), strict=True)
    ]
    return [found[first : first + samples] for first in range(0, len(found), samples)]
