"""Steps that are skipped because a loss or gradient is not finite: their batches, and the end after too many."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.analysis.callbacks import folder_of
from seqmodels.batch import Batch
from seqmodels.errors import DivergedError, InputError
from seqmodels.files import append_text, filter_parts
from seqmodels.tasks.base import SequenceTask
from seqmodels.training.budget import between_steps

FILE, LINE = "nonfinite_steps.jsonl", r'^(?=\{"step": (\d+),)'
"""The file, and the beginning of a line, with its step."""


class NonfiniteSteps(pl.Callback):
    """Records the batches of steps that the task skipped, and stops a training after too many in a row.

    Each batch of a skipped step is a line of JSON: `step`, `epoch` and `batch`, with which
    `data.training_batches()[epoch, batch]` is that batch, the `rank` that read it, its `loss`, the norm of the
    `gradient` of the step, and the token ids of its `inputs`.

    Args:
        limit: the number of skipped steps in a row that ends the training.
        folder: of the file of these lines, `nonfinite_steps.jsonl`; see `ScheduledCallback`.
    """

    def __init__(self, limit: int = 10, folder: Path | None = None) -> None:
        if limit < 1:
            raise InputError(f"limit={limit} was given; expected at least one step")
        self.limit, self.folder = limit, folder
        self._batches: list[tuple[dict[str, int], float | torch.Tensor, Batch]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove lines of steps after the checkpoint that the training begins from."""
        self.path = folder_of(trainer, self.folder) / FILE
        if trainer.is_global_zero:
            filter_parts(self.path, LINE, trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Check a complete step; a DivergedError ends the training."""
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
        lines = [_line(step, place, float(loss), norm, batch) for place, loss, batch in batches]
        of_ranks = [lines] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(of_ranks, lines)
        if trainer.is_global_zero:
            append_text(self.path, "".join(line for lines in of_ranks for line in lines))
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
                f"was stopped; checkpoints are from before, and {str(self.path)!r} lists the batches; begin anew "
                "with a smaller --lr, a longer --warmup or --clip 1"
            )


def _line(step: int, place: dict[str, int], loss: float, norm: float, batch: Batch) -> str:
    figures = {"loss": loss, "gradient": norm}
    finite = {name: value if math.isfinite(value) else str(value) for name, value in figures.items()}  # as JSON needs
    return json.dumps({"step": step, **place, **finite, "inputs": batch.inputs.tolist()}) + "\n"
