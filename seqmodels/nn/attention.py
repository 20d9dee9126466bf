"""Self-attention over a cache of keys and values, attention to a memory, and rotary positions."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.environment import widest
from seqmodels.nn.trace import Trace
from seqmodels.state import State

KeysValues = tuple[Tensor, Tensor]


def rotary_angles(positions: Tensor, head_size: int, base: float = 10_000.0) -> Tensor:
    """Angle of every pair of features of a head at every position (Su et al. 2021, eq. 15).

    From positions (B, T) to angles (B, 1, T, head_size / 2), in double precision where the device has it: products with
    large positions need it. Wavelengths grow from 2 pi to 2 pi times `base`.
    """
    dtype = widest(positions.device)
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=dtype) / head_size
    return positions[:, None, :, None] * base**-exponents


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate feature pairs `(k, k + D/2)` of queries or keys, (B, H, T, D), by angles with this cosine and sine, which
    are (B, 1, T, D/2), or broadcastable to the halves of `x`.
    """
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


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, *, causal: bool = False) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1).

    In bf16 training on a CPU it is computed in single precision: there, the backward pass in bf16 takes eight times as
    long, a quarter of the training step of a small Transformer.

    Args:
        q: queries (B, H, T, D).
        k: keys (B, G, S, D), H a multiple of G.
        v: values (B, G, S, D).
        visible: which keys each query may see, bool, broadcastable to (B, H, T, S); None for all.
        causal: hide later keys, T = S.
    """
    gqa = q.shape[1] != k.shape[1]
    if q.device.type == "cpu" and q.requires_grad and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), visible, 0.0, causal, enable_gqa=gqa)
    return F.scaled_dot_product_attention(q, k, v, visible, 0.0, causal, enable_gqa=gqa)


def attention_weights(q: Tensor, k: Tensor, visible: Tensor | None, *, causal: bool = False) -> Tensor:
    """The softmax weights of `attend`, (B, H, T, S), each row summing to one; arguments as there."""
    scores = q @ k.repeat_interleave(q.shape[1] // k.shape[1], 1).mT / q.shape[-1] ** 0.5
    if causal:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    weights = (scores if visible is None else scores.masked_fill(~visible, -torch.inf)).softmax(-1)
    return cast(Tensor, weights)


class Span(NamedTuple):
    """The positions of the current call, shared by the layers of a stack."""

    mask: Tensor | None
    """False at padding, bool (B, T); None without padding."""
    visible: Tensor | None
    """Which keys each query may see, bool, broadcastable to (B, H, T, S + T); None for all, or with `hide_later` and
    S = 0 for all up to the query itself."""
    rotation: tuple[Tensor, Tensor] | None
    """Cosine and sine of the rotary angles (B, 1, T, D / 2H); None for learned positions."""
    keep: int
    """Number of the S + T keys that later queries may see."""
    hide_later: bool = False
    """Whether later keys are hidden, where `visible` is None. A plain bool rather than a test in each layer, so that
    layers compiled for many lengths need no recompilation."""


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017), with keys shared by groups of queries.

    Args:
        size: features D of inputs and outputs.
        num_heads: heads H of the queries; D is divisible by it.
        num_kv_heads: heads of keys and values; H is divisible by it (Ainslie et al. 2023).
    """

    attends = True
    """Whether it caches keys and values, whose positions a stack keeps."""

    def __init__(self, size: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.head_size = size // num_heads
        self.heads = (num_heads, num_kv_heads, num_kv_heads)
        self.project = nn.Linear(size, sum(self.heads) * self.head_size, bias=False)
        self.out = nn.Linear(size, size, bias=False)

    def initial_state(self, rows: int) -> KeysValues:
        """No keys and values yet."""
        weight = self.project.weight  # a device may hold only a part of it
        empty = torch.zeros(rows, self.heads[1], 0, self.head_size, dtype=weight.dtype, device=weight.device)
        return empty, empty

    def forward(self, x: Tensor, state: State, span: Span, trace: Trace | None = None) -> tuple[Tensor, KeysValues]:
        """Attend to the cache, keys and values (B, kv heads, S, D / H), and to `x` itself, (B, T, D).

        Returns outputs (B, T, D), and the keys and values that later positions may see.
        """
        B, T, D = x.shape
        cache = cast(KeysValues, state)
        heads = self.project(x).view(B, T, -1, self.head_size).transpose(1, 2)
        queries, keys, values = self.heads
        qk, v = heads.split((queries + keys, values), 1)  # (B, heads, T, D / H)
        if span.rotation is not None:
            qk = rotate(qk, *span.rotation)
        q, k = qk.split((queries, keys), 1)
        if cache[0].shape[2]:
            k, v = torch.cat((cache[0].to(k.dtype), k), 2), torch.cat((cache[1].to(v.dtype), v), 2)
        y = attend(q, k, v, span.visible, causal=span.hide_later)
        if trace is not None:
            trace.attention[""] = attention_weights(q, k, span.visible, causal=span.hide_later)
        first = k.shape[2] - span.keep
        return self.out(y.transpose(1, 2).reshape(B, T, D)), (k[:, :, first:], v[:, :, first:])


class CrossAttention(nn.Module):
    """Multi-head attention to a memory, whose keys and values are projected once (Vaswani et al. 2017).

    Args:
        size: features D of inputs and outputs.
        memory_size: features of the memory.
        num_heads: heads H; D is divisible by it.
    """

    def __init__(self, size: int, memory_size: int, num_heads: int) -> None:
        super().__init__()
        self.heads = num_heads
        self.query = nn.Linear(size, size, bias=False)
        self.project = nn.Linear(memory_size, 2 * size, bias=False)
        self.project.stacked_maps = 2  # type: ignore[assignment]  # read by optimizers
        self.out = nn.Linear(size, size, bias=False)

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
        q = self._by_head(self.query(x).reshape(len(visible), -1, x.shape[2]))
        y = attend(q, *memory, visible)
        if trace is not None:
            weights = attention_weights(q, memory[0], visible)
            rows = weights.view(len(visible), self.heads, -1, x.shape[1], weights.shape[-1])
            trace.cross[""] = rows.transpose(1, 2).flatten(0, 1)
        return cast(Tensor, self.out(y.transpose(1, 2).reshape(x.shape)))
