"""Loading batches by number, from any place in an epoch."""

import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from seqmodels.batch import Batch
from seqmodels.data.windows import Batches


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
