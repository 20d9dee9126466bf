"""A DataModule of long-memory problems, with batches for several seeds at once and a curriculum of lengths."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch

from seqmodels.batch import Batch
from seqmodels.data.base import SequenceDataModule
from seqmodels.data.sampler import Batches, Replica, generator
from seqmodels.data.token_column import TextFacts
from seqmodels.errors import InputError
from seqmodels.experiments.problems import Examples, memory_task

EPOCH, SCORED_ROWS = 1000, 500
"""Batches in an epoch, whose examples never repeat, and rows of a validation batch for each network."""


class MemoryDataModule(SequenceDataModule):
    """Examples of a long-memory problem, generated on demand.

    A batch holds the rows of all networks, in the order of their seeds. Training examples of a seed do not depend on
    the other seeds; validation examples are the same for all.

    Args:
        task: one of `TASKS`, such as temporal-order, adding, parity or mqar.
        length: positions T of an example.
        batch_size: examples in a batch, for each network.
        seeds: random seeds, one for each network.
        examples: number of validation examples.
        shortest: initial length of a curriculum, which `lengthen` increases up to `length`; default: no curriculum.
        varied_from: draw the length of each training batch from here up to the present one; default: all have that.

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
        varied_from: int | None = None,
    ) -> None:
        super().__init__(task, next(iter(seeds), 0), 0)
        self.task, self.length = memory_task(task, length), length
        if shortest is not None and shortest > length:
            raise InputError(f"shortest={shortest} was given with a length of {length}; expected at most that")
        self.longest, self.shortest = length, shortest or length
        if self.shortest < self.task.shortest:
            raise InputError(f"shortest={shortest} was given with {task}; expected at least {self.task.shortest}")
        if varied_from is not None and not self.task.shortest <= varied_from <= self.shortest:
            raise InputError(
                f"varied_from={varied_from} was given with {task}; expected {self.task.shortest} to {self.shortest}"
            )
        self.varied_from = varied_from
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
        step = self.task.multiple
        longer = step * math.ceil(1.4 * self.positions / step)
        before, self.positions = self.positions, min(self.longest, longer)
        return self.positions > before

    @property
    def origin(self) -> str:
        return f"{self.data}: {self.task.about}"

    @property
    def extent(self) -> str:
        return f"examples of {self.length} positions, unlimited"

    def facts(self, split: str) -> TextFacts:
        """Not available: there is no text."""
        raise InputError(f"{self.data} has no text to count")

    def training_batches(self, replica: Replica = Replica()) -> Batches:
        def make(epoch: int, number: int) -> list[Examples]:
            place = (epoch * EPOCH + number) * replica.world + replica.rank
            draw = partial(self.task.make, self._drawn_length(place), self.batch_size)
            return [draw(generator(seed + 1, place), True) for seed in self.seeds]

        return _Examples(EPOCH, make)

    def _drawn_length(self, place: int) -> int:
        """The length of a training batch, the same for all seeds."""
        if self.varied_from is None:
            return self.positions
        step = self.task.multiple
        low, high = -(-self.varied_from // step), self.positions // step
        return step * int(torch.randint(low, high + 1, (), generator=generator(0, place)))

    def scored_batches(self, split: str, replica: Replica = Replica()) -> Batches:
        def make(epoch: int, number: int) -> list[Examples]:
            rows = min(SCORED_ROWS, self.examples - number * SCORED_ROWS)
            return [self.task.make(self.positions, rows, generator(0, number), False)] * len(self.seeds)

        return _Examples(-(-self.examples // SCORED_ROWS), make)


class _Examples(Batches):
    """Batches of the rows of all networks, made by a function of epoch and number."""

    def __init__(self, count: int, make: Callable[[int, int], Sequence[Examples]]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        inputs, targets = (torch.cat(tensors) for tensors in zip(*self.make(*place), strict=True))
        return Batch(inputs, targets)
