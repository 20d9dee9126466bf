"""Norms of features: layer norm, RMS norm, and vectors of length 1."""

import math
from typing import Any, Literal, cast

import torch
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
        return rms_norm(x, self.weight.to(x.dtype), self.eps)


class RMSNormPlusOne(RMSNorm):
    """The same with scales of 1 + w, as Gemma stores them."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, 1 + self.weight.to(x.dtype), self.eps)


_NORMS: dict[str, type[nn.Module]] = {"layer": LayerNorm, "rms": RMSNorm, "rms-plus-one": RMSNormPlusOne}


def make_norm(name: Norm, size: int, eps: float | None = None) -> nn.Module:
    """Layer norm (Ba et al. 2016) or RMS norm (Zhang and Sennrich 2019); by default with the eps of torch's.

    See `RMSNormPlusOne` for the third.
    """
    if name not in _NORMS:
        raise InputError(f"the norm {name!r} is not known; choose one of {', '.join(_NORMS)}")
    return _NORMS[name](size) if eps is None else _NORMS[name](size, eps=eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float | None = None) -> Tensor:
    """Features (..., D) over the root of their mean square, times weights (D,).

    Args:
        x: the features.
        weight: scales.
        eps: added to the mean square; default: the smallest relative difference of the numbers' type.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return F.rms_norm(x, weight.shape, weight, eps)
    size = x.shape[-1]
    least = size * (torch.finfo(x.dtype).eps if eps is None else eps)
    return unit_length(x, least) * (weight * math.sqrt(size))


def unit_length(x: Tensor, least: float) -> Tensor:
    """`x / sqrt(|x|^2 + least)` over the last dimension; to train it takes about half the time of torch's on a CPU."""
    if torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
        return cast(Tensor, _UnitLength.apply(x, least))  # type: ignore[no-untyped-call]
    return x * _inverse_length(x, least)


def _inverse_length(x: Tensor, least: float) -> Tensor:
    square: Tensor = torch.linalg.vecdot(x, x)
    return (square.unsqueeze(-1) + least).rsqrt()


class _UnitLength(torch.autograd.Function):
    """Keeps its input alone, rather than its square, the square's sum and so on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.least = least
        return x * _inverse_length(x, least)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        scale = _inverse_length(x, ctx.least)
        along = torch.linalg.vecdot(gradient, x).unsqueeze(-1) * scale * scale
        return torch.addcmul(gradient, x, along, value=-1) * scale, None
