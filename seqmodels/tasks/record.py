"""What a checkpoint holds beside weights, optimiser and loops: how to build the model again, and what to go on from."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from seqmodels.data import SequenceDataModule
from seqmodels.state import State, map_state
from seqmodels.tasks.random_states import gathered, random_states

if TYPE_CHECKING:
    from seqmodels.tasks.base import SequenceTask

RECORD = "seqmodels"
"""Key of this package's part of a checkpoint."""


def make_record(task: "SequenceTask", carried: State | None, recent: Tensor) -> dict[str, Any]:
    """Tensors and plain data, the same on all ranks.

    Args:
        task: in training; where it is not, there is nothing to go on from.
        carried: the state of this rank's lanes.
        recent: sums since the last line of the log, of this rank.
    """
    trainer = task.trainer
    world = trainer.world_size
    if carried is not None and world > 1:
        carried = map_state(lambda tensor: task.all_gather(tensor).flatten(0, 1), carried)  # type: ignore[union-attr]
    data = trainer.datamodule  # type: ignore[attr-defined]
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
        "recent": task.all_gather(recent).reshape(world, -1),  # type: ignore[union-attr]
        "carried": carried,
        "random": gathered(random_states(task.device), world),
    }


def rows_of(carried: State, rank: int, world: int) -> State:
    """A rank's rows of a state that holds those of all ranks."""
    return map_state(lambda tensor: tensor.chunk(world)[rank], carried)
