"""Which examples make batch k of epoch e on rank r: pure functions of a few integers.

Nothing here remembers anything, so a run resumes from two integers, whatever the number of worker processes,
and the ranks divide one global batch among themselves: W ranks with B rows each see, together, what one
process with W * B rows sees.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """The part of every global batch that is this process's own.

    Attributes:
        rank: number of this process.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    def rows(self, batch_size: int) -> slice:
        """Which rows of a global batch of `world * batch_size` rows are this rank's."""
        return slice(self.rank * batch_size, (self.rank + 1) * batch_size)


def examples(count: int, batch_size: int, step: int, share: Share, *, seed: int, epoch: int, shuffle: bool) -> Tensor:
    """Numbers of the examples in one batch of training.

    Args:
        count: how many examples there are.
        batch_size: rows B on each rank.
        step: number of the batch in its epoch, below `count // (world * B)`: what is left over is left out.
        share: which rank asks.
        seed: with the epoch, what the shuffled order depends on.
        epoch: every epoch has an order of its own.
        shuffle: a random order, or as they come.

    Returns:
        int64 (B,).
    """
    together = batch_size * share.world
    first = step * together
    if shuffle:
        return permutation(count, seed, epoch)[first : first + together][share.rows(batch_size)]
    return torch.arange(first, first + together)[share.rows(batch_size)]


@functools.lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """A random order of `count` examples, the same wherever it is computed."""
    return torch.randperm(count, generator=generator(seed, epoch))


def generator(seed: int, epoch: int) -> torch.Generator:
    """A random generator that depends on these two and on nothing else."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 63))
