"""Self-attention over a cache of keys and values, and attention to a memory."""

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.nn.norms import RMSNorm, RMSNormPlusOne
from seqmodels.nn.trace import Trace
from seqmodels.state import State

KeysValues = tuple[Tensor, Tensor]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate feature pairs `(k, k + R/2)` of queries or keys, (B, H, T, D), by angles with this cosine and sine, which
    are (B, 1, T, R/2), or broadcastable so; features from R on stay.
    """
    if (turned := 2 * cos.shape[-1]) < x.shape[-1]:
        return torch.cat((rotate(x[..., :turned], cos, sin), x[..., turned:]), -1)
    if torch.compiler.is_compiling():  # the compiler fuses the passes itself
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
    return cast(Tensor, _Turn.apply(x, cos, sin))  # type: ignore[no-untyped-call]


class _Turn(torch.autograd.Function):
    """`rotate` with four passes over memory; the gradient is rotated back by the same angles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        turned = torch.empty_like(x)
        (a, b), (first, second) = x.chunk(2, -1), turned.chunk(2, -1)
        torch.mul(a, cos, out=first).addcmul_(b, sin, value=-1)
        torch.mul(b, cos, out=second).addcmul_(a, sin)
        return turned

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return rotate(gradient, cos, -sin), None, None


def attend(
    q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1).

    In bf16 training on a CPU it is computed in single precision: there, the backward pass in bf16 takes eight times as
    long, a quarter of the training step of a small Transformer.

    Args:
        q: queries (B, H, T, D).
        k: keys (B, G, S, D), H a multiple of G.
        v: values (B, G, S, D).
        visible: which keys each query may see, bool, broadcastable to (B, H, T, S), or what is added to the scores;
            None for all.
        causal: hide later keys, T = S.
        scale: factor of the scores; by default 1 / sqrt(D).
    """
    gqa = q.shape[1] != k.shape[1]
    if q.device.type == "cpu" and q.requires_grad and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            q, k, v, visible = q.float(), k.float(), v.float(), _of_type(visible, torch.float32)
            return F.scaled_dot_product_attention(q, k, v, visible, 0.0, causal, scale=scale, enable_gqa=gqa)
    visible = _of_type(visible, q.dtype)
    return F.scaled_dot_product_attention(q, k, v, visible, 0.0, causal, scale=scale, enable_gqa=gqa)


def _of_type(visible: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A bias of scores in the type of the queries; a mask as it is."""
    return visible if visible is None or visible.dtype == torch.bool else visible.to(dtype)


def attention_weights(
    q: Tensor, k: Tensor, visible: Tensor | None, *, causal: bool = False, scale: float | None = None
) -> Tensor:
    """The softmax weights of `attend`, (B, H, T, S), each row summing to one; arguments as there."""
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else scores + visible
    return scores.softmax(-1)


class Span(NamedTuple):
    """The positions of the current call, shared by the layers of a stack."""

    mask: Tensor | None
    """False at padding, bool (B, T); None without padding."""
    visible: Tensor | None
    """Which keys each query may see, bool, or a bias of scores, broadcastable to (B, H, T, S + T); None for all, or
    with `hide_later` and S = 0 for all up to the query itself."""
    rotation: tuple[Tensor, Tensor] | None
    """Cosine and sine of the rotary angles (B, 1, T, D / 2H); None for other positions."""
    keep: int
    """Number of the S + T keys that later queries may see."""
    hide_later: bool = False
    """Whether later keys are hidden, where `visible` is None. A plain bool rather than a test in each layer, so that
    layers compiled for many lengths need no recompilation."""
    passed: list[Tensor] | None = None
    """What layers of this call pass to those above them, in a stack that has such layers."""


