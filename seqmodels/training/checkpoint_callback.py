"""Saves the checkpoints of a run: the last two and the best."""

import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint

from seqmodels.checkpoints.checkpoint_io import SafetensorsCheckpointIO
from seqmodels.checkpoints.safetensors_io import write
from seqmodels.checkpoints.saved import read_checkpoint
from seqmodels.checkpoints.schema import check_restored
from seqmodels.files import atomic_writer, sync_folder
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.fsdp import own_part
from seqmodels.training.budget import Budget, between_steps
from seqmodels.training.interruption import Signals, Stopped
from seqmodels.training.resume import NEWEST_FIRST, Origin
from seqmodels.training.stop_on_signal import largest

MONITOR = "val/nats_per_token"
"""The metric whose lowest value is the best."""


class RunCheckpointIO(SafetensorsCheckpointIO):
    """Checkpoint files of a run. A failed save is no exception, since all other ranks wait for the one that writes."""

    def __init__(self, origin: Origin | None) -> None:
        self.origin, self.has_read = origin, False
        self.failed = ""
        """Why the last checkpoint could not be written; empty where it was."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.failed = ""
        try:
            write(Path(path), checkpoint)
        except OSError as error:
            self.failed = error.strerror or str(error)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        self.has_read = True
        return read_checkpoint(path) if self.origin is None else dict(self.origin.content)


class Checkpoints(Checkpoint):
    """Keeps the last two checkpoints of a run and its best, and ends the run after a signal.

    One is saved after the first step, before each validation, every `minutes`, and after a signal. It becomes the best
    if its validation is. Weights that are not finite are not saved; where steps are skipped, the last one before them
    is kept.

    Args:
        folder: of `last.safetensors`, `previous.safetensors` and `best.safetensors`.
        budget: schedules the validations.
        minutes: longest time between two.
        origin: the checkpoint that the run is resumed from.

    Attributes:
        files: the trainer's plugin that writes them.
        signals: signals received so far.
    """

    def __init__(self, folder: Path, budget: Budget, minutes: float, origin: Origin | None) -> None:
        self.folder, self.budget, self.seconds = folder, budget, 60 * minutes
        self.files, self.signals = RunCheckpointIO(origin), Signals()
        self.newest = origin.path if origin else None
        self.best: dict[str, float] = {}
        """Metrics of the best validation whose weights are saved."""
        self.began = False
        """Whether training began, so that all of the checkpoint was restored."""
        self._saved, self._at = time.monotonic(), -1  # when, and at which step the newest was

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.newest is not None:
            schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
            check_restored(trainer.optimizers, schedules, str(self.newest))
        self.began = True
        self.signals.arm()  # in Lightning's place
        self._saved = time.monotonic()
        self.budget.catch_up(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Between two steps, save if it is time; after a signal on any rank, save and end (Stopped)."""
        if not between_steps(trainer):
            return
        due = self._at < 0 or time.monotonic() - self._saved >= self.seconds
        number, saves = largest(trainer, self.signals.received or 0, due)
        if saves or number or self.budget.due:
            self.save(trainer)
        if number:
            raise Stopped(number)

    def on_validation_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """After a signal, end (Stopped): a resumed run begins with this validation. Several processes end after it,
        since they wait for one another there.
        """
        if self.signals.received and trainer.world_size == 1:
            raise Stopped(self.signals.received)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        if figures[MONITOR] < self.best.get(MONITOR, math.inf) and self._at == trainer.global_step:
            self.best = figures
            if trainer.is_global_zero and self.newest is not None:
                _copy(self.newest, self.folder / "best.safetensors")

    def save(self, trainer: pl.Trainer) -> None:
        """Save if the weights are finite; the previous checkpoint is kept.

        Those that are not trained are as they were: a bias that forbids tokens is minus infinity.
        """
        self._saved = time.monotonic()
        trained = [p.detach() for p in trainer.lightning_module.parameters() if p.requires_grad]
        parts = [part for p in trained if (part := own_part(p)).numel()]
        extremes = [extreme.float() for part in parts for extreme in torch.aminmax(part)]
        finite = not extremes or bool(torch.isfinite(torch.stack(extremes)).all())  # what counts has no weights
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        # A row that is in the past of a checkpoint is not logged again, and Lightning logs the one of this step later.
        trainer._logger_connector.update_train_step_metrics()
        for logger in trainer.loggers:
            logger.save()
        new, last, previous = (self.folder / name for name in NEWEST_FIRST)
        trainer.save_checkpoint(new)
        task = trainer.lightning_module
        assert isinstance(task, SequenceTask)
        # And not one that was damaged; nor one of the same weights, which did no good in the steps since then.
        keeps = self.newest == last and self._at <= trainer.global_step - task.skipped_in_a_row
        if not self.files.failed:
            self.newest, self._at = last, trainer.global_step
        if not trainer.is_global_zero:
            return
        if self.files.failed:
            print(
                f"warning: no checkpoint could be saved at step {trainer.global_step:,} ({self.files.failed}); the one "
                "before is whole, and the next save tries again",
                file=sys.stderr,
            )
            return
        if keeps:
            last.replace(previous)
        new.replace(last)
        sync_folder(self.folder)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.signals.disarm()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.signals.disarm()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._at = checkpoint["global_step"]

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = {str(name): float(figure) for name, figure in state_dict["best"].items()}


def _copy(path: Path, target: Path) -> None:
    """Hard-link a file that is not written to any more, or copy it where the disk has no hard links."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        os.link(path, beside)
        beside.replace(target)
        beside.unlink(missing_ok=True)  # where both are names of one file already, nothing was replaced
    except OSError:
        with path.open("rb") as source, atomic_writer(target) as file:
            shutil.copyfileobj(source, file, 1 << 20)
    sync_folder(target.parent)
