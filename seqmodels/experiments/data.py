"""A DataModule of long-memory problems, with batches for several seeds at once and a curriculum of lengths."""

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
"""Batches in an epoch; examples never repeat."""


class MemoryDataModule(SequenceDataModule):
    """Examples of a long-memory problem, generated on demand.

    A batch holds the rows of all networks, in the order of their seeds. Training examples of a seed do not depend on
    the other seeds; validation examples are the same for all.

    Args:
        task: temporal-order, adding, copying, random-permutation, sequential-digits, permuted-digits, sequential-mnist
            or permuted-mnist.
        length: positions T of an example.
        batch_size: examples in a batch, for each network.
        seeds: random seeds, one for each network.
        examples: number of validation examples.
        shortest: initial length of a curriculum, which `lengthen` increases up to `length`; default: no curriculum.

    Raises:
        InputError: the task is not known, or its examples cannot have this length.
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
        """Current length of the examples."""
        for name, value in {"batch_size": batch_size, "examples": examples, "seeds": len(seeds)}.items():
            if value < 1:
                raise InputError(f"{name} of {value} was given; expected at least 1")
        if min(seeds) < 0:  # the generator of validation examples comes before that of seed 0
            raise InputError(f"seeds={list(seeds)} were given; expected whole numbers from 0")
        self.batch_size, self.seeds, self.examples = batch_size, tuple(seeds), examples

    def lengthen(self) -> bool:
        """Increase the length of examples by 40 %; returns False if it is at its maximum."""
        before, self.positions = self.positions, min(self.longest, math.ceil(1.4 * self.positions))
        return self.positions > before

    @property
    def origin(self) -> str:
        return f"{self.data}: {self.task.about}"

    @property
    def extent(self) -> str:
        return f"examples of {self.length} positions, unlimited"

    @property
    def size(self) -> int:
        """Examples in a batch, for each network."""
        return self.batch_size

    def facts(self, split: str) -> TextFacts:
        """Not available: there is no text."""
        raise InputError(f"{self.data} has no text to count")

    def training_batches(self, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        return _Training(self, replica)

    def scored_batches(self, split: str, replica: Replica = Replica()) -> Batches:  # noqa: B008 - immutable
        return _Validation(self)


class _Training(Batches):
    """Batches with examples of their own for each seed and replica."""

    def __init__(self, data: MemoryDataModule, replica: Replica) -> None:
        self.data, self.replica = data, replica

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        data, number = self.data, (place[0] * EPOCH + place[1]) * self.replica.world + self.replica.rank
        make = partial(data.task.make, data.positions, data.batch_size)
        return _concatenated([make(generator(seed + 1, number), True) for seed in data.seeds])


class _Validation(Batches):
    """Batches with the same examples for each seed."""

    rows = 500

    def __init__(self, data: MemoryDataModule) -> None:
        self.data = data

    def __len__(self) -> int:
        return -(-self.data.examples // self.rows)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        data, first = self.data, place[1] * self.rows
        rows = min(self.rows, data.examples - first)
        return _concatenated([data.task.make(data.positions, rows, generator(0, place[1]), False)] * len(data.seeds))


def _concatenated(parts: list[tuple[Tensor, Tensor]]) -> Batch:
    inputs, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return Batch(inputs, targets)
