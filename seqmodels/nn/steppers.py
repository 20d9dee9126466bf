"""In-place implementations of `y, state = network(x, state)` for generation, one token at a time.

A network is a function: the state before a step survives it, so a step copies a cache that has grown. Generation needs
the last state only, which a stepper updates in place. Its class follows from the type of the network.
"""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.nn.associative import AssociativeCell
from seqmodels.nn.associative_steps import AssociativeSteps
from seqmodels.nn.attention import KeysValues, SelfAttention, attend, rotate
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.block import Block, FeedForward
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.chunkwise import recurrent_
from seqmodels.nn.key_cache import KeyCache, RecordableKeyCache
from seqmodels.nn.mixer_stack import CellMixer, MixerStack
from seqmodels.nn.packing import Product, packed, packs
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.transformer import ResidualStack
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


class _Layer:
    """The functions of a block, looked up once rather than at each step."""

    def __init__(self, block: Block) -> None:
        mixer, feed_forward = cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)
        self._mixer, self._feed_forward = mixer, feed_forward
        self.order = block.order
        self.norms = block.norm_mixer.forward, cast(nn.Module, block.norm_feed_forward).forward
        self.normed, self.add_out, self._add_down = mixer.normed, _adding(mixer.out), _adding(feed_forward.out)
        self.project: Callable[[Tensor], Tensor] = mixer.project.forward
        self._inside: Callable[[Tensor], Tensor] = feed_forward.inside

    def pack(self, rows: int) -> None:
        """Copy weights into the order in which products of several rows are fastest."""
        mixer, layers = self._mixer, self._feed_forward
        self.project, self.add_out = _packed(mixer.project, rows), _adding_packed(mixer.out, rows)
        up, activate, self._add_down = _packed(layers.up, rows), layers.activated, _adding_packed(layers.out, rows)
        self._inside = lambda h: activate(up(h))

    def feed(self, x: Tensor, h: Tensor) -> Tensor:
        """The branch of the feed-forward layers."""
        return self._add_down(x, self._inside(h))


