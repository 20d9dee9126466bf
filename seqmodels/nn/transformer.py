"""The Transformer behind the `Backbone` contract, as decoder-only network, encoder, or decoder with a memory.

Its base, a pre-norm stack of residual blocks, also carries networks with recurrent layers.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import cache, partial
from typing import Literal, cast

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.attention import CrossAttention, KeysValues, SelfAttention, Span, rotary_angles
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.block import Activation, Block, Norm, make_feed_forward, make_norm
from seqmodels.nn.dropout import dropout
from seqmodels.nn.trace import Trace
from seqmodels.state import State


class PreNormStack(Backbone):
    """Pre-norm residual blocks and a final norm; the base of Transformer and Hybrid.

    The state is `(seen, key_positions, layers)`: the number of real positions that each row has read, (B,); the
    position of every cached key, (B, S), -1 at padding, or an empty tuple until there is padding; the state of each
    layer, which for attention is its keys and values. Rotary positions allow streams of any length, of which the cache
    keeps the last `context - 1` keys; learned positions end at `context`.

    Args:
        input_size: features D of inputs, outputs and all layers.
        num_layers: number of blocks.
        num_heads: attention heads; D is divisible by it.
        num_kv_heads: heads of keys and values, each shared by a group of queries; default: num_heads.
        context: number of positions that a position attends to, itself included.
        positions: rotary (Su et al. 2021) or learned (one vector for each of `context` positions).
        norm: layer (Ba et al. 2016) or rms (Zhang and Sennrich 2019).
        activation: gelu or swiglu.
        dropout: dropout probability of the inputs and of each residual branch.
        causal: attend to earlier positions only.
        memory_size: features of a memory that each block attends to, such as an encoded source.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        positions: Literal["rotary", "learned"] = "rotary",
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        causal: bool = True,
        memory_size: int | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if min(input_size, num_layers, num_heads, kv_heads, context) < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"{name} expects sizes, layers, heads and context of at least 1 and dropout in [0, 1), got "
                f"input_size={input_size}, num_layers={num_layers}, num_heads={num_heads}, "
                f"num_kv_heads={num_kv_heads}, context={context}, dropout={dropout}"
            )
        if positions not in ("rotary", "learned"):
            raise InputError(f"the positions {positions!r} are not known; choose rotary or learned")
        self.input_size = self.output_size = input_size
        self.heads = num_heads, kv_heads
        self.context, self.dropout = context, dropout
        self.causal, self.memory_size = causal, memory_size
        self.position = nn.Embedding(context, input_size) if positions == "learned" else None
        self.max_length = context if positions == "learned" else None
        self.blocks = nn.ModuleList(
            Block(
                self._mixer(number),
                None if memory_size is None else CrossAttention(input_size, memory_size, num_heads),
                make_feed_forward(activation, input_size),
                partial(make_norm, norm, input_size),
                dropout,
            )
            for number in range(num_layers)
        )
        self.norm = make_norm(norm, input_size)
        self.compiled = False
        """Whether blocks are compiled in training."""
        self._attends = next((number for number, block in enumerate(self.blocks) if block.mixer.attends), None)  # type: ignore[union-attr]
        self._initialize()

    @abstractmethod
    def _mixer(self, number: int) -> nn.Module:
        """The part of layer `number` that mixes positions."""

    def _attention(self) -> SelfAttention:
        """A layer of attention, whose heads have to divide the features."""
        size, (heads, kv_heads) = self.input_size, self.heads
        if size % heads or heads % kv_heads:
            raise InputError(
                f"{type(self).__name__} expects input_size divisible by num_heads and num_heads by num_kv_heads, "
                f"got {size}, {heads}, {kv_heads}"
            )
        if self.position is None and size // heads % 2:
            raise InputError(f"rotary positions turn pairs of features: {size} / {heads} must be even")
        return SelfAttention(size, heads, kv_heads)

    def _initialize(self) -> None:
        """Normal weights as in GPT-2, scaled down with depth where they write to the residual stream; not of cells."""
        cells = {p for module in self.blocks.modules() if isinstance(module, Backbone) for p in module.parameters()}
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and parameter not in cells:
                std = 0.02 / (2 * len(self.blocks)) ** 0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=std)

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of `rows` rows."""
        seen = torch.zeros(rows, dtype=torch.int64, device=self.norm.weight.device)  # type: ignore[arg-type]
        return seen, (), tuple(block.mixer.initial_state(rows) for block in self.blocks)  # type: ignore[union-attr,operator]

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        return self._run(x, state, mask, memory, None)

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: attention, the residual stream after each block, and traces of recurrent layers."""
        trace = Trace()
        y, state = self._run(x, state, mask, memory, trace)
        return y, state, trace

    def _run(
        self, x: Tensor, state: State | None, mask: Tensor | None, memory: State | None, trace: Trace | None
    ) -> tuple[Tensor, State]:
        """`forward`, which fills `trace` where one is given."""
        self._check(x, mask, memory, state)
        seen, key_positions, layers = cast(
            tuple[Tensor, State, tuple[State, ...]], self.initial_state(len(x)) if state is None else state
        )
        cached = 0 if self._attends is None else cast(KeysValues, layers[self._attends])[0].shape[2]
        x, key_positions, span = self._read(x, mask, seen, key_positions, cached)
        x = dropout(x, self.dropout, self.training)
        visible, memories = memory or (None, [None] * len(layers))
        following = []
        for number, (block, layer, remembered) in enumerate(zip(self.blocks, layers, memories, strict=True), 1):
            inside = None if trace is None else Trace()
            if self.compiled and self.training and inside is None:
                x, layer = _compiled_block()(block, x, layer, span, remembered, visible, None)
            else:
                x, layer = block(x, layer, span, remembered, visible, inside)
            following.append(layer)
            if trace is not None and inside is not None:
                trace.take(inside, partial(_of_layer, number))
        y = self.norm(x)
        if mask is not None:
            y = y * mask.unsqueeze(-1)
        if not self.causal:
            return y, ()
        return y, (seen + (x.shape[1] if mask is None else mask.sum(1)), key_positions, tuple(following))

    def _read(
        self, x: Tensor, mask: Tensor | None, seen: Tensor, key_positions: State, cached: int
    ) -> tuple[Tensor, State, Span]:
        """Inputs, with learned positions added; the positions of all keys; the arguments of attention layers."""
        if self._attends is None:
            return x, (), Span(mask, None, None, 0)
        T, S = x.shape[1], cached
        if self.max_length is not None and S + T > self.max_length:
            raise InputError(
                f"learned positions end at context={self.context}, and this stream would have {S + T}; "
                "give fewer tokens, or train with positions='rotary'"
            )
        if mask is None and not isinstance(key_positions, Tensor):
            positions = seen[:, None] + torch.arange(T, device=x.device)
            visible = self._visible(T, S, x.device)
        else:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
            positions = (seen[:, None] + real.cumsum(1) - 1).clamp(min=0)
            if not isinstance(key_positions, Tensor):
                key_positions = seen[:, None] - S + torch.arange(S, device=x.device)
            key_positions = torch.cat((key_positions, positions.masked_fill(~real, -1)), 1)
            visible = self._visible_among(positions, key_positions)
        rotation = None
        if self.position is not None:
            x = x + self.position(positions)
        else:
            angles = rotary_angles(positions, self.input_size // self.heads[0])
            dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
            rotation = angles.cos().to(dtype), angles.sin().to(dtype)
        # Keys that no later query can see are dropped. With padding all are kept: rows differ in which they need.
        keep = S + T if isinstance(key_positions, Tensor) or self.max_length else min(S + T, self.context - 1)
        return x, key_positions, Span(mask, visible, rotation, keep, self.causal and visible is None and T > 1)

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor) -> State:
        """See `Backbone.remember`: the mask of the source, and its keys and values for each layer."""
        if self.memory_size is None:
            return super().remember(source, mask, summary)
        return mask[:, None, None], tuple(block.remember(source) for block in self.blocks)  # type: ignore[operator]

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """See `Backbone.summary`: the mean of all outputs of a network that is not causal."""
        return super().summary(y, mask) if self.causal else y.sum(1) / mask.sum(1, keepdim=True)

    def _visible(self, T: int, S: int, device: torch.device) -> Tensor | None:
        """Keys (S + T) that each of T queries sees without padding; None for the plain causal case."""
        if S + T <= self.context and (S == 0 or T == 1):
            return None
        return self._sees(torch.arange(S, S + T, device=device)[:, None] - torch.arange(S + T, device=device))

    def _sees(self, distance: Tensor) -> Tensor:
        """Whether keys at these distances are seen; keys at later positions have negative ones."""
        return (distance.abs() < self.context) & ((distance >= 0) | (not self.causal))

    def _visible_among(self, positions: Tensor, keys: Tensor) -> Tensor:
        """The same with padding, by position rather than by index: (B, 1, T, S + T)."""
        T, total = positions.shape[1], keys.shape[1]
        distance = positions[:, :, None] - keys[:, None, :]
        visible = (keys[:, None, :] >= 0) & self._sees(distance)
        # A query at padding sees itself, so that its softmax is defined; the result is unused.
        itself = torch.arange(total - T, total, device=keys.device)[:, None] == torch.arange(total, device=keys.device)
        return (visible | itself)[:, None]


@cache
def _compiled_block() -> Callable[..., tuple[Tensor, State]]:
    """`Block.forward`, compiled once for all blocks."""
    return torch.compile(Block.forward)


def _of_layer(number: int, name: str) -> str:
    """The name of a tensor inside a block: that of the block, and its own if it has one."""
    return f"{number}.{name}" if name else str(number)


class Transformer(PreNormStack):
    """Transformer (Vaswani et al. 2017), pre-norm: each position attends to itself and the `context - 1` before it.

    By default it is a decoder-only network, as GPT. With `causal` False it attends to later positions, too: an encoder.
    With a `memory_size` each block attends to a memory as well: the decoder of an encoder-decoder network. Arguments
    and state (the keys and values of each layer, and their positions): see `PreNormStack`.
    """

    def _mixer(self, number: int) -> nn.Module:
        return self._attention()
