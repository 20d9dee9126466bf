"""Norms of features: layer norm and RMS norm."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError

Norm = Literal["layer", "rms", "rms-plus-one"]


class LayerNorm(nn.LayerNorm):
    """Torch's layer norm, also for weights gathered in half precision, which its CPU kernel refuses."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


class RMSNorm(nn.RMSNorm):
    """Torch's RMS norm, likewise."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class RMSNormPlusOne(RMSNorm):
    """The same with scales of 1 + w, as Gemma stores them."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, 1 + self.weight.to(x.dtype), self.eps)


_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RMSNorm, "rms-plus-one": RMSNormPlusOne}


def make_norm(name: Norm, size: int, eps: float | None = None) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019); by default with the eps of torch's.

    See `RMSNormPlusOne` for the third.
    """
    if name not in _NORMS:
        raise InputError(f"the norm {name!r} is not known; choose one of {', '.join(_NORMS)}")
    return _NORMS[name](size) if eps is None else _NORMS[name](size, eps=eps)
