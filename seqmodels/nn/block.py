"""The residual block of a pre-norm stack: norms, feed-forward layers, and the order in which they are applied."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.attention import CrossAttention, KeysValues, Span
from seqmodels.nn.dropout import dropout
from seqmodels.nn.trace import Trace
from seqmodels.state import State

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "swiglu"]


class FeedForward(nn.Module, ABC):
    """Two layers at each position, `out(inside(x))`."""

    out: nn.Linear

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """The hidden features, input of the second layer."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(self.inside(x)))


class GELU(FeedForward):
    """GELU between the layers (Hendrycks and Gimpel 2016), with four times as many hidden features."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.up = nn.Linear(size, 4 * size, bias=False)
        self.out = nn.Linear(4 * size, size, bias=False)

    def inside(self, x: Tensor) -> Tensor:
        return F.gelu(self.up(x))


class SwiGLU(FeedForward):
    """Gated layer (Shazeer 2020), with the number of parameters of `GELU`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        width = 8 * size // 3
        self.up = nn.Linear(size, 2 * width, bias=False)
        self.out = nn.Linear(width, size, bias=False)

    def inside(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        return cast(Tensor, F.silu(gate) * value)


class LayerNorm(nn.LayerNorm):
    """Torch's layer norm, also for weights gathered in half precision, which its CPU kernel refuses."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class RMSNorm(nn.RMSNorm):
    """Torch's RMS norm, likewise."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RMSNorm}
_ACTIVATIONS: dict[str, type[FeedForward]] = {"gelu": GELU, "swiglu": SwiGLU}


def make_norm(name: Norm, size: int) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019)."""
    if name not in _NORMS:
        raise InputError(f"the norm {name!r} is not known; choose {' or '.join(_NORMS)}")
    return _NORMS[name](size)


def make_feed_forward(name: Activation, size: int) -> FeedForward:
    """`GELU` or `SwiGLU`."""
    if name not in _ACTIVATIONS:
        raise InputError(f"the activation {name!r} is not known; choose {' or '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name](size)


class Block(nn.Module):
    """`x + mixer(norm(x))`, then `x + feed_forward(norm(x))`, the pre-norm block of GPT-2.

    With a memory, `x + cross(norm(x), memory)` stands between the two.

    Args:
        mixer: `y, state = mixer(x, state, span, trace)`, attention or a recurrent layer.
        cross: attention to the memory; None without one.
        feed_forward: the layers at each position.
        norm: makes a norm for each of them.
        dropout: dropout probability of each residual branch.
    """

    def __init__(
        self,
        mixer: nn.Module,
        cross: CrossAttention | None,
        feed_forward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm_mixer, self.norm_feed_forward = norm(), norm()
        self.norm_cross = None if cross is None else norm()
        self.mixer, self.cross, self.feed_forward, self.dropout = mixer, cross, feed_forward, dropout

    def remember(self, source: Tensor) -> KeysValues:
        """Keys and values of a source, for a block with a memory."""
        return cast(CrossAttention, self.cross).remember(source)

    def forward(
        self, x: Tensor, state: State, span: Span, memory: KeysValues | None, visible: Tensor | None,
        trace: Trace | None,
    ) -> tuple[Tensor, State]:  # fmt: skip
        y, state = self.mixer(self.norm_mixer(x), state, span, trace)
        x = x + dropout(y, self.dropout, self.training)
        if self.cross is not None and self.norm_cross is not None:
            y = self.cross(self.norm_cross(x), memory, visible, trace)
            x = x + dropout(y, self.dropout, self.training)
        y = self.feed_forward(self.norm_feed_forward(x))
        x = x + dropout(y, self.dropout, self.training)
        if trace is not None:
            trace.units[""] = x if span.mask is None else x * span.mask.unsqueeze(-1)
        return x, state
