"""A Transformer that reads one token after another, its keys and values in a cache with room for more."""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotary_angles
from seqmodels.nn.feed_forward import FeedForward
from seqmodels.nn.stepper import Stepper
from seqmodels.state import State

if TYPE_CHECKING:
    from seqmodels.nn.prenorm import Block, PreNormStack

ROOM = 128
"""Positions by which a cache grows."""


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
        seen, _, layers = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs = stack, inputs
        self._blocks = cast(list["Block"], list(stack.blocks))
        self._seen = int(seen[0])
        self._count = layers[0][0].shape[2]  # of the keys there are
        self._caches = [torch.cat(layer, 1) for layer in layers]  # (B, 2 kv heads, S, D / H): keys, then values
        self._turns = inputs.new_empty(0, 2, 0)  # cosine and sine of the next positions

    def __call__(self, tokens: Tensor) -> Tensor:
        """See `Stepper`."""
        x = self._inputs[tokens]
        if self._stack.position is not None:
            x = x + self._stack.position.weight[self._seen]
        if self._count == self._caches[0].shape[2]:
            self._make_room(x)
        end = self._count + 1
        shown = slice(max(0, end - self._stack.context), end)
        for block, cache in zip(self._blocks, self._caches, strict=True):
            mixer, feed_forward = cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)
            queries, keys, _ = mixer.heads
            heads = mixer.project(block.norm_mixer.forward(x)).view(len(x), -1, mixer.head_size)
            if self._stack.position is None:
                self._turn(heads[:, : queries + keys])
            cache[:, :, self._count] = heads[:, queries:]
            k, v = cache[:, :, shown].chunk(2, 1)
            y = attend(heads[:, :queries].unsqueeze(2), k, v, None)
            x = torch.addmm(x, y.reshape(x.shape), mixer.out.weight.mT)
            inside = feed_forward.inside(block.norm_feed_forward.forward(x))
            x = torch.addmm(x, inside, feed_forward.out.weight.mT)
        self._count, self._seen = end, self._seen + 1
        return cast(Tensor, self._stack.norm(x))

    def _turn(self, heads: Tensor) -> None:
        """Turn pairs of features in place, as `rotate` does."""
        cos, sin = self._turns[self._seen - self._first]
        pairs = heads.view(*heads.shape[:2], 2, -1)
        pairs.copy_(torch.addcmul(pairs * cos, pairs.flip(2), sin))

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
            positions = torch.arange(self._seen, self._seen + ROOM, device=x.device)[None]
            angles = rotary_angles(positions, self._caches[0].shape[3])[0, 0].unsqueeze(1)  # (ROOM, 1, D / 2H)
            sin = angles.sin()
            cosines, sines = angles.cos().expand(-1, 2, -1), torch.cat((-sin, sin), 1)
            self._turns = torch.stack((cosines, sines), 1).to(x.dtype)  # (ROOM, 2, 2, D / 2H)
            self._first = self._seen

    def select(self, rows: Tensor) -> None:
        """See `Stepper`."""
        self._caches = [cache.index_select(0, rows) for cache in self._caches]
