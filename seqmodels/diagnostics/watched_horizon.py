"""The gradient horizon, watched while a model learns."""

from pathlib import Path

import lightning.pytorch as pl
import torch

from seqmodels.batch import Batch
from seqmodels.diagnostics.horizon import gradient_horizon, gradient_norms, has_states
from seqmodels.diagnostics.horizon_curves import append_horizon, draw_horizon, read_horizon
from seqmodels.diagnostics.recurring import Recurring, save_picture
from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask


class GradientHorizon(Recurring):
    """Measures how far back gradients reach, on rows of the batch that was trained on last; see `gradient_norms`.

    `gradient_horizon.csv` grows, `gradient_horizon.png` shows it when training ends, and loggers get the figure
    `gradient/horizon`, that of the inputs. What is learned does not change, to the bit.

    Args:
        every: see `Recurring`.
        first: see there.
        rows: of the batch, at most.
        passes: see `gradient_norms`.
        folder: see `Recurring`.
    """

    def __init__(
        self,
        every: int | None = None,
        first: int = 100,
        rows: int = 8,
        passes: int = 4,
        folder: Path | None = None,
    ) -> None:
        super().__init__(every, first, folder)
        self.rows, self.passes = rows, passes

    def look(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch) -> dict[str, float]:
        """See `Recurring.look`."""
        step = trainer.global_step
        few = batch.mapped(lambda part: part[: self.rows])
        try:
            norms = gradient_norms(
                task,
                few,
                passes=self.passes,
                generator=torch.Generator().manual_seed(step),
                states=has_states(task),
            )
            horizon = gradient_horizon(norms["x"])
        except InputError as error:  # a model that has diverged, or rows without a target
            trainer.print(f"note     no gradient horizon at step {step:,}: {error}")
            return {}
        append_horizon(self.folder(trainer) / "gradient_horizon.csv", step, norms)
        return {"gradient/horizon": float(horizon)}

    def sum_up(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        """See `Recurring.sum_up`: draw what was measured, from the beginning of the run."""
        path = self.folder(trainer) / "gradient_horizon.csv"
        if path.exists():
            save_picture(trainer, task, path.with_suffix(".png"), draw_horizon(read_horizon(path)))
