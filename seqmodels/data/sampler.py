"""The order of batches as a pure function of epoch, step, seed and rank, and a loader that begins anywhere in it.

No iterator remembers its position, so a run resumes from two integers, whatever the number of worker processes. The
ranks split one global batch: W ranks with B rows each read, together, what one process with W * B rows reads.
"""

import functools
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from seqmodels.batch import Batch
from seqmodels.environment import STOP_SIGNALS


@dataclass(frozen=True)
class Replica:
    """A process of data-parallel training, number `rank` of `world` W, and its rows of every global batch."""

    rank: int = 0
    world: int = 1

    def rows(self, batch_size: int) -> slice:
        """This rank's rows of a global batch of `world * batch_size` rows."""
        return slice(self.rank * batch_size, (self.rank + 1) * batch_size)


def examples(
    count: int, batch_size: int, step: int, replica: Replica, *, seed: int, epoch: int, shuffle: bool
) -> Tensor:
    """Indices of the examples in training batch `step` of one rank, int64 (B,), of `count` examples.

    An epoch has `count // (W * B)` batches; the remainder is left out. The order is random, and another one in every
    epoch, with `shuffle`; otherwise that of the data.
    """
    together = slice(step * batch_size * replica.world, (step + 1) * batch_size * replica.world)
    order = permutation(count, seed, epoch)[together] if shuffle else torch.arange(together.start, together.stop)
    return order[replica.rows(batch_size)]


@functools.lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """A random permutation of `count` indices, the same in every process."""
    return torch.randperm(count, generator=generator(seed, epoch))


def generator(seed: int, epoch: int) -> torch.Generator:
    """A random generator seeded with these two numbers alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 63))


class Batches(Dataset[Batch], ABC):
    """A dataset of whole batches: batch k of epoch e, gathered at once."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of batches in an epoch, the same on every rank."""

    @abstractmethod
    def __getitem__(self, place: tuple[int, int]) -> Batch:
        """Batch `k` of epoch `e`, for `place = (e, k)`."""

    def position(self, step: int) -> list[int]:
        """The position in a stream at a batch, for `seek`; empty for data that is stored."""
        return []

    def seek(self, position: list[int]) -> None:
        """Continue from a position of `position`, without reading the stream before it."""


class BatchNumbers(DistributedSampler[tuple[int, int]], SequentialSampler):
    """Numbers `(epoch, k)` of the batches of an epoch, in order.

    A `DistributedSampler` and a `SequentialSampler` by type only: Lightning tells the one its epoch, and replaces
    neither. `Batches` splits the data among the ranks. The first epoch and batch are `place`; every later epoch begins
    at batch 0. If `fixed`, all epochs have the batches of the first, for overfitting on a few of them. `world` is the
    number of processes that the data are divided among, if it is known.
    """

    def __init__(
        self, batches: Batches, place: tuple[int, int] = (0, 0), world: int | None = None, fixed: bool = False
    ) -> None:
        super().__init__(batches, num_replicas=1, rank=0, shuffle=False)
        self.count, self.world, self.fixed = len(batches), world, fixed
        self.epoch, self.start = place

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        if not self.fixed:
            super().set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        # Not before the first number is taken: with worker processes, a loader makes an iterator that it throws away.
        start, self.start = self.start, 0
        for k in range(start, self.count):
            yield self.epoch, k


def loader(
    batches: Batches, *, place: tuple[int, int] = (0, 0), num_workers: int = 0, world: int | None = None,
    fixed: bool = False,
) -> "DataLoader[Batch]":  # fmt: skip
    """A loader of whole batches in their order, beginning at `place = (epoch, batch)`; see `BatchNumbers`."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=BatchNumbers(batches, place, world, fixed),
        collate_fn=_identity,  # type: ignore[arg-type]  # without batch_size it is given one batch, not a list
        num_workers=num_workers,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # or each epoch would draw from the random state that dropout uses
        persistent_workers=num_workers > 0,
    )


def _ignore_signals(worker: int) -> None:
    """Schedulers may signal all processes of a run; a worker ends with the process that started it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _identity(batch: Batch) -> Batch:
    return batch
