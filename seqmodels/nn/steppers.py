"""Networks that read one token after another and keep the state to themselves, which is what writing needs.

A network is a function: what it remembered before a step is still there after it, so a step copies what has grown. Who
writes needs the last state only. A stepper goes on from a state in the same way, in place.
"""

from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotary_angles, rotate
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.block import Block, FeedForward
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.transformer import PreNormStack
from seqmodels.state import State, select


class Stepper:
    """Any network, one token a row at a time: by its own `forward`.

    Args:
        network: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step; None at the start.
    """

    recordable = False
    """Whether each `step` does the same to the same memory as the one before, until `prepare` tells of another."""

    def __init__(self, network: Backbone, inputs: Tensor, state: State | None) -> None:
        self._network, self._inputs, self._state = network, inputs, state

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read the next token of each row, (B,); returns the outputs after it, (B, output_size)."""
        self.prepare()
        return self.step(tokens)

    def prepare(self) -> bool:
        """What has to be done before each step outside of it; returns whether the next one works on other memory."""
        return False

    def step(self, tokens: Tensor) -> Tensor:
        """See `__call__`, which is `prepare` and this."""
        y, self._state = self._network(self._inputs[tokens].unsqueeze(1), self._state)
        return cast(Tensor, y.squeeze(1))

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        if self._state is not None:
            self._state = select(self._state, rows)


TABLE = 2**21
"""Most numbers of a table of what the first layer reads of each token."""


class RecurrentStepper(Stepper):
    """A stack of recurrent layers.

    What the first layer reads of a token needs no state: with few tokens, it is computed for all of them at once.

    Args:
        stack: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step.
    """

    def __init__(self, stack: RecurrentStack, inputs: Tensor, state: State) -> None:
        self._cells = cast(list[Cell], list(stack.layers))
        self.recordable = inputs.is_cuda
        self._states = list(cast(tuple[CellState, ...], state))
        if self.recordable:
            self._states = [tuple(tensor.clone() for tensor in layer) for layer in self._states]
        self._weights = [tuple(laid_out(weight) for weight in cell.weights()) for cell in self._cells]
        few = len(inputs) * 4 * stack.output_size <= TABLE
        self._inputs, self._are_read = (self._cells[0].read(inputs), True) if few else (inputs, False)

    def step(self, tokens: Tensor) -> Tensor:
        """See `Stepper`."""
        x = self._inputs[tokens]
        for number, (cell, weights) in enumerate(zip(self._cells, self._weights, strict=True)):
            z = x if number == 0 and self._are_read else cell.read(x)
            following = cell.advance(z, self._states[number], weights)
            if self.recordable:
                for kept, tensor in zip(self._states[number], following, strict=True):
                    kept.copy_(tensor)
            else:
                self._states[number] = following
            x = following[0]
        return x

    def select(self, rows: Tensor) -> None:
        """See `Stepper`."""
        self._states = [cast(CellState, select(state, rows)) for state in self._states]


def laid_out(weight: Tensor) -> Tensor:
    """The same matrix with its columns side by side in memory, by which a few rows are multiplied faster."""
    return weight.mT.contiguous().mT if weight.ndim == 2 else weight


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


Function = Callable[[Tensor], Tensor]


class _Layer(NamedTuple):
    """The parts of a block, found once and not at each step."""

    norm_mixer: Function
    project: Function
    add_out: Callable[[Tensor, Tensor], Tensor]
    norm_feed_forward: Function
    inside: Function
    add_down: Callable[[Tensor, Tensor], Tensor]


def _layer(block: Block) -> _Layer:
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

    def __init__(self, stack: PreNormStack, inputs: Tensor, state: State, recordable: bool = False) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs, self.recordable = stack, inputs, recordable
        self._layers = [_layer(cast(Block, block)) for block in stack.blocks]
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


@singledispatch
def make_stepper(network: Backbone, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    """A network for one token after another, going on from a state that it keeps to itself: for generation.

    Which class serves a network is found by the type of the network; one without an entry is served by its `forward`.

    Args:
        network: in evaluation mode.
        inputs: the embedding of each token, (V, input_size).
        state: see `Backbone.forward`; it stays as it is.
        rows: how many rows B there are.
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
