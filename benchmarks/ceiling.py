"""What the machine could do at best: a product of large matrices, and a copy of much memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ceiling:
    """Measured on all threads.

    Attributes:
        flops: floating-point operations a second in a product of single precision.
        flops_bf16: the same in bfloat16.
        bytes: read and written in a second by a copy.
    """

    flops: float
    flops_bf16: float
    bytes: float

    def line(self) -> str:
        """For people."""
        return (
            f"ceiling: {self.flops / 1e9:,.0f} GFLOP/s in fp32, {self.flops_bf16 / 1e9:,.0f} in bf16, "
            f"{self.bytes / 1e9:,.1f} GB/s"
        )


def ceiling(size: int = 1024, numbers: int = 2**26, times: int = 5) -> Ceiling:
    """Measure it; the best of several times counts.

    Args:
        size: of the square matrices.
        numbers: that are copied, of four bytes each.
        times: how often.
    """
    a, b = torch.randn(2, size, size)
    half = a.bfloat16(), b.bfloat16()
    source, target = torch.ones(numbers), torch.empty(numbers)

    def best(work: Callable[[], object], amount: float) -> float:
        seconds = []
        for _ in range(times + 1):  # the first one warms up
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
        return amount / min(seconds[1:])

    operations = 2.0 * size**3
    return Ceiling(
        best(lambda: a @ b, operations),
        best(lambda: half[0] @ half[1], operations),
        best(lambda: target.copy_(source), 8.0 * numbers),
    )
