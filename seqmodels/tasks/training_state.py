"""The record of this package in a checkpoint: constructor calls, carried state and random states."""

import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from seqmodels.config import FORMAT, Call
from seqmodels.data import SequenceDataModule
from seqmodels.errors import InputError, one_line
from seqmodels.state import State, map_state


def make_record(task: pl.LightningModule, carried: State | None, recent: Tensor, **counts: int) -> dict[str, Any]:
    """The record as tensors and plain data, the same on all ranks.

    Args:
        task: in training.
        carried: the state of this rank's lanes.
        recent: this rank's nats and targets since the last line of the log.
        counts: of all ranks.
    """
    trainer: Any = task.trainer
    world, data = trainer.world_size, trainer.datamodule
    states: list[Any] = [random_states(task.device)] * world
    if world > 1:
        torch.distributed.all_gather_object(states, states[0])
    if carried is not None and world > 1:
        carried = map_state(lambda tensor: task.all_gather(tensor).flatten(0, 1), carried)  # type: ignore[union-attr]
    known = isinstance(data, SequenceDataModule)
    return {
        "format": FORMAT,
        "task": task.constructor_call,
        "data": _call(data) if known else None,
        "batch_size": data.size * world if known else None,
        "batches_per_epoch": trainer.num_training_batches if known and trainer.training else None,
        "text_sha256": data.facts("train").sha256 if known else None,
        "accumulate": trainer.accumulate_grad_batches,
        **counts,
        "recent": task.all_gather(recent).reshape(world, -1),  # type: ignore[union-attr]
        "carried": carried,
        "random": states,
    }


def _call(data: SequenceDataModule) -> Call:
    """The constructor call of the data, with the batch size of now: Lightning's batch size finder may have set it."""
    call = data.constructor_call
    return {**call, "init_args": {**call["init_args"], data.size_argument: data.size}}


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of the generators of Python, numpy, torch and a GPU."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, torch.tensor(numbers), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_rank(ranks: list[dict[str, Any]], rank: int, device: torch.device) -> None:
    """Restore the random states of a rank; an additional rank gets those of another, reseeded.

    Raises:
        InputError: they are no states of these generators.
    """
    states = ranks[rank % len(ranks)]
    try:
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers.tolist()), gauss))
        kind, keys, *rest = states["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
        torch.set_rng_state(states["torch"])
        if states["cuda"] is not None and device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], device)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        why = f"its random states fit no generator ({one_line(str(error)):.80})"
        raise InputError(f"the checkpoint cannot be resumed: {why}; take another checkpoint") from error
    if rank >= len(ranks):
        torch.manual_seed(int(torch.randint(1 << 62, ())) + rank)
