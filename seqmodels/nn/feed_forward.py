"""The layers that work on each position by itself, and the norms before them."""

from abc import ABC, abstractmethod
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "swiglu"]


class FeedForward(nn.Module, ABC):
    """Two layers, `out(inside(x))`."""

    out: nn.Linear

    @abstractmethod
    def inside(self, x: Tensor) -> Tensor:
        """What the second layer reads."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.out(self.inside(x)))


class GELU(FeedForward):
    """GELU between the layers (Hendrycks and Gimpel 2016), four times as wide inside."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.up = nn.Linear(size, 4 * size, bias=False)
        self.out = nn.Linear(4 * size, size, bias=False)

    def inside(self, x: Tensor) -> Tensor:
        return F.gelu(self.up(x))


class SwiGLU(FeedForward):
    """Gated layer (Shazeer 2020), as many parameters as `GELU`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        width = 8 * size // 3
        self.up = nn.Linear(size, 2 * width, bias=False)
        self.out = nn.Linear(width, size, bias=False)

    def inside(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        return cast(Tensor, F.silu(gate) * value)


class LayerNorm(nn.LayerNorm):
    """Torch's, also for weights that were gathered in half precision, which its kernel for CPUs refuses."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class RMSNorm(nn.RMSNorm):
    """Likewise."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RMSNorm}
_ACTIVATIONS: dict[str, type[FeedForward]] = {"gelu": GELU, "swiglu": SwiGLU}


def make_norm(name: Norm, size: int) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019).

    Raises:
        InputError: the name is not known.
    """
    if name not in _NORMS:
        raise InputError(f"the norm {name!r} is not known; choose {' or '.join(_NORMS)}")
    return _NORMS[name](size)


def make_feed_forward(name: Activation, size: int) -> FeedForward:
    """`GELU` or `SwiGLU`.

    Raises:
        InputError: the name is not known.
    """
    if name not in _ACTIVATIONS:
        raise InputError(f"the activation {name!r} is not known; choose {' or '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name](size)
