"""Models for inference: in bfloat16, or with 8-bit weights on a CPU, where memory bounds small products."""

import warnings
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from seqmodels.environment import choose_accelerator
from seqmodels.errors import InputError

MIN_WEIGHTS = 2**16
"""Size of a layer below which rounding its inputs takes longer than it saves."""


class Int8Linear(nn.Module):
    """`W x + b` with each row of `W` rounded to 255 steps, and `x` rounded dynamically.

    The products are torch's (Jacob et al. 2018, eq. 9, with symmetric weights).

    Args:
        linear: the layer that it replaces, on a CPU.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        steps = (weight.abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
        middle = torch.zeros_like(steps, dtype=torch.int64)
        with warnings.catch_warnings():  # of their removal from torch: their successor needs a compiler
            warnings.filterwarnings("ignore", ".*quantized tensor creation functions")
            rounded = torch.quantize_per_channel(weight, steps, middle, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.weight = weight[:0]  # other code reads its type and device
        self._packed: Any = torch.ops.quantized.linear_prepack(rounded, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., in_features) to (..., out_features)."""
        # With all 8 bits of the inputs, sums of products may overflow on older processors; one is left unused.
        return cast(Tensor, torch.ops.quantized.linear_dynamic(x, self._packed, True))


def to_int8(model: nn.Module) -> None:
    """Replace all large linear layers by `Int8Linear`, in place; recurrent matrices are left unchanged.

    Args:
        model: on a CPU, in single precision. It cannot be trained or saved afterwards.

    Raises:
        InputError: no layer is large enough, or this build of torch has no 8-bit products.
    """
    if torch.backends.quantized.engine == "none":
        raise InputError("this build of torch has no 8-bit products; leave out --int8")
    found = 0
    for part in list(model.modules()):
        for name, layer in part.named_children():
            if type(layer) is nn.Linear and layer.weight.numel() >= MIN_WEIGHTS:
                setattr(part, name, Int8Linear(layer))
                found += 1
    if not found:
        raise InputError(
            f"no linear layer of this model has {MIN_WEIGHTS:,} weights, below which 8 bits save nothing; leave out "
            "--int8"
        )


Model = TypeVar("Model", bound=nn.Module)


def for_use(model: Model, *, bf16: bool = False, int8: bool = False) -> Model:
    """Prepare a model, in place: on a GPU where there is one, with bfloat16 weights, or with 8-bit weights on the CPU.

    Raises:
        InputError: both are asked for, or the model gains nothing by eight bits.
    """
    if bf16 and int8:
        raise InputError("--bf16 and --int8 were both given; expected one of them")
    if int8:
        to_int8(model)
        return model
    device = "cuda" if choose_accelerator() == "gpu" else "cpu"
    return model.to(device, torch.bfloat16 if bf16 else None)
