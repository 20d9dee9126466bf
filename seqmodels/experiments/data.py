"""Problems of long memory as a data module."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from seqmodels.batch import Batch
from seqmodels.data.base import SequenceDataModule
from seqmodels.data.sampler import Batches, Replica, generator
from seqmodels.data.token_column import TextFacts
from seqmodels.errors import InputError
from seqmodels.experiments.problems import memory_task

EPOCH = 1000
"""Batches in an epoch: examples never end, and are never seen twice."""


class MemoryDataModule(SequenceDataModule):
    """Examples of a problem of long memory, made as they are needed.

    Networks that learn side by side, one for each seed, find their rows in the batch in that order. Examples of a seed
    do not depend on the others; those that networks are scored by are the same for all.

    Args:
        task: temporal-order, adding, copying, random-permutation, sequential-digits, permuted-digits, sequential-mnist
            or permuted-mnist.
        length: positions T of an example.
        batch_size: examples of a batch, for each network.
        seeds: one for each network.
        examples: by how many networks are scored.
        shortest: positions of the first examples, where they are to become longer as they are learned, by `lengthen`,
            until they have `length`; all have that from the start where not given.

    Raises:
        InputError: there is no such task, or its examples have another length.
    """

    size_argument = "batch_size"
    order = ("task", "length", "batch_size", "seeds", "shortest")
    splits = ("train", "validation")

    def __init__(
        self,
        task: str = "temporal-order",
        length: int = 100,
        batch_size: int = 20,
        seeds: Sequence[int] = (1,),
        examples: int = 2000,
        shortest: int | None = None,
    ) -> None:
        super().__init__(task, next(iter(seeds), 0), 0)
        self.task, self.length = memory_task(task, length), length
        if shortest is not None and shortest > length:
            raise InputError(f"shortest={shortest} was given with a length of {length}; expected at most that")
        self.longest, self.shortest = length, shortest or length
        if self.shortest < self.task.shortest:
            raise InputError(f"shortest={shortest} was given with {task}; expected at least {self.task.shortest}")
        self.positions = self.shortest
        """Of the examples, at present."""
        for name, value in {"batch_size": batch_size, "examples": examples, "seeds": len(seeds)}.items():
            if value < 1:
                raise InputError(f"{name} of {value} was given; expected at least 1")
        if min(seeds) < 0:  # that before 0 draws the examples by which networks are scored
            raise InputError(f"seeds={list(seeds)} were given; expected whole numbers from 0")
        self.batch_size, self.seeds, self.examples = batch_size, tuple(seeds), examples

    def lengthen(self) -> bool:
        """Make examples longer by two fifths; False where they cannot become longer."""
        before, self.positions = self.positions, min(self.longest, math.ceil(1.4 * self.positions))
        return self.positions > before

    @property
    def origin(self) -> str:
        """See `SequenceDataModule.origin`."""
        return f"{self.data}: {self.task.about}"

    @property
    def extent(self) -> str:
        """See `SequenceDataModule.extent`."""
        return f"examples of {self.length} positions, without end"

    @property
    def size(self) -> int:
        """Rows for each network."""
        return self.batch_size

    def facts(self, split: str) -> TextFacts:
        """There are none."""
        raise InputError(f"{self.data} has no text to count")

    def training_batches(self, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        """See `SequenceDataModule.training_batches`."""
        return _MadeUp(self, replica, EPOCH)

    def scored_batches(self, split: str, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        """See `SequenceDataModule.scored_batches`; several hundred rows at a time."""
        return _Scored(self)


class _MadeUp(Batches):
    """Batches of all seeds.

    Args:
        data: what they are of.
        replica: which rank asks.
        count: batches in an epoch.
    """

    def __init__(self, data: MemoryDataModule, replica: Replica, count: int) -> None:
        self.data, self.replica, self.count = data, replica, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        data, number = self.data, (place[0] * self.count + place[1]) * self.replica.world + self.replica.rank
        make = partial(data.task.make, data.positions, data.batch_size)
        return _joined([make(generator(seed + 1, number), True) for seed in data.seeds])


class _Scored(Batches):
    """The same examples for each seed."""

    rows = 500

    def __init__(self, data: MemoryDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return -(-self.data.examples // self.rows)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        data, first = self.data, place[1] * self.rows
        rows = min(self.rows, data.examples - first)
        return _joined([data.task.make(data.positions, rows, generator(0, place[1]), False)] * len(data.seeds))


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Batch:
    inputs, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Batch(inputs, targets)
