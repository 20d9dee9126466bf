"""How long a run may take, and how much of that is over."""

import time
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.errors import InputError
from seqmodels.tasks.base import SequenceTask


class Budget(pl.Callback):
    """Ends a run after a number of minutes or steps, whichever comes first; then the model is validated once more.

    The task is told the share of the budget that is spent, which its learning rate follows. Minutes are those of rank
    0 from the first step on, validation and samples included; a resumed run goes on from the time that was spent.

    Args:
        minutes: how long to train; None for as long as it takes.
        steps: how many steps of the optimiser; None for as many as there is time for.

    Raises:
        InputError: neither is given, or one is not positive.
    """

    def __init__(self, minutes: float | None = None, steps: int | None = None) -> None:
        if (minutes is None and steps is None) or (minutes or 1) <= 0 or (steps or 1) <= 0:
            raise InputError(
                f"max_minutes={minutes} and max_steps={steps} were given; expected one of them, or both, above 0"
            )
        self.seconds = float("inf") if minutes is None else 60 * minutes
        self.steps = float("inf") if steps is None else steps
        self.spent = 0.0
        self._began = 0.0
        self._before = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began, self._before = time.monotonic(), self.spent
        self._tell(trainer, pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Read the clock, tell the task, stop when the time is over."""
        self.spent = self._before + time.monotonic() - self._began
        if trainer.world_size > 1 and self.seconds < float("inf"):
            # One clock for all, or their learning rates would differ.
            shared = torch.tensor(self.spent, device=trainer.strategy.root_device)
            torch.distributed.broadcast(shared, src=0)
            self.spent = float(shared)
        self._tell(trainer, pl_module)

    def _tell(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, SequenceTask)
        task.share_spent = max(self.spent / self.seconds, trainer.global_step / self.steps)
        if task.share_spent >= 1:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Seconds spent."""
        return {"spent": self.spent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the seconds spent."""
        self.spent = state_dict["spent"]
