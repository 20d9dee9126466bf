"""One token after another, each fed back in: one loop, for text and for translations drawn at random."""

import secrets
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, NEVER
from seqmodels.decoding.beam_search import Hypothesis, MemoryStep, length_limits
from seqmodels.decoding.sampling import RowGenerators, Sampling
from seqmodels.errors import InputError
from seqmodels.state import State, first_tensor, repeat, select


class Steps(Protocol):
    """A model that reads one token of each row at a time and keeps its state to itself."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B,) to logits (B, V) of the next token."""

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in the order given, (N,)."""


def stream(
    steps: Steps,
    tokens: Tensor,
    sampling: Sampling,
    max_tokens: int,
    rng: RowGenerators,
    seen: Tensor | None = None,
) -> Generator[list[int], Sequence[int] | None, None]:
    """Draw a token for each row, feed it back in, and so on.

    Args:
        steps: any model, one step after the other.
        tokens: the last token of each row, not read yet, int64 (B,).
        sampling: how to draw.
        max_tokens: how many to draw for each row.
        rng: random numbers for B rows.
        seen: tokens of each row before `tokens`, True in bool (B, V), for the repetition penalty; None for none.

    Yields:
        The next token of each row. Rows that are done can leave: `send` the places of those that stay, in their order.
    """
    for _ in range(max_tokens):
        logits = steps(tokens)
        if sampling.repetition_penalty != 1:
            seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
            seen = seen.scatter(1, tokens[:, None], True)
        tokens = sampling.draw(logits, rng.next(), seen)
        rows = yield tokens.tolist()
        if rows is not None:
            if not rows:
                return
            rng.select(rows)
            places = torch.tensor(rows, device=tokens.device)
            steps.select(places)
            tokens, seen = tokens[places], None if seen is None else seen[places]


@dataclass(frozen=True)
class Draws:
    """Translations by ancestral sampling.

    Attributes:
        samples: how many of each sentence.
        sampling: temperature, top-k, top-p and so on.
        seed: random seed; None for one drawn here, so that other settings give other translations.
        max_length: see `Beam`.

    Raises:
        InputError: a value makes no sense.
    """

    samples: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    seed: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("seed", 0), ("max_length", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise InputError(f"{name}={value} was given; expected at least {least}")
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbits(64))

    @property
    def rows(self) -> int:
        """Rows of a batch per sentence."""
        return self.samples

    def limits(self, source_lengths: Sequence[int], longest: int = 0) -> list[int]:
        """Maximum number of tokens of the translation of each source, see `length_limits`."""
        return length_limits(source_lengths, self.max_length, longest)


class _MemorySteps:
    """A model that attends to a memory, as `Steps`; it keeps the log-probabilities (B, V) of its last step."""

    def __init__(self, step: MemoryStep, memory: State) -> None:
        self._step, self._memory = step, memory
        self._state: State | None = None
        self._never = torch.tensor(NEVER, device=first_tensor(memory).device)

    def __call__(self, tokens: Tensor) -> Tensor:
        logits, self._state = self._step(tokens, self._state, self._memory)
        logits = logits.float().index_fill(-1, self._never, -torch.inf)
        self.log_probabilities = logits.log_softmax(-1)
        return logits

    def select(self, rows: Tensor) -> None:
        assert self._state is not None
        self._memory, self._state = select(self._memory, rows), select(self._state, rows)


@torch.inference_mode()
def draw(
    step: MemoryStep, memory: State, limits: Sequence[int], sampling: Sampling, rng: RowGenerators
) -> list[list[Hypothesis]]:
    """Translations drawn at random; one leaves the batch with its EOS, or at its limit.

    Args:
        step: one step of a model.
        memory: of N sentences.
        limits: maximum number of tokens of each translation, N of them.
        sampling: how to draw.
        rng: random numbers, for the samples of a sentence side by side.

    Returns:
        The samples of each sentence as they were drawn, with their log-probabilities under the model itself, whatever
        the sampling; the score is per token.
    """
    samples = len(rng) // max(1, len(limits))
    steps = _MemorySteps(step, repeat(memory, samples))
    limit = [length for length in limits for _ in range(samples)]
    device = first_tensor(memory).device
    sums = torch.zeros(len(limit), device=device)
    written: list[list[int]] = [[] for _ in limit]
    rows, staying = list(range(len(limit))), None
    drawing = stream(steps, torch.full((len(limit),), BOS, device=device), sampling, max(limits, default=0), rng)
    while rows:
        try:
            tokens = drawing.send(staying)
        except StopIteration:
            break
        drawn = torch.tensor(tokens, device=device)[:, None]
        sums[torch.tensor(rows, device=device)] += steps.log_probabilities.gather(1, drawn).squeeze(1)
        for row, token in zip(rows, tokens, strict=True):
            written[row].append(token)
        stay = [place for place, row in enumerate(rows) if tokens[place] != EOS and len(written[row]) < limit[row]]
        staying = None if len(stay) == len(rows) else stay
        rows = [rows[place] for place in stay]
    found = [
        Hypothesis([token for token in tokens if token != EOS], total / len(tokens), total, tokens[-1] == EOS)
        for tokens, total in zip(written, sums.tolist(), strict=True)
    ]
    return [found[first : first + samples] for first in range(0, len(found), samples)]
