"""The residual block: feed-forward layers, and the order in which norms and branches are applied."""

from collections.abc import Callable, Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.attention import CrossAttention, KeysValues, Span
from seqmodels.nn.dropout import dropout
from seqmodels.nn.trace import Trace
from seqmodels.state import State

Activation = Literal["gelu", "gelu-tanh", "relu", "silu", "geglu", "geglu-tanh", "reglu", "swiglu"]
Residual = Literal["pre-norm", "post-norm", "parallel"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu, "gelu-tanh": _gelu_tanh, "relu": F.relu, "silu": F.silu,
}  # fmt: skip
GATED: dict[str, Callable[[Tensor], Tensor]] = {
    "geglu": F.gelu, "geglu-tanh": _gelu_tanh, "reglu": F.relu, "swiglu": F.silu,
}  # fmt: skip


class FeedForward(nn.Module):
    """Two layers at each position, `out(inside(x))`, the first of them plain or gated (Shazeer 2020).

    Args:
        size: features D of inputs and outputs.
        activation: between the layers.
        width: features between them; by default 4 D, or 8 D / 3 if gated, which has as many weights.
        bias: whether the layers have one.
    """

    def __init__(self, size: int, activation: Activation, width: int | None = None, bias: bool = False) -> None:
        super().__init__()
        if activation not in PLAIN | GATED:
            names = ", ".join(PLAIN | GATED)
            raise InputError(f"the activation {activation!r} is not known; choose one of {names}")
        self.gated = activation in GATED
        if width is None:
            width = 8 * size // 3 if self.gated else 4 * size
        self.activation: Callable[[Tensor], Tensor] = (PLAIN | GATED)[activation]
        self.up = nn.Linear(size, 2 * width if self.gated else width, bias)
        self.out = nn.Linear(width, size, bias)

    def inside(self, x: Tensor) -> Tensor:
        """The hidden features, input of the second layer."""
        return self.activated(self.up(x))

    def activated(self, h: Tensor) -> Tensor:
        """The hidden features from the outputs of the first layer."""
        if self.gated:
            gate, value = h.chunk(2, -1)
            return self.activation(gate) * value
        return self.activation(h)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(self.inside(x)))


Branch = Callable[[Tensor, Tensor], Tensor]
"""`x + f(h)` of the residual stream `x` and what the branch reads, `h`."""
Order = Callable[[Tensor, Sequence[Callable[[Tensor], Tensor]], Sequence[Branch]], Tensor]


def _pre_norm(x: Tensor, norms: Sequence[Callable[[Tensor], Tensor]], branches: Sequence[Branch]) -> Tensor:
    for norm, branch in zip(norms, branches, strict=True):
        x = branch(x, norm(x))
    return x


def _post_norm(x: Tensor, norms: Sequence[Callable[[Tensor], Tensor]], branches: Sequence[Branch]) -> Tensor:
    for norm, branch in zip(norms, branches, strict=True):
        x = norm(branch(x, x))
    return x


def _parallel(x: Tensor, norms: Sequence[Callable[[Tensor], Tensor]], branches: Sequence[Branch]) -> Tensor:
    read = [norm(x) for norm in norms]
    for h, branch in zip(read, branches, strict=True):
        x = branch(x, h)
    return x


_ORDERS: dict[str, Order] = {"pre-norm": _pre_norm, "post-norm": _post_norm, "parallel": _parallel}


class Block(nn.Module):
    """A mixer and feed-forward layers, each a branch of the residual stream with a norm of its own.

    Pre-norm, as GPT-2: `x + mixer(norm(x))`, then `x + feed_forward(norm(x))`. Post-norm, as Vaswani et al. (2017):
    `norm(x + mixer(x))`, then `norm(x + feed_forward(x))`. Parallel, as GPT-NeoX: `x + mixer(norm(x)) +
    feed_forward(norm(x))`. With a memory, attention to it is a branch between the two.

    Args:
        mixer: `y, state = mixer(x, state, span, trace)`, attention or a recurrent layer.
        cross: attention to the memory; None without one.
        feed_forward: the layers at each position; None for a block of the mixer alone.
        norm: makes a norm for each of them.
        dropout: dropout probability of each residual branch.
        residual: one of the three orders.
    """

    def __init__(
        self,
        mixer: nn.Module,
        cross: CrossAttention | None,
        feed_forward: nn.Module | None,
        norm: Callable[[], nn.Module],
        dropout: float,
        residual: Residual = "pre-norm",
    ) -> None:
        super().__init__()
        if residual not in _ORDERS:
            raise InputError(f"residual={residual!r} is not known; choose one of {', '.join(_ORDERS)}")
        self.norm_mixer = norm()
        self.norm_feed_forward = None if feed_forward is None else norm()
        self.norm_cross = None if cross is None else norm()
        self.mixer, self.cross, self.feed_forward, self.dropout = mixer, cross, feed_forward, dropout
        self.order = _ORDERS[residual]

    def remember(self, source: Tensor) -> KeysValues:
        """Keys and values of a source, for a block with a memory."""
        return cast(CrossAttention, self.cross).remember(source)

    def forward(
        self, x: Tensor, state: State, span: Span, memory: KeysValues | None, visible: Tensor | None,
        trace: Trace | None,
    ) -> tuple[Tensor, State]:  # fmt: skip
        following = state

        def mix(x: Tensor, h: Tensor) -> Tensor:
            nonlocal following
            y, following = self.mixer(h, state, span, trace)
            return x + dropout(y, self.dropout, self.training)

        def look_up(x: Tensor, h: Tensor) -> Tensor:
            y = cast(CrossAttention, self.cross)(h, memory, visible, trace)
            return x + dropout(y, self.dropout, self.training)

        def feed(x: Tensor, h: Tensor) -> Tensor:
            return x + dropout(cast(nn.Module, self.feed_forward)(h), self.dropout, self.training)

        parts = ((self.norm_mixer, mix), (self.norm_cross, look_up), (self.norm_feed_forward, feed))
        used = [(norm, branch) for norm, branch in parts if norm is not None]
        norms, branches = [norm for norm, _ in used], [branch for _, branch in used]
        x = self.order(x, norms, branches)
        if trace is not None:
            trace.units[""] = x if span.mask is None else x * span.mask.unsqueeze(-1)
        return x, following
