"""In-place implementations of `y, state = network(x, state)` for generation, one token at a time.

A network is a function: the state before a step survives it, so a step copies a cache that has grown. Generation needs
the last state only, which a stepper updates in place. Its class follows from the type of the network.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotary_angles, rotate
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.block import Block, FeedForward
from seqmodels.nn.cell import CellState
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.transformer import PreNormStack
from seqmodels.state import State, select


class Stepper:
    """Any network in evaluation mode, by its own `forward`, one token per row and step.

    `inputs` is the embedding of each token, (V, D); `state` the one before the first step, or None at the start.
    """

    recordable = False
    """Whether all calls of `step` run the same kernels on the same memory until `prepare` returns True."""

    def __init__(self, network: Backbone, inputs: Tensor, state: State | None) -> None:
        self._network, self._inputs, self._state = network, inputs, state

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read the next token of each row, (B,); returns the outputs after it, (B, output_size)."""
        self.prepare()
        return self.step(tokens)

    def prepare(self) -> bool:
        """The part of a step that cannot be recorded; returns whether the next `step` works on other memory."""
        return False

    def step(self, tokens: Tensor) -> Tensor:
        """See `__call__`, which is `prepare` and `step`."""
        y, self._state = self._network(self._inputs[tokens].unsqueeze(1), self._state)
        return cast(Tensor, y.squeeze(1))

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        if self._state is not None:
            self._state = select(self._state, rows)


TABLE_SIZE = 2**21
"""Maximum number of elements of a table with `Cell.project` of each token."""


class RecurrentStepper(Stepper):
    """A stack of recurrent layers.

    `Cell.project` of the first layer needs no state: for a small vocabulary it is computed once for all tokens.
    """

    def __init__(self, stack: RecurrentStack, inputs: Tensor, state: State) -> None:
        self._cells = stack.cells
        self.recordable = inputs.is_cuda
        self._states = list(cast(tuple[CellState, ...], state))
        if self.recordable:
            self._states = [tuple(tensor.clone() for tensor in layer) for layer in self._states]
        self._weights = [tuple(column_major(weight) for weight in cell.weights()) for cell in self._cells]
        few = len(inputs) * 4 * stack.output_size <= TABLE_SIZE
        self._inputs, self._are_projected = (self._cells[0].project(inputs), True) if few else (inputs, False)

    def step(self, tokens: Tensor) -> Tensor:
        x = self._inputs[tokens]
        for number, (cell, weights) in enumerate(zip(self._cells, self._weights, strict=True)):
            projected = x if number == 0 and self._are_projected else cell.project(x)
            following = cell.advance(projected, self._states[number], weights)
            if self.recordable:
                for kept, tensor in zip(self._states[number], following, strict=True):
                    kept.copy_(tensor)
            else:
                self._states[number] = following
            x = following[0]
        return x

    def select(self, rows: Tensor) -> None:
        self._states = [cast(CellState, select(state, rows)) for state in self._states]


def column_major(weight: Tensor) -> Tensor:
    """The same matrix in column-major order, which makes products with a few rows faster."""
    return weight.mT.contiguous().mT if weight.ndim == 2 else weight


CACHE_GROWTH = 128
"""Positions by which a cache grows."""


