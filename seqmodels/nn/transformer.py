"""The Transformer behind the `Backbone` contract, as decoder-only network, encoder, or decoder with a memory.

Its base, a stack of residual blocks, also carries networks with recurrent layers.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seqmodels.errors import InputError
from seqmodels.nn.attention import CrossAttention, Heads, KeysValues, SelfAttention, Span
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.block import Activation, Block, FeedForward, Residual
from seqmodels.nn.cell import Cell
from seqmodels.nn.dropout import dropout
from seqmodels.nn.norms import Norm, make_norm
from seqmodels.nn.positions import Learned, PositionKind, Positions, Relative, Rotary, Sinusoidal
from seqmodels.nn.trace import Trace
from seqmodels.state import State

Bias = Literal["none", "qkv", "attention", "all"]


class ResidualStack(Backbone):
    """Residual blocks, and a final norm unless they end in one; the base of Transformer and Hybrid.

    The state is `(seen, key_positions, layers)`: the number of real positions that each row has read, (B,); the
    position of every cached key, (B, S), -1 at padding, or an empty tuple until there is padding; the state of each
    layer, which for attention is its keys and values. Learned positions end at `context`; others allow streams of any
    length, of which the cache keeps the last keys that are seen.

    Args:
        input_size: features D of inputs, outputs and all layers.
        num_layers: number of blocks.
        num_heads: attention heads; D is divisible by it, unless there is a head_size.
        num_kv_heads: heads of keys and values, each shared by a group of queries; default: num_heads.
        context: number of positions that a position attends to, itself included.
        positions: rotary (Su et al. 2021), learned (one vector for each of `context` positions), sinusoidal (Vaswani et
            al. 2017), relative (a bias of scores by distance, Raffel et al. 2020) or none (Kazemnejad et al. 2023).
        norm: layer (Ba et al. 2016), rms (Zhang and Sennrich 2019), or rms-plus-one, whose scales are stored less one.
        activation: of the feed-forward layers; geglu, geglu-tanh, reglu and swiglu are gated (Shazeer 2020).
        dropout: dropout probability of the inputs and of each residual branch.
        causal: attend to earlier positions only.
        memory_size: features of a memory that each block attends to, such as an encoded source.
        residual: norms before the branches of a block, after them, or before branches side by side (GPT-NeoX).
        bias: of linear layers: none; qkv, queries, keys and values; attention, its outputs, too; all, feed-forward too.
        feed_forward_size: features between the feed-forward layers; default: 4 D, or 8 D / 3 if gated; 0 for blocks
            without such layers.
        head_size: features of a head; default: D / num_heads.
        eps: added to the variance in norms; default: 1e-5 in layer norm, the precision of the numbers in RMS norm.
        qk_norm: RMS norm of each head's queries and keys, as in Qwen3.
        attention_scale: factor of the scores; default: 1 / sqrt(head_size), T5 has 1.
        window: positions that a position attends to where `context` is the number of learned ones; default: context.
        input_scale: factor of the inputs before positions are added; sqrt(D) in Vaswani et al. 2017.
        position_offset: number of the first position, of learned and sinusoidal ones; OPT has 2.
        rotary_base: longest rotary wavelength, about, over 2 pi.
        rotary_share: share of a head's features that turn; 0.25 in Pythia.
        rotary_scaling: for more positions than in training, a factor; with low, high and context as in Llama 3.
        position_buckets: buckets of relative positions.
        farthest_bucket: distance from which on relative positions are one bucket.
        attention_gate: scale the outputs of attention by sigmoids of its input, as in Qwen3-Next (Qiu et al. 2025).
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        positions: PositionKind = "rotary",
        norm: Norm = "layer",
        activation: Activation = "gelu",
        dropout: float = 0.0,
        causal: bool = True,
        memory_size: int | None = None,
        residual: Residual = "pre-norm",
        bias: Bias = "none",
        feed_forward_size: int | None = None,
        head_size: int | None = None,
        eps: float | None = None,
        qk_norm: bool = False,
        attention_scale: float | None = None,
        window: int | None = None,
        input_scale: float = 1.0,
        position_offset: int = 0,
        rotary_base: float = 10_000.0,
        rotary_share: float = 1.0,
        rotary_scaling: dict[str, float] | None = None,
        position_buckets: int = 32,
        farthest_bucket: int = 128,
        attention_gate: bool = False,
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
        if bias not in _BIASES:
            raise InputError(f"bias={bias!r} is not known; choose one of {', '.join(_BIASES)}")
        sizes = {"head_size": (head_size, 1), "window": (window, 1), "feed_forward_size": (feed_forward_size, 0)}
        for argument, (size, least) in sizes.items():
            if size is not None and size < least:
                raise InputError(f"{name}({argument}={size}) was given; expected at least {least}")
        if feed_forward_size == 0 and residual == "parallel":
            raise InputError("residual='parallel' is for two branches, and feed_forward_size=0 leaves one")
        if (eps is not None and eps < 0) or position_offset < 0 or not 0 < rotary_share <= 1:
            raise InputError(
                f"{name} expects eps and position_offset of at least 0 and rotary_share in (0, 1], got eps={eps}, "
                f"position_offset={position_offset}, rotary_share={rotary_share}"
            )
        self.input_size = self.output_size = input_size
        self.heads = num_heads, kv_heads
        self.head_size = head_size or input_size // num_heads
        self.context, self.window, self.dropout = context, min(context, window or context), dropout
        self.causal, self.memory_size, self.input_scale, self.eps = causal, memory_size, input_scale, eps
        self.plain = not attention_gate and feed_forward_size != 0 and norm != "rms-plus-one"
        """Whether blocks are those of a Transformer that other programs know."""
        self._divisible = head_size is not None or input_size % num_heads == 0
        self._heads = Heads(
            num_heads, kv_heads, self.head_size, "qkv" in _BIASES[bias], "out" in _BIASES[bias], attention_scale,
            qk_norm, eps, attention_gate, norm == "rms-plus-one",
        )  # fmt: skip
        self.position = self._positions(
            positions, position_offset, rotary_base, rotary_share, rotary_scaling, position_buckets, farthest_bucket
        )
        self.max_length = self.position.ends
        make = partial(make_norm, norm, input_size, eps)
        of_memory = replace(self._heads, keys=num_heads, gate=False)
        feed_forward_bias = "feed-forward" in _BIASES[bias]
        self.blocks = nn.ModuleList(
            Block(
                self._mixer(number),
                None if memory_size is None else CrossAttention(input_size, memory_size, of_memory),
                None
                if feed_forward_size == 0
                else FeedForward(input_size, activation, feed_forward_size, feed_forward_bias),
                make,
                dropout,
                residual,
            )
            for number in range(num_layers)
        )
        self.norm = nn.Identity() if residual == "post-norm" else make()
        self.compiled = False
        """Whether blocks are compiled in training."""
        self.recomputed = False
        """Whether activations within a block are computed again in the backward pass rather than kept."""
        self._attends = next((number for number, block in enumerate(self.blocks) if block.mixer.attends), None)  # type: ignore[union-attr]
        self._initialize()

    @abstractmethod
    def _mixer(self, number: int) -> nn.Module:
        """The part of layer `number` that mixes positions."""

    def _positions(
        self, kind: PositionKind, offset: int, base: float, share: float, scaling: dict[str, float] | None,
        buckets: int, farthest: int,
    ) -> Positions:  # fmt: skip
        kinds: dict[str, Callable[[], Positions]] = {
            "rotary": lambda: Rotary(int(share * self.head_size), base, scaling),
            "learned": lambda: Learned(self.context, self.input_size, offset),
            "sinusoidal": lambda: Sinusoidal(self.input_size, offset),
            "relative": lambda: Relative(self.heads[0], buckets, farthest, self.causal),
            "none": Positions,
        }
        if kind not in kinds:
            raise InputError(f"the positions {kind!r} are not known; choose one of {', '.join(kinds)}")
        return kinds[kind]()

    def _attention(self) -> SelfAttention:
        """A layer of attention, whose heads have to divide the features."""
        heads, kv_heads = self.heads
        if not self._divisible or heads % kv_heads:
            raise InputError(
                f"{type(self).__name__} expects input_size divisible by num_heads and num_heads by num_kv_heads, "
                f"got {self.input_size}, {heads}, {kv_heads}"
            )
        if isinstance(self.position, Rotary) and (self.position.size % 2 or not self.position.size):
            raise InputError(
                f"rotary positions turn pairs of features, and {self.position.size} of a head would turn; expected an "
                "even number: change num_heads, head_size or rotary_share"
            )
        return SelfAttention(self.input_size, self._heads)

    def _initialize(self) -> None:
        """Normal weights as in GPT-2, scaled down with depth where they write to the residual stream; not of cells."""
        own = [module for module in self.blocks.modules() if isinstance(module, Backbone | Cell)]
        cells = {parameter for module in own for parameter in module.parameters()}
        for name, parameter in self.named_parameters():
            if parameter in cells or parameter.is_meta:  # without memory there is nothing to draw
                continue
            if parameter.ndim > 1:
                std = 0.02 / (2 * len(self.blocks)) ** 0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of `rows` rows."""
        seen = torch.zeros(rows, dtype=torch.int64, device=self.blocks[0].norm_mixer.weight.device)  # type: ignore[union-attr,arg-type]
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
            run = block if trace is not None else self._runner(block)
            x, layer = run(x, layer, span, remembered, visible, inside)
            following.append(layer)
            if trace is not None and inside is not None:
                trace.take(inside, partial(_of_layer, number))
        y = self.norm(x)
        if mask is not None:
            y = y * mask.unsqueeze(-1)
        if not self.causal:
            return y, ()
        return y, (seen + (x.shape[1] if mask is None else mask.sum(1)), key_positions, tuple(following))

    def _runner(self, block: nn.Module) -> Callable[..., tuple[Tensor, State]]:
        """The block as it is called where nothing is traced."""
        run: Callable[..., tuple[Tensor, State]] = block
        if self.compiled and self.training:
            run = partial(_compiled_block(), block)
        if self.recomputed and torch.is_grad_enabled():
            run = partial(checkpoint, run, use_reentrant=False)
        return run

    @property
    def attends(self) -> bool:
        """Whether any layer is one of attention."""
        return self._attends is not None

    def _read(
        self, x: Tensor, mask: Tensor | None, seen: Tensor, key_positions: State, cached: int
    ) -> tuple[Tensor, State, Span]:
        """Inputs, with learned positions added; the positions of all keys; the arguments of attention layers."""
        if self._attends is None:
            return x if self.input_scale == 1 else self.input_scale * x, (), Span(mask, None, None, 0)
        T, S = x.shape[1], cached
        if self.max_length is not None and S + T > self.max_length:
            raise InputError(
                f"learned positions end at context={self.context}, and this stream would have {S + T}; "
                "give fewer tokens, or train with positions='rotary'"
            )
        visible = rotation = None
        if mask is None and not isinstance(key_positions, Tensor):
            positions = seen[:, None] + torch.arange(T, device=x.device)
            if not self._all_are_seen(T, S) or self.position.are_of_pairs:
                distance = torch.arange(S, S + T, device=x.device)[:, None] - torch.arange(S + T, device=x.device)
                visible = self._sees(distance)
        else:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
            positions = (seen[:, None] + real.cumsum(1) - 1).clamp(min=0)
            if not isinstance(key_positions, Tensor):
                key_positions = seen[:, None] - S + torch.arange(S, device=x.device)
            key_positions = torch.cat((key_positions, positions.masked_fill(~real, -1)), 1)
            distance = positions[:, :, None] - key_positions[:, None, :]
            visible = self._visible_among(distance, key_positions)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        x = self.placed(x, positions)
        if (angles := self.position.rotation(positions)) is not None:
            rotation = angles[0].to(dtype), angles[1].to(dtype)
        if visible is not None and self.position.are_of_pairs:
            visible = self.position.bias(distance).masked_fill(~visible, -torch.inf)
        # Keys that no later query can see are dropped. With padding all are kept: rows differ in which they need.
        keep = S + T if isinstance(key_positions, Tensor) or self.max_length else min(S + T, self.window - 1)
        return x, key_positions, Span(mask, visible, rotation, keep, self.causal and visible is None and T > 1)

    def placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Inputs (..., D) as the first block reads them, scaled and with vectors of their positions (...)."""
        if self.input_scale != 1:
            x = x * self.input_scale
        vectors = self.position.vectors(positions)
        return x if vectors is None else x + vectors.to(x.dtype)

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor) -> State:
        """See `Backbone.remember`: the mask of the source, and its keys and values for each layer."""
        if self.memory_size is None:
            return super().remember(source, mask, summary)
        return mask[:, None, None], tuple(block.remember(source) for block in self.blocks)  # type: ignore[operator]

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """See `Backbone.summary`: the mean of all outputs of a network that is not causal."""
        return super().summary(y, mask) if self.causal else y.sum(1) / mask.sum(1, keepdim=True)

    def _all_are_seen(self, T: int, S: int) -> bool:
        """Whether each of T queries sees all S + T keys, or with S = 0 in a causal network all up to itself."""
        return S + T <= self.window and (S == 0 or T == 1)

    def _sees(self, distance: Tensor) -> Tensor:
        """Whether keys at these distances are seen; keys at later positions have negative ones."""
        return (distance.abs() < self.window) & ((distance >= 0) | (not self.causal))

    def _visible_among(self, distance: Tensor, keys: Tensor) -> Tensor:
        """The same with padding, by position rather than by index: (B, 1, T, S + T)."""
        T, total = distance.shape[1:]
        visible = (keys[:, None, :] >= 0) & self._sees(distance)
        # A query at padding sees itself, so that its softmax is defined; the result is unused.
        itself = torch.arange(total - T, total, device=keys.device)[:, None] == torch.arange(total, device=keys.device)
        return (visible | itself)[:, None]


_BIASES: dict[str, tuple[str, ...]] = {
    "none": (), "qkv": ("qkv",), "attention": ("qkv", "out"), "all": ("qkv", "out", "feed-forward"),
}  # fmt: skip
"""Layers that have a bias."""


@cache
def _compiled_block() -> Callable[..., tuple[Tensor, State]]:
    """`Block.forward`, compiled once for all blocks."""
    return torch.compile(Block.forward)


def _of_layer(number: int, name: str) -> str:
    """The name of a tensor inside a block: that of the block, and its own if it has one."""
    return f"{number}.{name}" if name else str(number)


class Transformer(ResidualStack):
    """Transformer (Vaswani et al. 2017): each position attends to itself and the `context - 1` before it.

    By default it is a decoder-only network, as GPT. With `causal` False it attends to later positions, too: an encoder.
    With a `memory_size` each block attends to a memory as well: the decoder of an encoder-decoder network. Arguments
    and state (the keys and values of each layer, and their positions): see `ResidualStack`.
    """

    def _mixer(self, number: int) -> nn.Module:
        return self._attention()
