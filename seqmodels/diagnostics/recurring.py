"""When to look at a model that learns: at growing steps, or every so many."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

    Raises:
        InputError: a number of steps is less than one.
    """

    def __init__(self, every: int | None = None, first: int = 100) -> None:
        if (every is not None and every < 1) or first < 1:
            raise InputError(f"every={every} and first={first} were given; expected at least one step")
        self.every = every
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
            self._look(trainer, pl_module, batch)
            self.next = 2 * step if self.every is None else step - step % self.every + self.every

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the finished model, where it learned anything since the last time, and sum up."""
        if self._batch is not None:
            self._look(trainer, pl_module, self._batch, ended=True)
        self._batch = None

    def _look(self, trainer: pl.Trainer, task: pl.LightningModule, batch: Batch, ended: bool = False) -> None:
        assert isinstance(task, SequenceTask)
        anew, self.last = trainer.global_step > self.last, trainer.global_step
        with whole(task):
            if trainer.is_global_zero and anew:
                self.look(trainer, task, batch)
            if trainer.is_global_zero and ended:
                self.sum_up(trainer, task)

    @abstractmethod
    def look(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch) -> None:
        """Look at the model once.

        Args:
            trainer: what trains it.
            task: the model, whose weights are whole.
            batch: the last that was trained on.
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


def log_figures(trainer: pl.Trainer, task: SequenceTask, figures: dict[str, float]) -> None:
    """Give figures to all loggers at once, as a line of the step before, which is how lines are numbered."""
    for logger in trainer.loggers:
        logger.log_metrics({**figures, "train/tokens": float(task.tokens_seen)}, trainer.global_step - 1)
