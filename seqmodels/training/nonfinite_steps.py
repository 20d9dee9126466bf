"""Steps that were skipped, since a loss or gradient was not finite: which batches they were, and when it is enough."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.batch import Batch
from seqmodels.errors import DivergedError, InputError
from seqmodels.tasks.base import SequenceTask
from seqmodels.training.budget import between_steps


class BadSteps(pl.Callback):
    """Writes down the batches of steps that the task skipped, and ends a training in which there are only such.

    A line of JSON for each batch of a skipped step: `step`, `epoch` and `batch`, by which
    `data.training_batches()[epoch, batch]` is that batch again, the `rank` that read it, its `loss`, the norm of the
    step's `gradient`, and the token ids of its `inputs`.

    Args:
        path: where they are written.
        limit: after how many skipped steps in a row training ends.

    Raises:
        InputError: the limit is not positive.
    """

    def __init__(self, path: Path, limit: int) -> None:
        if limit < 1:
            raise InputError(f"max_bad_steps={limit} was given; expected at least 1")
        self.path, self.limit = path, limit
        self._batches: list[tuple[dict[str, int], float | torch.Tensor, Batch]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Once a step is complete, see whether it was skipped.

        Raises:
            DivergedError: it was the last of too many.
        """
        assert isinstance(pl_module, SequenceTask)
        place = {"epoch": trainer.current_epoch, "batch": batch_idx, "rank": trainer.global_rank}
        self._batches.append((place, outputs["loss"], batch))
        if not between_steps(trainer):
            return
        batches, self._batches = self._batches, []
        skipped = pl_module.skipped_in_a_row
        if not skipped:
            return
        step, norm = trainer.global_step, float(pl_module.gradient_norm)
        lines = [_line(step, place, loss, norm, batch) for place, loss, batch in batches]
        every = [lines]
        if trainer.world_size > 1:
            every = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(every, lines)
        if trainer.is_global_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(line for lines in every for line in lines)
            if skipped == 1:
                place = batches[-1][0]
                print(
                    f"warning: step {step:,} was skipped, since its loss or gradient is not finite (batch "
                    f"{place['batch']:,} of epoch {place['epoch']:,}); see {self.path}",
                    file=sys.stderr,
                )
        if skipped >= self.limit:
            raise DivergedError(
                f"loss or gradient were not finite for {skipped:,} steps in a row, up to step {step:,}, so training "
                f"was stopped; what was saved is of before, and {str(self.path)!r} names the batches; begin anew "
                "with a smaller --lr, a longer --warmup or --clip 1"
            )


def _line(step: int, place: dict[str, int], loss: Any, norm: float, batch: Batch) -> str:
    figures = {"loss": _figure(float(loss)), "gradient": _figure(norm)}
    return json.dumps({"step": step, **place, **figures, "inputs": batch.inputs.tolist()}) + "\n"


def _figure(value: float) -> float | str:
    """JSON has no numbers that are not finite."""
    return value if math.isfinite(value) else str(value)
