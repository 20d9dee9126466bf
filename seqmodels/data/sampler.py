"""Which examples make batch k of epoch e on rank r: pure functions of a few integers.

Nothing here remembers anything, so a run resumes from two integers, whatever the number of worker processes,
and the ranks divide one global batch among themselves: W ranks with B rows each see, together, what one
process with W * B rows sees.

Loading batches by number, from any place in an epoch.
"""

import functools
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from seqmodels.batch import Batch


@dataclass(frozen=True)
class Replica:
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


def examples(
    count: int, batch_size: int, step: int, replica: Replica, *, seed: int, epoch: int, shuffle: bool
) -> Tensor:
    """Numbers of the examples in one batch of training.

    Args:
        count: how many examples there are.
        batch_size: rows B on each rank.
        step: number of the batch in its epoch, below `count // (world * B)`: what is left over is left out.
        replica: which rank asks.
        seed: with the epoch, what the shuffled order depends on.
        epoch: every epoch has an order of its own.
        shuffle: a random order, or as they come.

    Returns:
        int64 (B,).
    """
    together = batch_size * replica.world
    first = step * together
    if shuffle:
        return permutation(count, seed, epoch)[first : first + together][replica.rows(batch_size)]
    return torch.arange(first, first + together)[replica.rows(batch_size)]


@functools.lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """A random order of `count` examples, the same wherever it is computed."""
    return torch.randperm(count, generator=generator(seed, epoch))


def generator(seed: int, epoch: int) -> torch.Generator:
    """A random generator that depends on these two and on nothing else."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 63))


class Batches(Dataset[Batch], ABC):
    """Batch k of epoch e, gathered at once."""

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch, on every rank."""

    @abstractmethod
    def __getitem__(self, place: tuple[int, int]) -> Batch:
        """Batch `k` of epoch `e`, for `place = (e, k)`."""

    def position(self, step: int) -> list[int]:
        """What is to be known, beside its number, to read from a batch on at once; nothing where batches are stored."""
        return []

    def seek(self, position: list[int]) -> None:
        """Be ready to read from the batch on of which this is the position, without all that comes before it."""


class BatchNumbers(DistributedSampler[tuple[int, int]]):
    """Numbers `(epoch, k)` of the batches of an epoch, in order.

    A `DistributedSampler` by type only: Lightning tells such a sampler its epoch and does not replace it. What each
    rank reads is settled in `Batches`.

    Args:
        batches: what is counted.
        place: epoch and batch to begin at; every epoch after that begins at batch 0.
    """

    def __init__(self, batches: Batches, place: tuple[int, int] = (0, 0)) -> None:
        super().__init__(batches, num_replicas=1, rank=0, shuffle=False)
        self.count = len(batches)
        self.epoch, self.start = place

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # Not before the first number is taken: with worker processes, a loader makes an iterator that it throws away.
        start, self.start = self.start, 0
        for k in range(start, self.count):
            yield self.epoch, k


def loader(batches: Batches, *, place: tuple[int, int] = (0, 0), num_workers: int = 0) -> "DataLoader[Batch]":
    """A loader of whole batches, in their order, beginning at a place `(epoch, batch)`."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=BatchNumbers(batches, place),
        collate_fn=_as_it_is,  # type: ignore[arg-type]  # without batch_size it is given one batch, not a list
        num_workers=num_workers,
        worker_init_fn=_leave_signals,
        generator=torch.Generator(),  # or each epoch would draw from the chance that dropout draws from
        persistent_workers=num_workers > 0,
    )


def _leave_signals(worker: int) -> None:
    """What asks a run to end is sent to all of its processes by some; this one ends with the one that it works for."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _as_it_is(batch: Batch) -> Batch:
    return batch
