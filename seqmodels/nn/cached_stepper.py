"""A Transformer that reads one token after another, its keys and values in a cache with room for more."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotary_angles, rotate
from seqmodels.nn.feed_forward import FeedForward
from seqmodels.nn.key_cache import KeyCache, RecordableKeyCache
from seqmodels.nn.stepper import Stepper
from seqmodels.state import State

if TYPE_CHECKING:
    from seqmodels.nn.prenorm import Block, PreNormStack

Function = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """The parts of a block, found once and not at each step."""

    norm_mixer: Function
    project: Function
    add_out: Callable[[Tensor, Tensor], Tensor]
    norm_feed_forward: Function
    inside: Function
    add_down: Callable[[Tensor, Tensor], Tensor]


def _layer(block: "Block") -> _Layer:
    mixer, feed_forward = cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)
    return _Layer(
        block.norm_mixer.forward, mixer.project.forward, _adding(mixer.out),
        block.norm_feed_forward.forward, feed_forward.inside, _adding(feed_forward.out),
    )  # fmt: skip


def _adding(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """`x + layer(y)`, by one call where the layer is a plain product."""
    if type(layer) is not nn.Linear:
        return lambda x, y: x + layer(y)
    weight = layer.weight.mT
    return lambda x, y: torch.addmm(x, y, weight)


class CachedStepper(Stepper):
    """A stack of attention layers without a memory, all of whose rows have read as much and no padding.

    It computes what the stack computes with the fewest calls: sums with the residual stream are a part of the products
    before them, and a key is written to where it will be read.

    Args:
        stack: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step.
        recordable: whether its steps are to be recordable; each of them takes longer by itself.
    """

    def __init__(self, stack: "PreNormStack", inputs: Tensor, state: State, recordable: bool = False) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs, self.recordable = stack, inputs, recordable
        self._layers = [_layer(cast("Block", block)) for block in stack.blocks]
        self._heads, self._kv_heads = stack.heads
        layers = [torch.cat(cache, 1) for cache in caches]
        self._head_size = layers[0].shape[3]
        self._cache = (RecordableKeyCache if recordable else KeyCache)(layers, stack.context)
        self._seen = int(seen[0])  # counted by `prepare`
        self._first = 0  # position of the first key that the cache has got since it last grew
        self._at: int | Tensor = 0  # how far the step is from there, on the device where that is recorded
        self._rotation = inputs.new_empty(2, 0, 0)  # cosine and sine at positions from `_first` on

    def prepare(self) -> bool:
        """See `Stepper`."""
        moved = self._cache.take_place()
        if moved:
            self._first = self._seen
            self._at = torch.tensor([-1], device=self._inputs.device) if self.recordable else -1
            if self._stack.position is None:
                positions = torch.arange(self._seen, self._seen + self._cache.room, device=self._inputs.device)
                angles = rotary_angles(positions[None], self._head_size)[0, 0]  # (room, D / 2H)
                self._rotation = torch.stack((angles.cos(), angles.sin())).to(self._inputs.dtype)
        self._seen += 1
        return moved

    def step(self, tokens: Tensor) -> Tensor:
        """See `Stepper`."""
        self._at += 1
        self._cache.begin()
        x = self._inputs[tokens]
        if self._stack.position is not None:
            x = x + self._stack.position.weight[self._first + self._at]
        for number, layer in enumerate(self._layers):
            heads = layer.project(layer.norm_mixer(x)).view(len(x), -1, self._head_size)
            if self._stack.position is None:
                turned = heads[:, : self._heads + self._kv_heads]
                turned.copy_(rotate(turned, *self._rotation[:, self._at]))
            self._cache.write(number, heads[:, self._heads :])
            y = attend(heads[:, : self._heads].unsqueeze(2), *self._cache.shown(number))
            x = layer.add_out(x, y.reshape(x.shape))
            x = layer.add_down(x, layer.inside(layer.norm_feed_forward(x)))
        return cast(Tensor, self._stack.norm(x))

    def select(self, rows: Tensor) -> None:
        """See `Stepper`."""
        self._cache.select(rows)