class KeyCache:
    """Keys and values in one preallocated tensor per layer, (B, 2 kv heads, S, D / H).

    All rows have read the same number of positions, without padding. `layers` are the keys and values at the start,
    without free slots; `context` is the number of positions that are seen, the current one included.
    """

    def __init__(self, layers: list[Tensor], context: int) -> None:
        self._layers, self._context, self._taken = layers, context, layers[0].shape[2]
        self.room = 0
        """Number of free slots after the last reallocation."""

    def reserve(self) -> bool:
        """Reserve a slot for the next position; returns whether the cache was reallocated."""
        moved = self._taken == self._layers[0].shape[2]
        if moved:
            kept = min(self._taken, self._context - 1)  # others are out of sight
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
        return CACHE_GROWTH

    def begin(self) -> None:
        """Start a step, in which each layer writes once and reads once."""

    def write(self, layer: int, heads: Tensor) -> None:
        """Keys and values of the next position, (B, 2 kv heads, D / H)."""
        self._layers[layer][:, :, self._taken - 1] = heads

    def visible(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B, kv heads, S, D / H), and the mask of visible ones; None for all."""
        slots = slice(max(0, self._taken - self._context), self._taken)
        k, v = self._layers[layer][:, :, slots].chunk(2, 1)
        return k, v, None

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self._layers = [layer.index_select(0, rows) for layer in self._layers]


class RecordableKeyCache(KeyCache):
    """A cache whose kernels do not depend on the number of taken slots, which is a tensor on the device.

    Attention covers all slots, with a mask. The cache doubles its size when full, so that few steps are recorded again.
    """

    def reserve(self) -> bool:
        moved = super().reserve()
        if moved:
            self._slots = torch.arange(self._layers[0].shape[2], device=self._layers[0].device)
            self._next = self._slots.new_tensor([self._taken - 2])
        return moved

    def _more(self, kept: int) -> int:
        return max(CACHE_GROWTH, kept)

    def begin(self) -> None:
        self._next += 1
        slots = self._slots[None]  # (1, S), as a mask for the one query of each row
        self._seen = (slots <= self._next) & (slots > self._next - self._context)

    def write(self, layer: int, heads: Tensor) -> None:
        self._layers[layer].index_copy_(2, self._next, heads.unsqueeze(2))

    def visible(self, layer: int) -> tuple[Tensor, Tensor, Tensor | None]:
        k, v = self._layers[layer].chunk(2, 1)
        return k, v, self._seen


def _parts(block: Block) -> tuple[Callable[..., Tensor], ...]:
    """The functions of a block in the order of their calls, looked up once rather than at each step."""
    mixer, feed_forward = cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)
    return (
        block.norm_mixer.forward, mixer.project.forward, _adding(mixer.out),
        block.norm_feed_forward.forward, feed_forward.inside, _adding(feed_forward.out),
    )  # fmt: skip


def _adding(layer: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """`x + layer(y)`, in one call for a plain linear layer."""
    if type(layer) is not nn.Linear:
        return lambda x, y: x + layer(y)
    weight = layer.weight.mT
    return lambda x, y: torch.addmm(x, y, weight)


class CachedStepper(Stepper):
    """A stack of attention layers without a memory, whose rows have all read the same number of positions, unpadded.

    It computes the same as the stack with the fewest kernel calls: residual sums are part of the matrix products before
    them, and keys are written into a preallocated cache. If `recordable`, steps can be recorded as a CUDA graph; a
    single step takes longer. Other arguments are as of `Stepper`.
    """

    def __init__(self, stack: PreNormStack, inputs: Tensor, state: State, recordable: bool = False) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs, self.recordable = stack, inputs, recordable
        self._layers = [_parts(cast(Block, block)) for block in stack.blocks]
        self._heads, self._kv_heads = stack.heads
        layers = [torch.cat(cache, 1) for cache in caches]
        self._head_size = layers[0].shape[3]
        self._cache = (RecordableKeyCache if recordable else KeyCache)(layers, stack.context)
        self._seen = int(seen[0])  # counted by `prepare`
        self._first = 0  # position of the first key since the cache last grew
        self._at: int | Tensor = 0  # offset of the current position from `_first`, on the device if recordable
        self._rotation = inputs.new_empty(2, 0, 0)  # cosine and sine at positions from `_first` on

    def prepare(self) -> bool:
        moved = self._cache.reserve()
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
        self._at += 1
        self._cache.begin()
        x = self._inputs[tokens]
        if self._stack.position is not None:
            x = x + self._stack.position.weight[self._first + self._at]
        for number, (norm_mixer, project, add_out, norm_feed_forward, inside, add_down) in enumerate(self._layers):
            heads = project(norm_mixer(x)).view(len(x), -1, self._head_size)
            if self._stack.position is None:
                turned = heads[:, : self._heads + self._kv_heads]
                turned.copy_(rotate(turned, *self._rotation[:, self._at]))
            self._cache.write(number, heads[:, self._heads :])
            y = attend(heads[:, : self._heads].unsqueeze(2), *self._cache.visible(number))
            x = add_out(x, y.reshape(x.shape))
            x = add_down(x, inside(norm_feed_forward(x)))
        return cast(Tensor, self._stack.norm(x))

    def select(self, rows: Tensor) -> None:
        self._cache.select(rows)


@singledispatch
def make_stepper(network: Backbone, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    """The stepper for a network, by the type of the network; by default `Stepper`, with its arguments.

    The given state is not changed; `rows` is the number of rows B.
    """
    return Stepper(network, inputs, state)


@make_stepper.register
def _(network: RecurrentStack, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    return RecurrentStepper(network, inputs, network.initial_state(rows) if state is None else state)


@make_stepper.register
def _(network: PreNormStack, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    start = network.initial_state(rows) if state is None else state
    attention = all(isinstance(block.mixer, SelfAttention) and block.cross is None for block in network.blocks)
    padded, mixed = isinstance(start[1], Tensor), torch.is_autocast_enabled(inputs.device.type)
    lean = attention and not padded and not mixed
    return CachedStepper(network, inputs, start, inputs.is_cuda) if lean else Stepper(network, inputs, state)
