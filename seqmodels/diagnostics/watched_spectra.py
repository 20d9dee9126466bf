"""Spectra of recurrent maps, watched while a model learns."""

from pathlib import Path

import lightning.pytorch as pl
import torch

from seqmodels.batch import Batch
from seqmodels.diagnostics.recurring import Recurring, log_figures, save_picture
from seqmodels.diagnostics.spectra import (
    Spectrum,
    append_radii,
    draw_radii,
    draw_spectra,
    read_radii,
    recurrent_maps,
    spectrum,
)
from seqmodels.tasks import SequenceTask


class Spectra(Recurring):
    """Computes the eigenvalues of recurrent maps; networks without any are passed over.

    `spectra.csv` grows, `spectral_radius.png` shows it when training ends, and `spectra.png` the eigenvalues at the
    end; loggers get the figure `recurrent/spectral_radius`, the largest of all maps.

    Args:
        folder: where these files lie.
        every: see `Recurring`.
        first: see there.
        largest: maps of more units are passed over in the midst of training, since theirs take seconds.
        largest_at_end: maps of more units are passed over at its end, too.
    """

    def __init__(
        self,
        folder: Path,
        every: int | None = None,
        first: int = 100,
        largest: int = 256,
        largest_at_end: int = 1024,
    ) -> None:
        super().__init__(every, first)
        self.folder, self.largest, self.largest_at_end = folder, largest, largest_at_end
        self._found: dict[str, Spectrum] = {}

    def look(self, trainer: pl.Trainer, task: SequenceTask, batch: Batch) -> None:
        """See `Recurring.look`."""
        self._found = {}
        self._add(trainer, task, self.largest)
        if self._found:
            radius = max(of_map.radius for of_map in self._found.values())
            log_figures(trainer, task, {"recurrent/spectral_radius": radius})

    def sum_up(self, trainer: pl.Trainer, task: SequenceTask) -> None:
        """See `Recurring.sum_up`: add larger maps, and draw."""
        self._add(trainer, task, self.largest_at_end)
        pictures = {"spectra": draw_spectra(self._found)} if self._found else {}
        if (path := self.folder / "spectra.csv").exists():
            pictures["spectral_radius"] = draw_radii(read_radii(path))
        for name, figure in pictures.items():
            save_picture(trainer, task, self.folder / f"{name}.png", figure)

    def _add(self, trainer: pl.Trainer, task: SequenceTask, most: int) -> None:
        """Those of so many units at most that were not computed yet; a map that has diverged has none."""
        maps = {name: matrix for name, matrix in recurrent_maps(task).items() if name not in self._found}
        fit = {name: matrix for name, matrix in maps.items() if len(matrix) <= most and torch.isfinite(matrix).all()}
        if fit:
            found = {name: spectrum(matrix) for name, matrix in fit.items()}
            append_radii(self.folder / "spectra.csv", trainer.global_step, found)
            self._found |= found
