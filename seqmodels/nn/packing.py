"""Products with one matrix again and again, laid out once in the order in which the processor reads it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Product = Callable[[Tensor], Tensor]
"""`x W^T`, or `x W^T + b`, (B, K), of inputs (B, D)."""

ALIGNMENT = 64
"""Bytes. Matrix kernels may round differently where a tensor begins elsewhere."""
PACKED = {torch.float32: 2**18, torch.bfloat16: 2**16}
"""Weights from which oneDNN's layout pays: its calls take 20 microseconds more than others."""


def packs(weight: Tensor, rows: int) -> bool:
    """Whether products of so many rows with this matrix are faster in oneDNN's layout, which torch's LSTM uses, too."""
    if rows < 2 or weight.device.type != "cpu" or weight.numel() < PACKED.get(weight.dtype, math.inf):
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    multiplies = weight.dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return multiplies and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def packed(weight: Tensor, bias: Tensor | None, rows: int) -> Product:
    """A product in oneDNN's layout, without gradients; see `packs`. The weights (K, D) are copied."""
    layout = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), rows)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: multiply(x, layout, bias, "none", [], "")


def lay_out(module: nn.Module) -> None:
    """Put weights that another program's file holds otherwise, such as transposed, as torch would have made them.

    Then numbers are to the bit those of a model that is read from a checkpoint.
    """
    for weight in module.parameters():
        if weight.device.type == "cpu" and (not weight.is_contiguous() or weight.data_ptr() % ALIGNMENT):
            weight.data = weight.data.clone(memory_format=torch.contiguous_format)


def product(weight: Tensor, rows: int) -> Product:
    """The fastest product for many inputs (B, D) of so many rows each, without gradients; the weights are copied."""
    if packs(weight, rows):
        return packed(weight, None, rows)
    columns = weight.mT.contiguous()
    return lambda x: torch.mm(x, columns)
