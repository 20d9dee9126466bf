"""Sentences as token ids: one side of a parallel text, all sentences one after the other in a memory-mapped column."""

from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.batch import PAD

LAYOUT = 1
"""Changes when the same text and tokenizer make another column: nothing stale is found in the cache."""


class Sentences(NamedTuple):
    """Token ids of N sentences."""

    column: Tensor
    """All of them, one after the other."""
    ends: Tensor
    """Where each ends, int64 (N,); the first begins at 0, every other where the one before ends."""

    @property
    def lengths(self) -> Tensor:
        """Tokens of each sentence, int64 (N,)."""
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def padded(self, rows: Tensor) -> Tensor:
        """Some sentences side by side, padded on the right, int64 (B, width of the longest).

        Args:
            rows: which, int64 (B,).
        """
        lengths = self.lengths[rows]
        places = torch.arange(int(lengths.max()))
        inside = places < lengths[:, None]
        tokens = self.column[((self.ends[rows] - lengths)[:, None] + places).clamp(max=len(self.column) - 1)]
        return torch.where(inside, tokens.long(), PAD)
