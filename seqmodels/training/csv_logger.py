"""The figures of a run as `metrics.csv`, which a resumed run goes on writing."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


class CSVLog(CSVLogger):
    """Lightning's logger, without the version folders that it makes, and without deleting what is there.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self._stale = Stale()

    @property
    def experiment(self) -> ExperimentWriter:
        """What writes the file."""
        if self._experiment is None:
            self._experiment = _Writer(self.log_dir)
        return self._experiment  # type: ignore[return-value]

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """One row, unless it was there."""
        if not self._stale.is_so(metrics):
            super().log_metrics(dict(metrics), step)


class Stale:
    """Tells figures of training that Lightning logs once more, at the end of a run that is told to stop."""

    def __init__(self) -> None:
        self._tokens: float | None = None

    def is_so(self, metrics: Mapping[str, Any]) -> bool:
        """Whether these were logged before."""
        if "train/lr" not in metrics:
            return False
        before, self._tokens = self._tokens, float(metrics["train/tokens"])
        return before == self._tokens


class _Writer(ExperimentWriter):
    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def _check_log_dir_exists(self) -> None:
        """It exists, and what it holds is this run's own."""
