"""Products with one matrix again and again, laid out once in the order in which the processor reads it."""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""`x W^T`, (B, K), of inputs (B, D)."""

PACKED = 2**18
"""Weights from which oneDNN's layout pays: its calls take 20 microseconds more than others."""


def product(weight: Tensor, rows: int) -> Product:
    """`x W^T` for many inputs (B, D) of so many rows each, without gradients; `weight` (K, D) is copied.

    With several rows in single precision on a CPU, oneDNN's layout, as in torch's own LSTM; else columns side by side.
    """
    several = rows > 1 and weight.numel() >= PACKED
    if several and _packs(weight):
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        multiply = torch.ops.mkldnn._linear_pointwise.default
        return lambda x: multiply(x, packed, None, "none", [], "")
    columns = weight.mT.contiguous()
    return lambda x: torch.mm(x, columns)


def _packs(weight: Tensor) -> bool:
    """Whether oneDNN has a layout for this matrix."""
    plain = weight.device.type == "cpu" and weight.dtype == torch.float32
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return plain and there and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