def _adding(layer: nn.Module, columns: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """`x + layer(y)`, for a plain linear layer in one call, or two if it has a bias.

    With `columns` by a copy of its weights in column-major order.
    """
    if type(layer) is not nn.Linear:
        return lambda x, y: x + layer(y)
    weight, bias = layer.weight.mT, cast(Tensor | None, layer.bias)
    weight = weight.contiguous() if columns else weight
    if bias is None:
        return lambda x, y: torch.addmm(x, y, weight)
    return lambda x, y: torch.addmm(x + bias, y, weight)


def _inside(layers: FeedForward) -> Callable[[Tensor], Tensor]:
    """`FeedForward.inside`, by a copy of its weights in column-major order."""
    up = layers.up
    if type(up) is not nn.Linear or layers.gated or cast(Tensor | None, up.bias) is not None:
        return layers.inside
    weight, activation = up.weight.mT.contiguous(), layers.activation
    return lambda x: activation(torch.mm(x, weight))


def _packed(layer: nn.Linear, rows: int) -> Product:
    return packed(layer.weight, cast(Tensor | None, layer.bias), rows)


def _adding_packed(layer: nn.Linear, rows: int) -> Callable[[Tensor, Tensor], Tensor]:
    multiply = _packed(layer, rows)
    return lambda x, y: multiply(y).add_(x)


PAYS = 6
"""Steps of several rows that take as much longer with plain weights as it takes to copy them; a text may end before."""
MOST = 2**28
"""Weights of a network that are copied, at most: 1 GiB."""


def _can_pack(stack: ResidualStack, rows: int) -> bool:
    """Whether all products of attention layers are plain, and faster with weights in another order."""
    blocks = cast(list[Block], list(stack.blocks))
    parts = [(cast(SelfAttention, block.mixer), cast(FeedForward, block.feed_forward)) for block in blocks]
    layers = [layer for mixer, feed in parts for layer in (mixer.project, mixer.out, feed.up, feed.out)]
    few = sum(layer.weight.numel() for layer in layers) <= MOST
    return few and all(type(layer) is nn.Linear and packs(layer.weight, rows) for layer in layers)


class CachedStepper(Stepper):
    """A stack of attention layers without a memory, whose rows have all read the same number of positions, unpadded.

    It computes the same as the stack with the fewest kernel calls: residual sums are part of the matrix products before
    them, and keys are written into a preallocated cache. If `recordable`, steps can be recorded as a CUDA graph; a
    single step takes longer. Other arguments are as of `Stepper`.
    """

    def __init__(self, stack: ResidualStack, inputs: Tensor, state: State, recordable: bool = False) -> None:
        seen, _, caches = cast(tuple[Tensor, State, tuple[KeysValues, ...]], state)
        self._stack, self._inputs, self.recordable = stack, inputs, recordable
        self._layers = [_Layer(cast(Block, block)) for block in stack.blocks]
        mixer = cast(SelfAttention, stack.blocks[0].mixer)
        self._queries, self._turned = mixer.heads[0], mixer.heads[0] + mixer.heads[1]
        self._head_size, self._scale, self._norms_heads = mixer.head_size, mixer.scale, mixer.norm_query is not None
        self._rows = len(seen)
        pays = not recordable and _can_pack(stack, self._rows)
        self._steps_to_pay = PAYS if pays else 0  # counted by `prepare`
        layers = [torch.cat(cache, 1) for cache in caches]
        self._cache = (RecordableKeyCache if recordable else KeyCache)(layers, stack.window)
        self._seen = int(seen[0])  # counted by `prepare`
        self._at: int | Tensor = 0  # offset of the current position from the first since the cache last grew
        self._rotation: Tensor | None = None  # cosine and sine at positions from that one on, (2, room, D / 2H)
        self._vectors: Tensor | None = None  # what is added to inputs there, (room, D)

    def prepare(self) -> bool:
        moved = self._cache.reserve()
        if moved:
            device, dtype = self._inputs.device, self._inputs.dtype
            self._at = torch.tensor([-1], device=device) if self.recordable else -1
            positions = torch.arange(self._seen, self._seen + self._cache.room, device=device)
            ends = self._stack.position.ends
            vectors = self._stack.position.vectors(positions if ends is None else positions.clamp(max=ends - 1))
            self._vectors = None if vectors is None else vectors.to(dtype)
            rotation = self._stack.position.rotation(positions[None])
            self._rotation = None if rotation is None else torch.stack(rotation)[:, 0, 0].to(dtype)
        self._seen += 1
        self._steps_to_pay -= 1
        if self._steps_to_pay == 0:
            for block in self._layers:
                block.pack(self._rows)
        return moved

    def step(self, tokens: Tensor) -> Tensor:
        self._at += 1
        self._cache.begin()
        x = self._inputs[tokens]
        if self._stack.input_scale != 1:
            x = x * self._stack.input_scale
        if self._vectors is not None:
            x = x + self._vectors[self._at]
        position = self._stack.position
        bias = position.bias(self._cache.distance()) if position.are_of_pairs else None
        for number, layer in enumerate(self._layers):
            x = layer.order(x, layer.norms, (partial(self._mix, number, layer, bias), layer.feed))
        return cast(Tensor, self._stack.norm(x))

    def _mix(self, number: int, layer: _Layer, bias: Tensor | None, x: Tensor, h: Tensor) -> Tensor:
        """The branch of attention."""
        heads = layer.project(h).view(len(h), -1, self._head_size)
        qk = heads[:, : self._turned]
        if self._norms_heads:
            qk.copy_(layer.normed(qk))
        if self._rotation is not None:
            qk.copy_(rotate(qk, *self._rotation[:, self._at]))
        self._cache.write(number, heads[:, self._queries :])
        k, v, visible = self._cache.visible(number)
        if bias is not None:
            visible = bias if visible is None else bias.masked_fill(~visible, -torch.inf)
        y = attend(heads[:, : self._queries].unsqueeze(2), k, v, visible, scale=self._scale)
        return layer.add_out(x, y.reshape(len(x), -1))

    def select(self, rows: Tensor) -> None:
        self._cache.select(rows)


class _CellLayer:
    """A block, with the state of its cell."""

    def __init__(self, block: Block, state: CellState, recordable: bool) -> None:
        self.cell: Cell = cast(CellMixer, block.mixer).cell
        self.order, self.norms, self.branches = block.order, [block.norm_mixer.forward], [self.mix]
        if block.norm_feed_forward is not None:
            feed_forward = cast(FeedForward, block.feed_forward)
            self._inside, self._add_down = _inside(feed_forward), _adding(feed_forward.out, columns=True)
            self.norms.append(block.norm_feed_forward.forward)
            self.branches.append(self.feed)
        self.state: CellState = tuple(tensor.clone(memory_format=torch.contiguous_format) for tensor in state)
        self._recordable, self._weights = recordable, self.cell.weights()

    def mix(self, x: Tensor, h: Tensor) -> Tensor:
        """The branch of the cell."""
        projected = self.cell.project(h)
        if isinstance(self.cell, AssociativeCell):
            following = self.cell.advance_(projected, self.state, recurrent_)
        else:
            following = self.cell.advance(projected, self.state, self._weights)
        if self._recordable:
            for kept, tensor in zip(self.state, following, strict=True):
                if kept is not tensor:
                    kept.copy_(tensor)
        else:
            self.state = following
        return x + following[0]

    def feed(self, x: Tensor, h: Tensor) -> Tensor:
        """The branch of the feed-forward layers."""
        return self._add_down(x, self._inside(h))

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        self.state = cast(CellState, select(self.state, rows))


class _AssociativeLayer(_CellLayer):
    """The same with `AssociativeSteps`."""

    def __init__(self, block: Block, state: CellState) -> None:
        super().__init__(block, (), False)
        self.steps = AssociativeSteps(cast(AssociativeCell, self.cell), state)
        self.branches[0], self.select = self.steps.__call__, self.steps.select  # type: ignore[method-assign]


def _layer(block: Block, state: CellState, recordable: bool) -> _CellLayer:
    """What steps fastest through a block."""
    cell = cast(CellMixer, block.mixer).cell
    exact = state[0].dtype in (torch.float32, torch.float64)
    plain = isinstance(cell, AssociativeCell) and type(cell.projection) is type(cell.out) is nn.Linear
    if plain and exact and not recordable:  # a ring has no fixed place for its next input
        return _AssociativeLayer(block, state)
    return _CellLayer(block, state, recordable)


class MixerStepper(Stepper):
    """A stack of cells in residual blocks, without a memory to attend to. Arguments are as of `CachedStepper`."""

    def __init__(self, stack: MixerStack, inputs: Tensor, state: State, recordable: bool = False) -> None:
        _, _, states = cast(tuple[Tensor, State, tuple[CellState, ...]], state)
        self._stack, self._inputs, self.recordable = stack, inputs, recordable
        blocks = cast(list[Block], list(stack.blocks))
        self._layers = [_layer(block, own, self.recordable) for block, own in zip(blocks, states, strict=True)]

    def step(self, tokens: Tensor) -> Tensor:
        x = self._inputs[tokens]
        for layer in self._layers:
            x = layer.order(x, layer.norms, layer.branches)
        return cast(Tensor, self._stack.norm(x))

    def select(self, rows: Tensor) -> None:
        for layer in self._layers:
            layer.select(rows)


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
def _(network: ResidualStack, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    start = network.initial_state(rows) if state is None else state
    attention = all(isinstance(block.mixer, SelfAttention) and block.cross is None for block in network.blocks)
    padded, mixed = isinstance(start[1], Tensor), torch.is_autocast_enabled(inputs.device.type)
    lean = attention and network.plain and not padded and not mixed
    return CachedStepper(network, inputs, start, inputs.is_cuda) if lean else Stepper(network, inputs, state)


@make_stepper.register
def _(network: MixerStack, inputs: Tensor, state: State | None, rows: int) -> Stepper:
    start = network.initial_state(rows) if state is None else state
    mixed = torch.is_autocast_enabled(inputs.device.type)
    return (
        Stepper(network, inputs, state)
        if network.memory_size or mixed or not network.in_place
        else MixerStepper(network, inputs, start, inputs.is_cuda)
    )
