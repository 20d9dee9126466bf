"""Figures of language models: exact sums, divided once at the end.

Batches and ranks may be unequal; since only sums are added up, the figures are those of the text as a whole. Bits per
byte compare models of different vocabularies, nats per token do not.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seqmodels.batch import IGNORE


def summed_nats(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the targets that count, in nats, and how many those are.

    Args:
        logits: (B, T, V), of any floating type; the logarithms are taken in at least single precision.
        targets: int64 (B, T), IGNORE where nothing is scored.
    """
    logits = logits.flatten(0, 1)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    nats = F.cross_entropy(logits, targets.reshape(-1), ignore_index=IGNORE, reduction="sum")
    return nats, (targets != IGNORE).sum()


def smoothed_nats(logits: Tensor, targets: Tensor, share: float) -> Tensor:
    """Cross-entropy with smoothed labels, summed as in `summed_nats` (Szegedy et al. 2016).

    Args:
        logits: (B, T, V).
        targets: int64 (B, T), IGNORE where nothing is scored.
        share: of the probability that is spread over all V tokens; the target has the rest.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(
        logits.flatten(0, 1), targets.reshape(-1), ignore_index=IGNORE, reduction="sum", label_smoothing=share
    )


class TextMetrics(Metric):
    """Nats per token, perplexity, bits per character and bits per byte over a whole text.

    Args:
        sizes: characters and bytes of each token, int64 (2, V), as `Tokenizer.sizes`.
    """

    full_state_update = False
    nats: Tensor
    tokens: Tensor
    extent: Tensor
    sizes: Tensor

    def __init__(self, sizes: Tensor) -> None:
        super().__init__()
        self.register_buffer("sizes", sizes, persistent=False)
        self.add_state("nats", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("extent", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")  # characters, bytes

    def update(self, nats: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            nats: summed cross-entropy of the batch.
            targets: int64 (B, T), IGNORE where nothing was scored.
        """
        scored = targets[targets != IGNORE]
        self.nats = self.nats.double() + nats  # also where the whole model was made half precision
        self.tokens += scored.numel()
        self.extent += self.sizes[:, scored].sum(1)

    def compute(self) -> dict[str, Tensor]:
        """The figures by name; infinite where there is nothing to divide by."""
        bits = self.nats / math.log(2)
        return {
            "nats_per_token": self.nats / self.tokens,
            "perplexity": (self.nats / self.tokens).exp(),
            "bits_per_character": bits / self.extent[0],
            "bits_per_byte": bits / self.extent[1],
        }
