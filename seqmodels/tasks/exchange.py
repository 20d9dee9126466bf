"""Means over all ranks that are on their way while a rank computes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, distributed

from seqmodels.environment import wide

Exchanged = Callable[[], Sequence[Tensor]]
"""Waits for the means."""


def exchanged(ranks: int, *numbers: Tensor) -> Exchanged:
    """Send numbers of this rank to all others; what is returned waits for the means over all ranks.

    Lightning's `reduce` waits twice, for a barrier and for the sum. All ranks call this in the same order.

    Args:
        ranks: their number; for 1 the numbers are returned as they are.
        numbers: single ones; the means are on the device of the first, in its widest precision.
    """
    if ranks == 1:
        return lambda: numbers
    sums = torch.stack([wide(number.to(numbers[0].device)) for number in numbers])
    work = distributed.all_reduce(sums, async_op=True)

    def means() -> Sequence[Tensor]:
        work.wait()
        return (sums / ranks).unbind()

    return means
