"""Caches of keys and values that are written in place, for generation."""

import torch
from torch import Tensor

CACHE_GROWTH = 128
"""Positions by which a cache grows."""


class KeyCache:
    """Keys and values in one preallocated tensor per layer, (B, 2 kv heads, S, D / H).

    All rows have read the same number of positions, without padding. `layers` are the keys and values at the start,
    without free slots; `context` is the number of positions that are seen, the current one included.
    """

    def __init__(self, layers: list[Tensor], context: int) -> None:
        self.layers, self._context = layers, context
        self.taken = layers[0].shape[2]
        """Number of slots that are taken, the current position's included."""
        self.room = 0
        """Number of free slots after the last reallocation."""

    def reserve(self) -> bool:
        """Reserve a slot for the next position; returns whether the cache was reallocated."""
        moved = self.taken == self.layers[0].shape[2]
        if moved:
            kept = min(self.taken, self._context - 1)  # others are out of sight
            self.room = self._more(kept)
            for number, layer in enumerate(self.layers):
                B, heads, _, size = layer.shape
                larger = layer.new_zeros(B, heads, kept + self.room, size)
                larger[:, :, :kept] = layer[:, :, self.taken - kept : self.taken]
                self.layers[number] = larger
            self.taken = kept
        self.taken += 1
        return moved

    def _more(self, kept: int) -> int:
        return CACHE_GROWTH

    def begin(self) -> None:
        """Start a step, in which each layer writes once and reads once."""

    def write(self, layer: int, heads: Tensor) -> None:
        """Keys and values of the next position, (B, 2 kv heads, D / H)."""
        self.layers[layer][:, :, self.taken - 1] = heads

    def visible(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B, kv heads, S, D / H), and the mask of visible ones; None for all."""
        slots = slice(max(0, self.taken - self._context), self.taken)
        k, v = self.layers[layer][:, :, slots].chunk(2, 1)
        return k, v, None

    def distance(self) -> Tensor:
        """Number of positions from the keys of `visible` to the current one, (1, S)."""
        return torch.arange(min(self.taken, self._context) - 1, -1, -1, device=self.layers[0].device)[None]

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self.layers = [layer.index_select(0, rows) for layer in self.layers]


class RecordableKeyCache(KeyCache):
    """A cache whose kernels do not depend on the number of taken slots, which is a tensor on the device.

    Attention covers all slots, with a mask. The cache doubles its size when full, so that few steps are recorded again.
    """

    def reserve(self) -> bool:
        moved = super().reserve()
        if moved:
            self._slots = torch.arange(self.layers[0].shape[2], device=self.layers[0].device)
            self._next = self._slots.new_tensor([self.taken - 2])
        return moved

    def _more(self, kept: int) -> int:
        return max(CACHE_GROWTH, kept)

    def begin(self) -> None:
        self._next += 1
        slots = self._slots[None]  # (1, S), as a mask for the one query of each row
        self._seen = (slots <= self._next) & (slots > self._next - self._context)

    def write(self, layer: int, heads: Tensor) -> None:
        self.layers[layer].index_copy_(2, self._next, heads.unsqueeze(2))

    def visible(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        k, v = self.layers[layer].chunk(2, 1)
        return k, v, self._seen

    def distance(self) -> Tensor:
        return self._next[None] - self._slots
