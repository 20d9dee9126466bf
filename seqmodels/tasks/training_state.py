"""What a checkpoint holds beside weights, optimiser and loops: how to build the model again, and what to go on from.

The states of all generators of random numbers that a process draws from, as tensors and plain data.
"""

import random
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seqmodels.config import Call
from seqmodels.data import SequenceDataModule
from seqmodels.state import State, map_state

RECORD = "seqmodels"
"""Key of this package's part of a checkpoint."""


class InTraining(Protocol):
    """What a task is to its record."""

    constructor_call: Call
    tokens_seen: int
    skipped_in_a_row: int

    @property
    def trainer(self) -> Any:
        """Lightning's trainer."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""

    def all_gather(self, data: Any) -> Any:
        """The same of all ranks."""


def make_record(task: InTraining, carried: State | None, recent: Tensor) -> dict[str, Any]:
    """Tensors and plain data, the same on all ranks.

    Args:
        task: in training; where it is not, there is nothing to go on from.
        carried: the state of this rank's lanes.
        recent: sums since the last line of the log, of this rank.
    """
    trainer = task.trainer
    world = trainer.world_size
    if carried is not None and world > 1:
        carried = map_state(lambda tensor: task.all_gather(tensor).flatten(0, 1), carried)
    data = trainer.datamodule
    known = isinstance(data, SequenceDataModule)
    return {
        "format": 1,
        "task": task.constructor_call,
        "data": getattr(data, "constructor_call", None),
        "rows": data.size * world if known else None,
        "batches": trainer.num_training_batches if known and trainer.training else None,
        "text": data.facts("train").sha256 if known else None,
        "accumulate": trainer.accumulate_grad_batches,
        "tokens_seen": task.tokens_seen,
        "skipped_in_a_row": task.skipped_in_a_row,
        "recent": task.all_gather(recent).reshape(world, -1),
        "carried": carried,
        "random": gathered(random_states(task.device), world),
    }


def rows_of(carried: State, rank: int, world: int) -> State:
    """A rank's rows of a state that holds those of all ranks."""
    return map_state(lambda tensor: tensor.chunk(world)[rank], carried)


def random_states(device: torch.device) -> dict[str, Any]:
    """States of Python's, numpy's and torch's generators, and of that of a GPU."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Go on drawing from there."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def gathered(states: dict[str, Any], world: int) -> list[dict[str, Any]]:
    """The states of all ranks, in their order, on each of them."""
    if world == 1:
        return [states]
    every: list[Any] = [None] * world
    torch.distributed.all_gather_object(every, states)
    return every


def restore_rank(states: list[dict[str, Any]], rank: int, device: torch.device) -> None:
    """Restore those of a rank; where there were fewer ranks, from those of another, and apart from it."""
    restore_random_states(states[rank % len(states)], device)
    if rank >= len(states):
        torch.manual_seed(int(torch.randint(1 << 62, ())) + rank)
