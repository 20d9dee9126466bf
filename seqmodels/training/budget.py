"""How long a run may take, how much of that is over, and when it is time to validate."""

import sys
import time
from typing import Any

import lightning.pytorch as pl
import torch

from seqmodels.errors import InputError
from seqmodels.tasks.base import SequenceTask
from seqmodels.tasks.training_state import RECORD


def between_steps(trainer: pl.Trainer) -> bool:
    """Whether the batch that has just been trained on completed a step: no gradient waits for others to join it."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready % trainer.accumulate_grad_batches == 0


class Budget(pl.Callback):
    """Ends a run after minutes, steps or tokens, whichever comes first, and validates at even shares of it.

    The task is told the share that is spent, which its learning rate follows. Minutes are those of rank 0 from the
    first step on, validation and samples included, so that all ranks stop, validate and slow down at the same step; a
    resumed run goes on from the time that was spent, and where a validation was due or had not ended, begins with it.
    The trainer needs `val_check_interval=Budget.NEVER` and `check_val_every_n_epoch=None`, which leaves validation to
    the budget.

    Args:
        minutes: how long to train; None for as long as it takes.
        steps: how many steps of the optimiser; None for as many as there is time for.
        tokens: how many tokens to train on, over all ranks; None for as many as there is time for.
        validations: how often to validate; the last time is at the end.

    Raises:
        InputError: neither minutes nor steps nor tokens are given, or something is not positive.
    """

    NEVER = sys.maxsize
    """Batches between validations that Lightning starts by itself."""

    def __init__(
        self, minutes: float | None = None, steps: int | None = None, tokens: int | None = None, validations: int = 1
    ) -> None:
        limits = {"max_minutes": minutes, "max_steps": steps, "max_tokens": tokens}
        if all(value is None for value in limits.values()):
            raise InputError(f"none of {', '.join(limits)} was given; expected one of them, or more")
        for name, value in {**limits, "validations": validations}.items():
            if value is not None and value <= 0:
                raise InputError(f"{name}={value} was given; expected more than 0")
        self.seconds = float("inf") if minutes is None else 60 * minutes
        self.steps = float("inf") if steps is None else steps
        self.tokens = float("inf") if tokens is None else tokens
        self.validations = validations
        self.spent = 0.0
        self.validated = 0
        self.due = False
        """Whether a validation is to come before the next step."""
        self._began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic() - self.spent
        share = self._tell(trainer, pl_module)
        self.validated = int(share * self.validations)  # as a resumed run has
        if share >= 1:
            trainer.should_stop = True

    def catch_up(self, trainer: pl.Trainer) -> None:
        """Do the validation that a resumed run begins with, if it does; once all callbacks have begun."""
        if self.due:
            _validate(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Read the clock, tell the task, and see what is due."""
        self.spent = time.monotonic() - self._began
        if trainer.world_size > 1 and self.seconds < float("inf"):
            shared = torch.tensor(self.spent, device=trainer.strategy.root_device)
            torch.distributed.broadcast(shared, src=0)
            self.spent = float(shared)
        share = self._tell(trainer, pl_module)
        trainer.val_check_batch = self.NEVER
        if not between_steps(trainer):
            return
        if share >= 1:
            trainer.should_stop = True  # Lightning validates once more before it stops
        if share * self.validations >= self.validated + 1:
            self.validated = int(share * self.validations)
            self.due = True
            trainer.val_check_batch = trainer.fit_loop.epoch_loop.total_batch_idx + 1  # which this batch completes

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """It is no longer due."""
        self.due = False

    def _tell(self, trainer: pl.Trainer, task: pl.LightningModule) -> float:
        assert isinstance(task, SequenceTask)
        task.budget = self.spent / self.seconds, self.steps, self.tokens
        return task.run_fraction

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """The budget ends with the run."""
        assert isinstance(pl_module, SequenceTask)
        pl_module.budget = None

    def is_spent(self, checkpoint: dict[str, Any]) -> bool:
        """Whether a run that goes on from a checkpoint has nothing left to train."""
        spent = checkpoint["callbacks"].get(self.state_key, {}).get("spent", 0.0)
        tokens = checkpoint[RECORD]["tokens_seen"]
        return bool(spent >= self.seconds or checkpoint["global_step"] >= self.steps or tokens >= self.tokens)

    def spent_by(self, checkpoint: dict[str, Any]) -> str:
        """What a checkpoint has taken of it, for people."""
        minutes = checkpoint["callbacks"].get(self.state_key, {}).get("spent", 0.0) / 60
        return (
            f"{checkpoint['global_step']:,} steps, {checkpoint[RECORD]['tokens_seen']:,} tokens, {minutes:,.1f} minutes"
        )

    def state_dict(self) -> dict[str, Any]:
        """Seconds spent, and whether a validation is due."""
        return {"spent": self.spent, "due": self.due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.spent, self.due = state_dict["spent"], state_dict["due"]


def _validate(trainer: pl.Trainer) -> None:
    """Validate outside of an epoch, as at the end of the step before."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False  # from its first batch
    trainer.validating = True
    loop.run()
    trainer.training = True
