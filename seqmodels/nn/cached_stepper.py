"""A Transformer that reads one token after another, its keys and values in a cache with room for more."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotary_angles, rotate
from seqmodels.nn.feed_forward import FeedForward
from seqmodels.nn.stepper import Stepper
from seqmodels.state import State

if TYPE_CHECKING:
    from seqmodels.nn.prenorm import Block, PreNormStack

ROOM = 128
"""Positions by which a cache grows."""

Function = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """The parts of a block, found once and not at each step."""

    norm_mixer: Function
    project: Function
    out: Tensor
    norm_feed_forward: Function
    inside: Function
    down: Tensor


def _layer(block: "Block") -> _Layer:
    mixer, feed_forward = cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)
    return _Layer(
        block.norm_mixer.forward, mixer.project.forward, mixer.out.weight.mT,
        block.norm_feed_forward.forward, feed_forward.inside, feed_forward.out.weight.mT,
    )  # fmt: skip


class CachedStepper(Stepper):
    """A stack of attention layers without a memory, all of whose rows have read as much and no padding.

    It computes what the stack computes with the fewest calls: sums with the residual stream are a part of the products
    before them, and a key is written to where it will be read.

    Args:
        stack: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step.
    """

    def __init__(self, stack: "PreNormStack", inputs: Tensor, state: State) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs = stack, inputs
        self._layers = [_layer(cast("Block", block)) for block in stack.blocks]
        self._heads, self._kv_heads = stack.heads
        self._seen = self._first = int(seen[0])
        self._count = caches[0][0].shape[2]  # of the keys there are
        self._caches = [torch.cat(cache, 1) for cache in caches]  # (B, 2 kv heads, S, D / H): keys, then values
        self._rotation = inputs.new_empty(2, 0, 0)  # cosine and sine at positions from `_first` on

    def __call__(self, tokens: Tensor) -> Tensor:
        """See `Stepper`."""
        x = self._inputs[tokens]
        if self._stack.position is not None:
            x = x + self._stack.position.weight[self._seen]
        if self._count == self._caches[0].shape[2]:
            self._make_room(x)
        end = self._count + 1
        shown = slice(max(0, end - self._stack.context), end)
        for layer, cache in zip(self._layers, self._caches, strict=True):
            heads = layer.project(layer.norm_mixer(x)).view(len(x), -1, cache.shape[3])
            if self._stack.position is None:
                turned = heads[:, : self._heads + self._kv_heads]
                turned.copy_(rotate(turned, *self._rotation[:, self._seen - self._first]))
            cache[:, :, self._count] = heads[:, self._heads :]
            k, v = cache[:, :, shown].chunk(2, 1)
            y = attend(heads[:, : self._heads].unsqueeze(2), k, v, None)
            x = torch.addmm(x, y.reshape(x.shape), layer.out)
            x = torch.addmm(x, layer.inside(layer.norm_feed_forward(x)), layer.down)
        self._count, self._seen = end, self._seen + 1
        return cast(Tensor, self._stack.norm(x))

    def _make_room(self, x: Tensor) -> None:
        """Positions for more keys, without those that nobody will see."""
        kept = self._count if self._stack.max_length else min(self._count, self._stack.context - 1)
        for number, cache in enumerate(self._caches):
            B, heads, _, size = cache.shape
            larger = x.new_empty(B, heads, kept + ROOM, size)
            larger[:, :, :kept] = cache[:, :, self._count - kept :]
            self._caches[number] = larger
        self._count = kept
        if self._stack.position is None:
            self._first = self._seen
            positions = torch.arange(self._seen, self._seen + ROOM, device=x.device)
            angles = rotary_angles(positions[None], self._caches[0].shape[3])[0, 0]  # (ROOM, D / 2H)
            self._rotation = torch.stack((angles.cos(), angles.sin())).to(x.dtype)

    def select(self, rows: Tensor) -> None:
        """See `Stepper`."""
        self._caches = [cache.index_select(0, rows) for cache in self._caches]
