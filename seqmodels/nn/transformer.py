"""Decoder-only Transformer behind the `Backbone` contract."""

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.attention import KeysValues, SelfAttention, rotary_angles
from seqmodels.nn.backbone import Backbone
from seqmodels.state import State


class GELU(nn.Module):
    """Two layers with GELU between (Hendrycks and Gimpel 2016), four times as wide inside."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.up = nn.Linear(size, 4 * size, bias=False)
        self.out = nn.Linear(4 * size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(F.gelu(self.up(x), approximate="tanh")))


class SwiGLU(nn.Module):
    """Gated layer (Shazeer 2020), as many parameters as `GELU`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        width = 8 * size // 3
        self.up = nn.Linear(size, 2 * width, bias=False)
        self.out = nn.Linear(width, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        return cast(Tensor, self.out(F.silu(gate) * value))


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`: the pre-norm layer of GPT-2."""

    def __init__(
        self, size: int, attention: SelfAttention, norm: type[nn.Module], feed_forward: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.norm_attention, self.attention = norm(size), attention
        self.norm_feed_forward, self.feed_forward = norm(size), feed_forward
        self.dropout = dropout

    def forward(
        self, x: Tensor, cache: KeysValues, visible: Tensor | None, rotation: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, KeysValues]:
        y, cache = self.attention(self.norm_attention(x), cache, visible, rotation)
        x = x + F.dropout(y, self.dropout, self.training)
        y = self.feed_forward(self.norm_feed_forward(x))
        return x + F.dropout(y, self.dropout, self.training), cache


class Transformer(Backbone):
    """Decoder-only Transformer, pre-norm, each position attending to itself and the `context - 1` before it.

    The state is `(seen, key_positions, caches)`: how many real positions each row has read, (B,); the position of
    every cached key, (B, S), -1 at padding, or an empty tuple while there was no padding; keys and values
    for each layer. With rotary positions a stream may go on without end, and the cache keeps what the
    context still needs; learned positions end at the context.

    Args:
        input_size: features D of inputs and outputs.
        num_layers: how many blocks.
        num_heads: attention heads; D is divisible by it.
        num_kv_heads: heads of keys and values, shared by groups of queries; as many as heads where not given.
        context: how far a position sees, itself included.
        positions: rotary (Su et al. 2021) or learned (one vector for each of `context` positions).
        norm: layer (Ba et al. 2016) or rms (Zhang and Sennrich 2019).
        activation: gelu or swiglu.
        dropout: share dropped of the inputs and of what each half block adds, while training.
    """

    def __init__(
        self,
        input_size: int = 128,
        num_layers: int = 4,
        num_heads: int = 4,
        num_kv_heads: int | None = None,
        context: int = 256,
        positions: Literal["rotary", "learned"] = "rotary",
        norm: Literal["layer", "rms"] = "layer",
        activation: Literal["gelu", "swiglu"] = "gelu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if min(input_size, num_layers, num_heads, kv_heads, context) < 1 or not 0 <= dropout < 1:
            raise InputError(
                "Transformer expects sizes, layers, heads and context of at least 1 and dropout in [0, 1), got "
                f"input_size={input_size}, num_layers={num_layers}, num_heads={num_heads}, "
                f"num_kv_heads={num_kv_heads}, context={context}, dropout={dropout}"
            )
        if input_size % num_heads or num_heads % kv_heads:
            raise InputError(
                f"Transformer expects input_size divisible by num_heads and num_heads by num_kv_heads, "
                f"got {input_size}, {num_heads}, {kv_heads}"
            )
        if positions == "rotary" and input_size // num_heads % 2:
            raise InputError(f"rotary positions turn pairs of features: {input_size} / {num_heads} must be even")
        norms = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
        activations = {"gelu": GELU, "swiglu": SwiGLU}
        if positions not in ("rotary", "learned") or norm not in norms or activation not in activations:
            raise InputError(
                f"Transformer knows positions 'rotary' and 'learned', norm 'layer' and 'rms', activation 'gelu' and "
                f"'swiglu', got {positions!r}, {norm!r}, {activation!r}"
            )
        self.input_size = self.output_size = input_size
        self.context, self.dropout = context, dropout
        self.cache_shape = (kv_heads, 0, input_size // num_heads)
        self.position = nn.Embedding(context, input_size) if positions == "learned" else None
        self.max_length = context if positions == "learned" else None
        self.blocks = nn.ModuleList(
            Block(
                input_size,
                SelfAttention(input_size, num_heads, kv_heads),
                norms[norm],
                activations[activation](input_size),
                dropout,
            )
            for _ in range(num_layers)
        )
        self.norm = norms[norm](input_size)
        self._initialize()

    def _initialize(self) -> None:
        """Normal weights of GPT-2, those that write to the residual stream smaller with depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                std = 0.02 / (2 * len(self.blocks)) ** 0.5 if name.endswith("out.weight") else 0.02
                nn.init.normal_(parameter, std=std)

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of that many rows."""
        weight = self.blocks[0].attention.project.weight  # type: ignore[union-attr]
        empty = weight.new_zeros(rows, *self.cache_shape)  # type: ignore[operator]
        seen = torch.zeros(rows, dtype=torch.int64, device=empty.device)
        return seen, (), tuple((empty, empty) for _ in self.blocks)

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`."""
        self._check(x, mask, memory)
        seen, keys, caches = cast(
            tuple[Tensor, State, tuple[KeysValues, ...]], self.initial_state(len(x)) if state is None else state
        )
        T, S = x.shape[1], caches[0][0].shape[2]
        if self.max_length is not None and S + T > self.max_length:
            raise InputError(
                f"learned positions end at context={self.context}, and this stream would have {S + T}; "
                "give fewer tokens, or train with positions='rotary'"
            )
        if mask is None and not isinstance(keys, Tensor):
            positions = seen[:, None] + torch.arange(T, device=x.device)
            visible = self._visible(T, S, x.device)
        else:
            real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
            positions = (seen[:, None] + real.cumsum(1) - 1).clamp(min=0)
            if not isinstance(keys, Tensor):
                keys = seen[:, None] - S + torch.arange(S, device=x.device)
            keys = torch.cat((keys, positions.masked_fill(~real, -1)), 1)
            visible = self._visible_among(positions, keys)
        rotation = None
        if self.position is not None:
            x = x + self.position(positions)
        else:
            angles = rotary_angles(positions, self.cache_shape[-1])
            dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
            rotation = angles.cos().to(dtype), angles.sin().to(dtype)
        x = F.dropout(x, self.dropout, self.training)
        # What no later query can see is dropped. Where there is padding, all stays: rows differ in what they need.
        keep = S + T if isinstance(keys, Tensor) or self.max_length else min(S + T, self.context - 1)
        following = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, (k, v) = block(x, cache, visible, rotation)
            following.append((k[:, :, S + T - keep :], v[:, :, S + T - keep :]))
        y = self.norm(x)
        if mask is not None:
            y = y * mask.unsqueeze(-1)
        return y, (seen + (T if mask is None else mask.sum(1)), keys, tuple(following))

    def _visible(self, T: int, S: int, device: torch.device) -> Tensor | None:
        """Keys (S + T) that each of T queries sees where there is no padding; None for the plain causal case."""
        if S + T <= self.context and (S == 0 or T == 1):
            return None
        distance = torch.arange(S, S + T, device=device)[:, None] - torch.arange(S + T, device=device)
        return (distance >= 0) & (distance < self.context)

    def _visible_among(self, positions: Tensor, keys: Tensor) -> Tensor:
        """The same with padding, by position rather than by place: (B, 1, T, S + T)."""
        T, total = positions.shape[1], keys.shape[1]
        distance = positions[:, :, None] - keys[:, None, :]
        visible = (keys[:, None, :] >= 0) & (distance >= 0) & (distance < self.context)
        # A query at padding sees itself, so that its softmax is defined; nobody reads the result.
        itself = torch.arange(total - T, total, device=keys.device)[:, None] == torch.arange(total, device=keys.device)
        return (visible | itself)[:, None]
