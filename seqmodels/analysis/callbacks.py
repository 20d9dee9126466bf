"""When to look at a model that learns: at growing steps, or every so many.

The gradient horizon, watched while a model learns.

Spectra of recurrent maps, watched while a model learns.
"""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import lightning.pytorch as pl
import torch

from seqmodels.analysis.gradient_horizon import (
    append_horizon,
    draw_horizon,
    gradient_horizon,
    gradient_norms,
    has_states,
    read_horizon,
)
from seqmodels.analysis.sample_callbacks import TakesPictures
from seqmodels.analysis.spectra import (
    Spectrum,
    append_radii,
    draw_radii,
    draw_spectra,
    read_radii,
    recurrent_maps,
    spectrum,
)
from seqmodels.batch import Batch
from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.fsdp import whole_weights

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
        with whole_weights(task):
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


class Spectra(Recurring):
    """Computes the eigenvalues of recurrent maps; networks without any are passed over.

    `spectra.csv` grows, `spectral_radius.png` shows it when training ends, and `spectra.png` the eigenvalues at the
    end; loggers get the figure `recurrent/spectral_radius`, the largest of all maps.

    Args:
        every: see `Recurring`.
        first: see there.
        largest: maps of more units are passed over in the midst of training, since theirs take seconds.
        largest_at_end: maps of more units are passed over at its end, too.
        folder: see `Recurring`.
    """

    def __init__(
        self,
        every: int | None = None,
        first: int = 100,
        largest: int = 256,
        largest_at_end: int = 1024,
        folder: Path | None = None,
    ) -> None:
        super().__init__(every, first, folder)
        self.largest, self.largest_at_end = largest, largest_at_end
        self._found: dict[str, Spectrum] = {}

    def look(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch) -> dict[str, float]:
        """See `Recurring.look`."""
        self._found = {}
        self._add(trainer, task, self.largest)
        radii = [of_map.radius for of_map in self._found.values()]
        return {"recurrent/spectral_radius": max(radii)} if radii else {}

    def sum_up(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        """See `Recurring.sum_up`: add larger maps, and draw."""
        self._add(trainer, task, self.largest_at_end)
        pictures = {"spectra": draw_spectra(self._found)} if self._found else {}
        if (path := self.folder(trainer) / "spectra.csv").exists():
            pictures["spectral_radius"] = draw_radii(read_radii(path))
        for name, figure in pictures.items():
            save_picture(trainer, task, self.folder(trainer) / f"{name}.png", figure)

    def _add(self, trainer: pl.Trainer, task: SequenceTask, most: int) -> None:
        """Those of so many units at most that were not computed yet; a map that has diverged has none."""
        maps = {name: matrix for name, matrix in recurrent_maps(task).items() if name not in self._found}
        fit = {name: matrix for name, matrix in maps.items() if len(matrix) <= most and torch.isfinite(matrix).all()}
        if fit:
            found = {name: spectrum(matrix) for name, matrix in fit.items()}
            append_radii(self.folder(trainer) / "spectra.csv", trainer.global_step, found)
            self._found |= found
