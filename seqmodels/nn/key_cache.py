"""Keys and values of attention layers that read one position after another, with room for more of them."""

import torch
from torch import Tensor

ROOM = 128
"""Positions by which a cache grows."""


class KeyCache:
    """Keys and values in one tensor a layer, (B, 2 kv heads, S, D / H), S places of which some are taken.

    All rows have read as much, and no padding.

    Args:
        layers: what there is at the start, keys and then values, all places taken.
        context: how many positions are seen at most, the last one included.
    """

    def __init__(self, layers: list[Tensor], context: int) -> None:
        self._layers, self._context, self._taken = layers, context, layers[0].shape[2]
        self.room = 0
        """For how many positions there was room when all last moved."""

    def take_place(self) -> bool:
        """Of the next position; returns whether all have moved, since there was none left."""
        moved = self._taken == self._layers[0].shape[2]
        if moved:
            kept = min(self._taken, self._context - 1)  # nobody will see the others
            self.room = self._more(kept)
            for number, layer in enumerate(self._layers):
                B, heads, _, size = layer.shape
                larger = layer.new_zeros(B, heads, kept + self.room, size)
                larger[:, :, :kept] = layer[:, :, self._taken - kept : self._taken]
                self._layers[number] = larger
            self._taken = kept
        self._taken += 1
        return moved

    def _more(self, kept: int) -> int:
        return ROOM

    def begin(self) -> None:
        """A step, in which each layer writes once and looks once."""

    def write(self, layer: int, heads: Tensor) -> None:
        """Keys and values of the next position, (B, 2 kv heads, D / H)."""
        self._layers[layer][:, :, self._taken - 1] = heads

    def shown(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B, kv heads, S, D / H), and which of them are seen; None for all."""
        places = slice(max(0, self._taken - self._context), self._taken)
        k, v = self._layers[layer][:, :, places].chunk(2, 1)
        return k, v, None

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        self._layers = [layer.index_select(0, rows) for layer in self._layers]


class RecordableKeyCache(KeyCache):
    """The same by kernels that do not depend on how many places are taken: a tensor on the device knows it.

    All places are looked at, with a mask. It grows to twice its size, so that there is less to be recorded anew.
    """

    def take_place(self) -> bool:
        """See `KeyCache`."""
        moved = super().take_place()
        if moved:
            self._places = torch.arange(self._layers[0].shape[2], device=self._layers[0].device)
            self._next = self._places.new_tensor([self._taken - 2])
        return moved

    def _more(self, kept: int) -> int:
        return max(ROOM, kept)

    def begin(self) -> None:
        """See `KeyCache`."""
        self._next += 1
        places = self._places[None]  # (1, S), as a mask for the one query of each row
        self._seen = (places <= self._next) & (places > self._next - self._context)

    def write(self, layer: int, heads: Tensor) -> None:
        """See `KeyCache`."""
        self._layers[layer].index_copy_(2, self._next, heads.unsqueeze(2))

    def shown(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """See `KeyCache`."""
        k, v = self._layers[layer].chunk(2, 1)
        return k, v, self._seen