@dataclass(frozen=True)
class Heads:
    """The form of attention layers, of themselves and to a memory.

    Args:
        queries: heads H of queries.
        keys: heads of keys and values, of which H is a multiple (Ainslie et al. 2023); as many as of queries in
            attention to a memory.
        size: features of a head.
        qkv_bias: whether queries, keys and values have a bias.
        out_bias: whether outputs have one.
        scale: factor of the scores; by default 1 / sqrt(size).
        norm: whether queries and keys are normed, each head by RMS, with a learned scale (Qwen3; Henry et al. 2020).
        eps: of these norms.
        plus_one: whether their scales are 1 + w, see `RMSNormPlusOne`.
        gate: whether the outputs of each head are scaled by sigmoids of the input (Qiu et al. 2025).
    """

    queries: int
    keys: int
    size: int
    qkv_bias: bool = False
    out_bias: bool = False
    scale: float | None = None
    norm: bool = False
    eps: float | None = None
    gate: bool = False
    plus_one: bool = False


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), with keys shared by groups of queries.

    Args:
        size: features D of inputs and outputs.
        heads: of what form.
    """

    attends = True
    """Whether it caches keys and values, whose positions a stack keeps."""

    def __init__(self, size: int, heads: Heads) -> None:
        super().__init__()
        self.head_size, self.scale = heads.size, heads.scale
        self.heads = (heads.queries, heads.keys, heads.keys)
        self.gates = heads.queries if heads.gate else 0
        self.project = nn.Linear(size, (sum(self.heads) + self.gates) * heads.size, heads.qkv_bias)
        """Queries, keys, values, and gates of the outputs if there are any."""
        self.out = nn.Linear(heads.queries * heads.size, size, heads.out_bias)
        make = RMSNormPlusOne if heads.plus_one else RMSNorm
        self.norm_query = make(heads.size, heads.eps) if heads.norm else None
        self.norm_key = make(heads.size, heads.eps) if heads.norm else None

    def initial_state(self, rows: int) -> KeysValues:
        """No keys and values yet."""
        weight = self.project.weight  # a device may hold only a part of it
        empty = torch.zeros(rows, self.heads[1], 0, self.head_size, dtype=weight.dtype, device=weight.device)
        return empty, empty

    def normed(self, qk: Tensor) -> Tensor:
        """Queries and keys (B, heads, ..., D / H), of which each head is normed."""
        q, k = qk[:, : self.heads[0]], qk[:, self.heads[0] :]
        return torch.cat((cast(nn.Module, self.norm_query)(q), cast(nn.Module, self.norm_key)(k)), 1)

    def forward(self, x: Tensor, state: State, span: Span, trace: Trace | None = None) -> tuple[Tensor, KeysValues]:
        """Attend to the cache, keys and values (B, kv heads, S, D / H), and to `x` itself, (B, T, D).

        Returns outputs (B, T, D), and the keys and values that later positions may see.
        """
        B, T, _ = x.shape
        cache = cast(KeysValues, state)
        heads = self.project(x).view(B, T, -1, self.head_size).transpose(1, 2)
        queries, keys, values = self.heads
        qk, v, gate = heads.split((queries + keys, values, self.gates), 1)  # (B, heads, T, D / H)
        if self.norm_query is not None:
            qk = self.normed(qk)
        if span.rotation is not None:
            qk = rotate(qk, *span.rotation)
        q, k = qk.split((queries, keys), 1)
        if cache[0].shape[2]:
            k, v = torch.cat((cache[0].to(k.dtype), k), 2), torch.cat((cache[1].to(v.dtype), v), 2)
        y = attend(q, k, v, span.visible, causal=span.hide_later, scale=self.scale)
        if self.gates:
            y = y * gate.sigmoid()
        if trace is not None:
            trace.attention[""] = attention_weights(q, k, span.visible, causal=span.hide_later, scale=self.scale)
        first = k.shape[2] - span.keep
        return self.out(y.transpose(1, 2).reshape(B, T, -1)), (k[:, :, first:], v[:, :, first:])


class CrossAttention(nn.Module):
    """Multi-head attention to a memory, whose keys and values are projected once (Vaswani et al. 2017).

    Args:
        size: features D of inputs and outputs.
        memory_size: features of the memory.
        heads: of what form; each has keys of its own.
    """

    def __init__(self, size: int, memory_size: int, heads: Heads) -> None:
        super().__init__()
        self.heads, self.scale, inner = heads.queries, heads.scale, heads.queries * heads.size
        self.query = nn.Linear(size, inner, heads.qkv_bias)
        self.project = nn.Linear(memory_size, 2 * inner, heads.qkv_bias)
        self.project.stacked_maps = 2  # type: ignore[assignment]  # read by optimizers
        self.out = nn.Linear(inner, size, heads.out_bias)

    def remember(self, source: Tensor) -> KeysValues:
        """Keys and values of a source (B, S, memory_size), (B, H, S, D / H) each."""
        keys, values = self.project(source).chunk(2, -1)
        return self._by_head(keys), self._by_head(values)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, x: Tensor, memory: KeysValues, visible: Tensor, trace: Trace | None = None) -> Tensor:
        """Attend with `x`, (B, T, D), to keys and values (M, H, S, D / H), M a divisor of B; returns (B, T, D).

        Rows that share a memory are next to each other; `visible`, bool (M, 1, 1, S), is False at padding.
        """
        # Rows that share a memory are read as one longer row, so that the memory need not be copied.
        query = self.query(x)
        q = self._by_head(query.reshape(len(visible), -1, query.shape[2]))
        y = attend(q, *memory, visible, scale=self.scale)
        if trace is not None:
            weights = attention_weights(q, memory[0], visible, scale=self.scale)
            rows = weights.view(len(visible), self.heads, -1, x.shape[1], weights.shape[-1])
            trace.cross[""] = rows.transpose(1, 2).flatten(0, 1)
        return cast(Tensor, self.out(y.transpose(1, 2).reshape(query.shape)))
