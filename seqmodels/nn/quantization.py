"""Products with weights of eight bits, for use on a CPU: a quarter of the memory, which is what a few rows wait for."""

import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError

LEAST = 2**16
"""Weights of a layer below which the rounding of its inputs takes longer than it gains."""


class Int8Linear(nn.Module):
    """`W x + b` with each row of `W` in 255 steps of its largest weight, and `x` rounded likewise as it comes.

    The products are torch's own (Jacob et al. 2018, eq. 9, with symmetric weights).

    Args:
        linear: the layer that it stands for, on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        steps = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        middle = torch.zeros_like(steps, dtype=torch.int64)
        with warnings.catch_warnings():  # of their end in some later torch: what is to follow them has to be compiled
            warnings.filterwarnings("ignore", ".*quantized tensor creation functions")
            rounded = torch.quantize_per_channel(weight, steps, middle, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.weight = weight[:0]  # states take their type and device from it
        self._packed: Any = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., in_features) to (..., out_features)."""
        # One bit of the inputs is left unused: without it, sums of products may overflow on older processors.
        return cast(Tensor, torch.ops.quantized.linear_dynamic(x, self._packed, True))


def to_int8(model: nn.Module) -> None:
    """Give all linear layers that are large enough weights of eight bits, in place; recurrent maps stay as they are.

    Args:
        model: on a CPU, in single precision. It cannot be trained or saved afterwards.

    Raises:
        InputError: there is no such layer, or this build of torch has no such products.
    """
    if torch.backends.quantized.engine == "none":
        raise InputError("this build of torch has no products of eight bits; leave out --int8")
    found = 0
    for part in list(model.modules()):
        for name, layer in part.named_children():
            if isinstance(layer, nn.Linear) and layer.weight.numel() >= LEAST:
                setattr(part, name, Int8Linear(layer))
                found += 1
    if not found:
        raise InputError(
            f"no linear layer of this model has {LEAST:,} weights, below which eight bits gain nothing; leave out "
            "--int8"
        )
