"""What an `NGram` counts of the tokens that it has read itself: the n-grams among the last W tokens."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.batch import BOS

COMPARED = 1 << 21
"""Pairs of positions that are compared at a time."""
DENSE = 3
"""Matches of up to so many tokens are masks of all pairs of positions, and of more a list of pairs."""


class Matches(NamedTuple):
    """Pairs P of positions in a row: the tokens that end at `query` also end at `before`, (P,) each."""

    row: Tensor
    query: Tensor
    before: Tensor

    def where(self, kept: Tensor) -> "Matches":
        return Matches(*(tensor[kept] for tensor in self))


class CountsRead:
    """Counts of what was read, behind each new token.

    As in a training text: of the longest n-grams occurrences, of all others those whose next longer n-gram was new, so
    that they had another token before them than ever before.

    Args:
        read: tokens (B, W + T), negative where there is none, the last T of them new. Only n-grams whose tokens are all
            among the last W count.
        known: of the first W tokens the order of the longest n-gram that ends there and occurred before; 0 for none.
        trained: of the new tokens, (B, T), the order of the longest one that occurs in the training text.
        order: of the longest n-grams.
    """

    def __init__(self, read: Tensor, known: Tensor, trained: Tensor, order: int) -> None:
        self.read, self.order, (self.rows, self.new) = read, order, trained.shape
        self.W = read.shape[1] - self.new
        self.masks = self._masks()
        self.longer = list(self._longer())
        self.known = torch.cat([known, self._known(trained)], 1)
        """The same of all tokens, (B, W + T)."""

    def _masks(self) -> list[Tensor]:
        """Whether the last 1, ..., `DENSE` tokens at new positions and at those before are alike, (B, T, L - n + 1).

        The first n - 1 positions, which have too few tokens, are left out.
        """
        length = min(self.order, DENSE)
        first = self.W - length + 1
        read = self.read.to(torch.int16 if int(self.read.max()) < 1 << 15 else torch.int32)
        queries = read[:, first:]
        same = queries.masked_fill(queries < 0, -2).unsqueeze(2) == read.unsqueeze(1)
        same[..., first:].tril_(-1)
        masks = [same[:, length - 1 :]]
        for n in range(2, length + 1):
            masks.append(masks[-1][..., 1:] & same[:, length - n : same.shape[1] - n + 1, : 1 - n])
        return masks

    def _pairs(self, mask: Tensor, length: int, before: Tensor | None = None) -> Matches:
        """The pairs of a mask (B, T, C), whose last dimension are the positions `before`, by default the last ones."""
        row, query, place = mask.nonzero(as_tuple=True)
        place = place + self.read.shape[1] - mask.shape[2] if before is None else before[place]
        return self._inside(Matches(row, query + self.W, place), length)

    def _inside(self, pairs: Matches, length: int) -> Matches:
        return pairs.where(pairs.before - length + 1 > pairs.query - self.W)

    def _longer(self) -> Iterator[Matches]:
        """Matches of `DENSE` tokens, and of more."""
        if self.order < DENSE:
            return
        pairs = self._pairs(self.masks[-1], DENSE)
        for length in range(DENSE, self.order + 1):
            yield pairs
            pairs = self._inside(pairs, length + 1)
            a, b = (self.read[pairs.row, end - length] for end in pairs[1:])
            pairs = pairs.where((a == b) & (a >= 0))

    def _known(self, trained: Tensor) -> Tensor:
        known = trained.clone()
        for length, mask in enumerate(self.masks, 1):
            few = (trained < length).any(0).nonzero().squeeze(1)
            pairs = self._pairs(mask[:, few], length)
            token = pairs.row, few[pairs.query - self.W]
            known[token] = known[token].clamp(min=length)
        for length, pairs in enumerate(self.longer, DENSE):
            token = pairs.row, pairs.query - self.W
            known[token] = known[token].clamp(min=length)
        return known

    def places(self, vocab_size: int) -> Iterator[Tensor]:
        """For orders from 1 on, places in a flat table (B * T, V) that may repeat, each of which counts 1."""
        for order in range(1, self.order + 1):
            counts = self._counts(order)[:, 1:]
            if order > DENSE:
                pairs = self.longer[order - 1 - DENSE]
                pairs = pairs.where(counts[pairs.row, pairs.before])
            else:
                few = counts[:, max(0, order - 2) :].any(0).nonzero().squeeze(1)
                before = few + max(0, order - 2)
                if order > 1:
                    mask = self.masks[order - 2][..., few]
                else:
                    mask = before < torch.arange(self.W, self.read.shape[1], device=before.device).unsqueeze(1)
                pairs = self._pairs(mask & counts[:, None, before], order - 1, before)
            token = self.read[pairs.row, pairs.before + 1]
            yield (pairs.row * self.new + pairs.query - self.W) * vocab_size + token

    def _counts(self, order: int) -> Tensor:
        """Which tokens count as the last of an n-gram, (B, L)."""
        predicted = self.read > BOS
        return predicted if order == self.order else predicted & (self.known <= order)
