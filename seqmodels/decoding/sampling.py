"""How the next token is drawn from logits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Which tokens may be drawn, and how boldly.

    Attributes:
        temperature: logits are divided by it; below 1 more predictable, above 1 more surprising, 0 the likeliest.
        top_k: only the k likeliest tokens (Fan et al. 2018); None for all.
        top_p: only the likeliest tokens that together have this probability (Holtzman et al. 2020); None for all.

    Raises:
        InputError: a value makes no sense.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature={self.temperature} was given; expected 0 (greedy) or above")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k={self.top_k} was given; expected at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top_p={self.top_p} was given; expected a probability above 0 and up to 1")

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """One token a row.

        Args:
            logits: (B, V).
            generator: source of chance, on the same device.

        Returns:
            int64 (B,).
        """
        if self.temperature == 0 or self.top_k == 1:
            return logits.argmax(-1)
        probabilities = self.probabilities(logits)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """What `draw` draws from, (B, V), for a temperature above 0."""
        logits = logits.float() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        probabilities = logits.softmax(-1)
        if self.top_p is not None and self.top_p < 1:
            descending, order = probabilities.sort(descending=True)
            # A token stays if those before it have not reached p: the likeliest always does.
            beyond = descending.cumsum(-1) - descending >= self.top_p
            probabilities = probabilities.masked_fill(beyond.gather(-1, order.argsort(-1)), 0.0)
        return probabilities
