"""The budget of a training in minutes, steps or tokens, and the validations within it."""

import math
import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.config import RECORD
from seqmodels.errors import InputError
from seqmodels.tasks.base import SequenceTask


def between_steps(trainer: pl.Trainer) -> bool:
    """Whether the last batch completed a step, so that no accumulated gradients are pending."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready % trainer.accumulate_grad_batches == 0


class Budget(pl.Callback):
    """Ends a training after minutes, steps or tokens, whichever comes first, with validations at even distances.

    The learning rate follows the fraction that is spent. Minutes are measured on rank 0 from the first step on,
    validation and samples included, so that all ranks stop and validate at the same step. A resumed run continues with
    the time spent, and begins with a validation that was due. The trainer needs `val_check_interval=Budget.NEVER` and
    `check_val_every_n_epoch=None`.

    Args:
        minutes: of training; None for no limit.
        steps: of the optimizer, likewise.
        tokens: of all ranks, likewise.
        validations: their number; the last one is at the end.

    Raises:
        InputError: there is no limit, or a number is not positive.
    """

    NEVER = sys.maxsize
    """Batches between validations that Lightning starts."""

    def __init__(
        self, minutes: float | None = None, steps: int | None = None, tokens: int | None = None, validations: int = 1
    ) -> None:
        limits = {"max_minutes": minutes, "max_steps": steps, "max_tokens": tokens}
        if all(value is None for value in limits.values()):
            raise InputError(f"none of {', '.join(limits)} was given; expected one of them, or more")
        for name, value in {**limits, "validations": validations}.items():
            if value is not None and value <= 0:
                raise InputError(f"{name}={value} was given; expected more than 0")
        minutes, self.steps, self.tokens = (math.inf if value is None else value for value in limits.values())
        self.seconds, self.validations = 60 * minutes, validations
        self.spent, self.validated, self._began = 0.0, 0, 0.0
        self.due = self.over = False
        """Whether a validation comes before the next step, and whether the budget is spent."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.monotonic() - self.spent
        fraction = self._update(pl_module)
        self.validated = int(fraction * self.validations)  # by a resumed run
        if fraction >= 1:
            trainer.should_stop = True

    def catch_up(self, trainer: pl.Trainer) -> None:
        """Validate if a resumed run begins with it; called once all callbacks have begun."""
        if self.due:
            _validate(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        trainer.val_check_batch = self.NEVER
        if not between_steps(trainer):
            return
        self.spent = time.monotonic() - self._began
        if trainer.world_size > 1 and self.seconds < math.inf:
            seconds = torch.tensor(self.spent, device=trainer.strategy.root_device)
            torch.distributed.broadcast(seconds, src=0)
            self.spent = float(seconds)
        fraction = self._update(pl_module)
        if fraction >= 1:
            trainer.should_stop = True  # Lightning validates once more before it stops
        if fraction * self.validations >= self.validated + 1:
            self.validated = int(fraction * self.validations)
            self.due = True
            trainer.val_check_batch = trainer.fit_loop.epoch_loop.total_batch_idx + 1  # which this batch completes

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.due = False

    def _update(self, task: pl.LightningModule) -> float:
        """Tell the task the budget; returns the fraction that is spent."""
        assert isinstance(task, SequenceTask)
        task.budget = self.spent / self.seconds, self.steps, self.tokens
        self.over = task.run_fraction >= 1
        return task.run_fraction

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        assert isinstance(pl_module, SequenceTask)
        pl_module.budget = None

    def is_spent(self, checkpoint: dict[str, Any]) -> bool:
        """Whether a run that resumes a checkpoint has nothing left to train."""
        steps, tokens = checkpoint["global_step"], checkpoint[RECORD]["tokens_seen"]
        return bool(self._spent(checkpoint) >= self.seconds or steps >= self.steps or tokens >= self.tokens)

    def spent_by(self, checkpoint: dict[str, Any]) -> str:
        """Steps, tokens and minutes of a checkpoint in words."""
        minutes, tokens = self._spent(checkpoint) / 60, checkpoint[RECORD]["tokens_seen"]
        return f"{checkpoint['global_step']:,} steps, {tokens:,} tokens, {minutes:,.1f} minutes"

    def _spent(self, checkpoint: dict[str, Any]) -> float:
        return float(checkpoint["callbacks"].get(self.state_key, {}).get("spent", 0.0))

    def state_dict(self) -> dict[str, Any]:
        return {"spent": self.spent, "due": self.due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spent, self.due = float(state_dict["spent"]), bool(state_dict["due"])


def _validate(trainer: pl.Trainer) -> None:
    """Validate between two epochs or steps."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False  # from its first batch
    trainer.validating = True
    loop.run()
    trainer.training = True
