"""Callbacks that measure the gradient horizon and spectra during training; they change nothing, to the bit."""

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from seqmodels.analysis.csv_table import filter_rows, read_rows
from seqmodels.analysis.figures import save_figure
from seqmodels.analysis.gradient_horizon import (
    append_horizon,
    draw_horizon,
    gradient_horizon,
    gradient_norms,
    has_states,
    read_horizon,
)
from seqmodels.analysis.shown import Picture, Table, show
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
from seqmodels.tasks.recompute import pieces

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScheduledCallback(pl.Callback):
    """Measures the model after steps 100, 200, 400, ..., or every so many, and at the end of training, on rank 0 only.

    Args:
        every: steps between measurements; None to double the step each time.
        first: the first step that is doubled.
        folder: where files are written, each of one training; None for that of the first logger that has one, such as
            `lightning_logs/version_0`, else for the trainer's `default_root_dir`.

    Raises:
        InputError: a number of steps is less than one.
    """

    def __init__(self, every: int | None = None, first: int = 100, folder: Path | None = None) -> None:
        if (every is not None and every < 1) or first < 1:
            raise InputError(f"every={every} and first={first} were given; expected at least one step")
        self.every, self._folder = every, folder
        self.first = first if every is None else every
        self.next, self.last = self.first, 0
        self._batch: Batch | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove what was written after the checkpoint that the training begins from, or by another training."""
        if trainer.global_step < self.last:  # it has measured another training before
            self.next, self.last = self.first, 0
        if trainer.is_global_zero:
            self.rewind(self.folder(trainer))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Measure if it is time, and log the figures."""
        self._batch, step = batch, trainer.global_step
        if step >= self.next:
            assert isinstance(pl_module, SequenceTask)
            figures = self._run(trainer, pl_module)
            for logger in trainer.loggers if figures else ():
                tokens = float(pl_module.tokens_seen)
                logger.log_metrics({**figures, "train/tokens": tokens}, step - 1)  # Lightning's number of this step
            self.next = 2 * step if self.every is None else step - step % self.every + self.every

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the final model, unless that was just done, and finish."""
        assert isinstance(pl_module, SequenceTask)
        self._run(trainer, pl_module, ended=True)
        self._batch = None

    def _run(self, trainer: pl.Trainer, task: SequenceTask, ended: bool = False) -> dict[str, float]:
        figures: dict[str, float] = {}
        due, self.last = trainer.global_step > self.last, trainer.global_step
        with whole_weights(task):
            if trainer.is_global_zero and due:
                figures = self.measure(trainer, task, self._batch)
            if trainer.is_global_zero and ended and self.last:
                self.finish(trainer, task)
        return figures

    def folder(self, trainer: pl.Trainer) -> Path:
        """Where files are written."""
        return folder_of(trainer, self._folder)

    @abstractmethod
    def rewind(self, folder: Path) -> None:
        """Remove from the files what was written after step `last`."""

    @abstractmethod
    def measure(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch | None) -> dict[str, float]:
        """Measure the model, which has whole weights, once, and return figures for the loggers.

        They take none after the last step. The batch is the last one of the training, if it is known.
        """

    def finish(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        """Called after training; does nothing by default."""

    def state_dict(self) -> dict[str, Any]:
        """See `Callback.state_dict`."""
        return {"next": self.next, "last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.next, self.last = int(state_dict["next"]), int(state_dict["last"])


def folder_of(trainer: pl.Trainer, given: Path | None) -> Path:
    """The folder for the files of a training: the one that was given, or its own."""
    folders = (logger.log_dir for logger in trainer.loggers)
    folder = Path(given or next((folder for folder in folders if folder), trainer.default_root_dir))
    if trainer.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_picture(trainer: pl.Trainer, task: SequenceTask, path: Path, figure: "Figure") -> None:
    """Write a figure to a PNG file, and give it to the loggers."""
    save_figure(figure, path)
    show(trainer, task, Picture(path))


class GradientHorizon(ScheduledCallback):
    """Measures the gradient horizon on rows of the last training batch; see `gradient_norms`.

    Where windows are read in pieces (`recompute`), a piece of the batch is measured, since a whole would not fit.

    Writes `gradient_horizon.csv`, draws `gradient_horizon.png` after training, and logs `gradient/horizon`, the horizon
    of the inputs.

    Args:
        every, first, folder: see `ScheduledCallback`.
        rows: of the batch, at most.
        passes: see `gradient_norms`.
    """

    def __init__(
        self, every: int | None = None, first: int = 100, rows: int = 8, passes: int = 4, folder: Path | None = None
    ) -> None:
        super().__init__(every, first, folder)
        self.rows, self.passes = rows, passes

    def measure(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch | None) -> dict[str, float]:
        if batch is None:
            return {}
        step, (few, *_) = trainer.global_step, pieces(batch, task.recompute)
        few = few.mapped(lambda tensor: tensor[: self.rows].to(task.device))
        generator = torch.Generator().manual_seed(step)
        try:
            norms = gradient_norms(task, few, passes=self.passes, generator=generator, states=has_states(task))
            horizon = gradient_horizon(norms["x"])
        except InputError as error:  # the model has diverged, or the rows have no targets
            trainer.print(f"note     no gradient horizon at step {step:,}: {error}")
            return {}
        append_horizon(self.folder(trainer) / "gradient_horizon.csv", step, norms)
        return {"gradient/horizon": float(horizon)}

    def state_dict(self) -> dict[str, Any]:
        """Also the rows to measure, for a run that is resumed after its last step."""
        rows = None if self._batch is None else self._batch.mapped(lambda tensor: tensor[: self.rows])
        return super().state_dict() | {"rows": rows and rows._asdict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._batch = state_dict["rows"] and Batch(**state_dict["rows"])

    def rewind(self, folder: Path) -> None:
        filter_rows(folder / "gradient_horizon.csv", lambda at, row: at <= self.last)

    def finish(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        path = self.folder(trainer) / "gradient_horizon.csv"
        if path.exists():
            show(trainer, task, Table("gradient horizon table", *_table(path)))
            save_picture(trainer, task, path.with_suffix(".png"), draw_horizon(read_horizon(path)))


class Spectra(ScheduledCallback):
    """Computes the spectra of recurrent matrices, if the network has any.

    Writes `spectra.csv`, draws `spectral_radius.png` and `spectra.png` after training, and logs
    `recurrent/spectral_radius`, the largest one.

    Args:
        every, first, folder: see `ScheduledCallback`.
        largest: larger matrices (units) are left out during training, since their eigenvalues take seconds.
        largest_at_end: larger matrices are left out after training, too.
    """

    def __init__(
        self, every: int | None = None, first: int = 100, largest: int = 256, largest_at_end: int = 1024,
        folder: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(every, first, folder)
        self.largest, self.largest_at_end = largest, largest_at_end

    def measure(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch | None) -> dict[str, float]:
        radii = [one.radius for one in self._spectra(trainer, task, self.largest).values()]
        return {"recurrent/spectral_radius": max(radii)} if radii else {}

    def rewind(self, folder: Path) -> None:
        filter_rows(folder / "spectra.csv", lambda at, row: at <= self.last)

    def finish(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        found = self._spectra(trainer, task, self.largest_at_end)
        pictures = {"spectra": draw_spectra(found)} if found else {}
        if (path := self.folder(trainer) / "spectra.csv").exists():
            pictures["spectral_radius"] = draw_radii(read_radii(path))
            show(trainer, task, Table("spectra table", *_table(path)))
        for name, figure in pictures.items():
            save_picture(trainer, task, self.folder(trainer) / f"{name}.png", figure)

    def _spectra(self, trainer: pl.Trainer, task: SequenceTask, largest: int) -> dict[str, Spectrum]:
        """The spectra of finite matrices up to a size; those that the table does not have at this step are added."""
        maps = {name: matrix for name, matrix in recurrent_maps(task).items() if len(matrix) <= largest}
        found = {name: spectrum(matrix) for name, matrix in maps.items() if matrix.isfinite().all()}
        path, step = self.folder(trainer) / "spectra.csv", trainer.global_step
        there = read_radii(path) if path.exists() else {}
        append_radii(path, step, {k: v for k, v in found.items() if k not in there or there[k][-1].step < step})
        return found


def _table(path: Path) -> tuple[list[str], list[list[str | float]]]:
    """Columns and rows of a CSV table, numbers as such."""
    rows = read_rows(path)
    values = [[_number(value) for value in row.values()] for row in rows]
    return list(rows[0]) if rows else [], values


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
