"""The metrics of a run as `metrics.csv`, which a resumed run continues."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from seqmodels.analysis.csv_table import append_rows


class CSVLog(Logger):
    """Appends each row of metrics to `metrics.csv`.

    Lightning's `CSVLogger` makes a folder for each version, deletes an existing table, and rewrites the table in place
    when a column is added, so that a process killed meanwhile loses it.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self._repeated = folder, RepeatedRows()

    @property
    def name(self) -> str:
        return ""  # a run has one table

    version = name

    @property
    def save_dir(self) -> str:
        return str(self.folder)

    log_dir = save_dir

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` holds the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if not self._repeated.is_one(metrics):
            row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
            append_rows(self.folder / "metrics.csv", [{"step": -1 if step is None else step, **row}])


class RepeatedRows:
    """Finds the row of training metrics that Lightning logs a second time when a run is told to stop."""

    def __init__(self) -> None:
        self._tokens: float | None = None

    def is_one(self, metrics: Mapping[str, Any]) -> bool:
        """Whether this row was logged before."""
        if "train/lr" not in metrics:
            return False
        before, self._tokens = self._tokens, float(metrics["train/tokens"])
        return before == self._tokens
