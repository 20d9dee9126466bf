"""Limits of a machine, measured: a product of large matrices, and a copy of much memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch


@dataclass(frozen=True)
class Ceiling:
    """Limits on all threads, or of a GPU.

    Attributes:
        flops: floating-point operations per second of a product in single precision.
        flops_bf16: the same in bfloat16.
        bytes: bytes per second read and written by a copy.
    """

    flops: float
    flops_bf16: float
    bytes: float

    def line(self) -> str:
        """One line of text."""
        return (
            f"ceiling: {self.flops / 1e9:,.0f} GFLOP/s in fp32, {self.flops_bf16 / 1e9:,.0f} in bf16, "
            f"{self.bytes / 1e9:,.1f} GB/s"
        )

    def fraction(self, per_second: float, cost: "Cost") -> float:
        """The fraction of the limit that a rate reaches."""
        return per_second * cost.amount / float(getattr(self, cost.of))


class Cost(NamedTuple):
    """Minimal cost of a unit of work."""

    amount: float
    of: Literal["flops", "flops_bf16", "bytes"]


def ceiling(size: int = 1024, numbers: int = 2**26, times: int = 5, device: str = "cpu") -> Ceiling:
    """Measure the limits with square matrices of `size` rows, and a copy of `numbers` of four bytes each.

    On a GPU both are eight times as large. The best of several runs counts.
    """
    gpu = device != "cpu"
    if gpu:
        size, numbers = 8 * size, 8 * numbers
    a, b = torch.randn(2, size, size, device=device)
    half = a.bfloat16(), b.bfloat16()
    source, target = torch.ones(numbers, device=device), torch.empty(numbers, device=device)

    def best(work: Callable[[], object], amount: float) -> float:
        seconds = []
        for _ in range(times + 1):  # the first one warms up
            began = time.perf_counter()
            work()
            if gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return amount / min(seconds[1:])

    operations = 2.0 * size**3
    return Ceiling(
        best(lambda: a @ b, operations),
        best(lambda: half[0] @ half[1], operations),
        best(lambda: target.copy_(source), 8.0 * numbers),
    )
