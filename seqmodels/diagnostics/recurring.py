"""When to look at a model that learns: at growing steps, or every so many."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl

from seqmodels.batch import Batch
from seqmodels.diagnostics.translations import TakesPictures
from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.sharding import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Recurring(pl.Callback):
    """Looks at the model between two steps, and at the end of training, on the first device alone.

    Args:
        every: how many steps lie between two looks; None for growing steps: the first, and then whenever their number
            has doubled.
        first: the first of the growing steps.
        folder: where files are written; None for the trainer's own, which is that of the run.

    Raises:
        InputError: a number of steps is less than one.
    """

    def __init__(self, every: int | None = None, first: int = 100, folder: Path | None = None) -> None:
        if (every is not None and every < 1) or first < 1:
            raise InputError(f"every={every} and first={first} were given; expected at least one step")
        self.every, self._folder = every, folder
        self.next = first if every is None else every
        self.last = 0
        self._batch: Batch | None = None  # the last one of this process

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Look if it is time."""
        self._batch = batch
        step = trainer.global_step
        if step >= self.next:
            figures = self._look(trainer, pl_module, batch)
            for logger in trainer.loggers if figures else ():
                tokens = float(cast(SequenceTask, pl_module).tokens_seen)
                logger.log_metrics({**figures, "train/tokens": tokens}, step - 1)  # as lines of training are numbered
            self.next = 2 * step if self.every is None else step - step % self.every + self.every

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the finished model, where it learned anything since the last time, and sum up."""
        if self._batch is not None:
            self._look(trainer, pl_module, self._batch, ended=True)
        self._batch = None

    def _look(
        self, trainer: pl.Trainer, task: pl.LightningModule, batch: Batch, ended: bool = False
    ) -> dict[str, float]:
        assert isinstance(task, SequenceTask)
        figures: dict[str, float] = {}
        anew, self.last = trainer.global_step > self.last, trainer.global_step
        with whole(task):
            if trainer.is_global_zero and anew:
                figures = self.look(trainer, task, batch)
            if trainer.is_global_zero and ended:
                self.sum_up(trainer, task)
        return figures

    def folder(self, trainer: pl.Trainer) -> Path:
        """Where files are written."""
        return Path(trainer.default_root_dir) if self._folder is None else self._folder

    @abstractmethod
    def look(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch) -> dict[str, float]:
        """Look at the model once.

        Args:
            trainer: what trains it.
            task: the model, whose weights are whole.
            batch: the last that was trained on.

        Returns:
            Figures for the loggers; at the end of training these have been given their last line already.
        """

    def sum_up(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        """What is to be done when training has ended; nothing, unless a subclass says otherwise."""

    def state_dict(self) -> dict[str, Any]:
        """When the next look is due."""
        return {"next": self.next, "last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.next, self.last = state_dict["next"], state_dict["last"]


def save_picture(trainer: pl.Trainer, task: SequenceTask, path: Path, figure: "Figure") -> None:
    """Write a figure to a PNG file, and give it to the loggers that take pictures."""
    figure.savefig(path, dpi=150)
    for logger in trainer.loggers:
        if isinstance(logger, TakesPictures):
            logger.log_picture(trainer.global_step, task.tokens_seen, path.stem.replace("_", " "), path)
