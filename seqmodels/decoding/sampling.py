"""Drawing the next token from logits, by temperature, top-k, top-p, min-p, penalties, biases and random numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from seqmodels.environment import wide, widest
from seqmodels.errors import InputError

MOST_BIAS = 1e9
"""Largest number that may be added to a logit: far beyond any logit, and far from overflow in single precision."""
AHEAD = 256
"""Random numbers generated at a time for each row."""


@dataclass(frozen=True, repr=False)
class Sampling:
    """How a token is drawn.

    Settings apply in the order of `transformers`: logit bias, repetition penalty, temperature, top-k, top-p, min-p,
    with probabilities normalized after each. Temperature 0 is greedy: the likeliest token after bias and penalty.

    Attributes:
        temperature: logits are divided by it; below 1 more predictable, above 1 more surprising, 0 the likeliest.
        top_k: only the k likeliest tokens (Fan et al. 2018); None for all.
        top_p: only the likeliest tokens that together have this probability (Holtzman et al. 2020); None for all.
        min_p: only tokens at least this fraction as likely as the likeliest (Nguyen et al. 2024); None for all.
        repetition_penalty: logits of tokens that the text already has, the prompt included, are divided by it where
            positive and multiplied by it where negative (Keskar et al. 2019); 1 changes nothing.
        logit_bias: token id to a number added to its logit; -100 practically forbids a token.

    Raises:
        InputError: a value makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        usual = Sampling.__dataclass_fields__
        own = {name: value for name, value in vars(self).items() if value not in (usual[name].default, {})}
        return f"Sampling({', '.join(f'{name}={value}' for name, value in own.items())})"

    def __post_init__(self) -> None:
        temperature, penalty = self.temperature, self.repetition_penalty
        for name, valid, expected in (
            ("temperature", temperature == 0 or 1e-6 <= temperature < math.inf, "0 (greedy), or from 1e-6 up"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "a probability above 0 and up to 1"),
            ("min_p", self.min_p is None or 0 < self.min_p <= 1, "a fraction above 0 and up to 1"),
            ("repetition_penalty", 0 < penalty < math.inf, "above 0, such as 1.2 (1 for none)"),
        ):
            if not valid:
                raise InputError(f"{name}={getattr(self, name)} was given; expected {expected}")
        for token, number in self.logit_bias.items():
            if token < 0 or not -MOST_BIAS <= number <= MOST_BIAS:
                expected = f"token ids from 0 and numbers between {-MOST_BIAS:g} and {MOST_BIAS:g}"
                raise InputError(f"logit_bias={{{token}: {number}}} was given; expected {expected}")

    def draw(self, logits: Tensor, numbers: Tensor, seen: Tensor | None = None) -> Tensor:
        """One token a row.

        Args:
            logits: (B, V).
            numbers: uniform random numbers in [0, 1), (B,); a row's token follows from its number and logits alone.
            seen: True at tokens that a row already has, bool (B, V), for the repetition penalty; None for none.

        Returns:
            int64 (B,).

        Raises:
            InputError: the logits are not numbers, or the bias is of a token beyond them.
        """
        if self.temperature == 0 or self.top_k == 1:
            best = self.adjusted(logits, seen).max(-1)
            check_finite(best.values)
            return best.indices
        # The token at which the summed probabilities pass the row's number; below 1, it stays below the total.
        cumulative = wide(self.probabilities(logits, seen)).cumsum(-1)
        total = cumulative[:, -1:]
        check_finite(total)
        numbers = numbers.to(total).clamp(
            max=1 - torch.finfo(total.dtype).eps / 2
        )  # in single precision they round to 1
        return torch.searchsorted(cumulative, numbers[:, None] * total, right=True).squeeze(-1)

    def adjusted(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """Logits after bias and repetition penalty, (B, V), in single precision at least."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.logit_bias:
            if (last := max(self.logit_bias)) >= logits.shape[-1]:
                raise InputError(f"logit_bias is of token {last}; expected ids below {logits.shape[-1]}")
            tokens = torch.tensor(list(self.logit_bias), device=logits.device)
            logits = logits.index_add(
                -1, tokens, logits.new_tensor([[*self.logit_bias.values()]]).expand(len(logits), -1)
            )
        if self.repetition_penalty != 1 and seen is not None:
            penalty = self.repetition_penalty
            logits = torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
        return logits

    def probabilities(self, logits: Tensor, seen: Tensor | None = None) -> Tensor:
        """The distribution (B, V) that `draw` samples, for temperatures above 0; arguments as there."""
        logits = self.adjusted(logits, seen)
        if self.temperature != 1:
            logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            descending, order = probabilities.sort(descending=True)
            # A token stays if those before it have not reached p, up to rounding: the likeliest always does.
            before = wide(descending).cumsum(-1).roll(1, -1)
            before[:, 0] = -1
            beyond = before >= self.top_p * (1 - 1e-6)
            probabilities = probabilities.masked_fill(beyond.gather(-1, order.argsort(-1)), 0.0)
        if self.min_p is not None:
            likeliest = probabilities.amax(-1, keepdim=True)
            probabilities = probabilities.masked_fill(probabilities < self.min_p * likeliest, 0.0)
        if self.top_p is not None or self.min_p is not None:
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        return probabilities


def check_finite(figures: Tensor) -> None:
    """Refuse figures by which no token can be chosen.

    Raises:
        InputError: a figure is not finite.
    """
    if not math.isfinite(figures.sum()):  # one number, so that a GPU is waited for once
        diverged = "no token can be drawn, the logits are not finite numbers: the model has diverged"
        raise InputError(f"{diverged}; take an earlier checkpoint, or train with a lower learning rate")


class RowGenerators:
    """Uniform random numbers in [0, 1), one for each row at a time.

    The numbers of a row follow from the random seed and the row's key alone, whatever the other rows and the device.

    Args:
        seed: random seed; None for an unpredictable one.
        keys: B distinct tuples of non-negative integers.
        device: device of the returned numbers.

    Raises:
        InputError: the seed is negative.
    """

    def __init__(self, seed: int | None, keys: Sequence[tuple[int, ...]], device: torch.device | str = "cpu") -> None:
        if seed is not None and seed < 0:
            raise InputError(f"seed={seed} was given; expected a whole number from 0")
        entropy = np.random.SeedSequence(seed).entropy
        self._rows = [np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=key)) for key in keys]
        self._device, self._place = device, AHEAD

    def __len__(self) -> int:
        return len(self._rows)

    def next(self) -> Tensor:
        """The next number of every row, float64 (B,); float32 on devices that have nothing wider."""
        if self._place == AHEAD:
            numbers = np.array([row.random(AHEAD) for row in self._rows])
            self._block, self._place = (
                torch.from_numpy(numbers).to(widest(torch.device(self._device))).to(self._device),
                0,
            )
        self._place += 1
        return self._block[:, self._place - 1]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in the order given, each at most once."""
        self._rows = [self._rows[row] for row in rows]
        if self._place < AHEAD:
            self._block = self._block[list(rows)]
