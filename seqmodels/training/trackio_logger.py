"""A logger of Lightning for Trackio, the local tracker of Hugging Face."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from seqmodels.analysis.shown import Moment, Picture, Sample, Table, fenced, log_picture, log_samples, log_table
from seqmodels.training.csv_logger import RepeatedRows


class TrackioLogger(Logger):
    """Logs to a run of Trackio, by default below its own folder on this machine (TRACKIO_DIR).

    A Trainer of one's own takes it as well: `Trainer(logger=TrackioLogger("my-project"))`.

    Args:
        project: shown by `trackio show --project PROJECT`.
        name: of the run; a run of that name is continued. None for a name that Trackio draws.
        settings: further arguments of `trackio.init`, such as `space_id`.
    """

    def __init__(self, project: str = "seqmodels", name: str | None = None, **settings: Any) -> None:
        super().__init__()
        self.project, self._name, self.settings = project, name, settings
        self._configuration: dict[str, Any] = {}
        self._run: Any = None
        self._repeated = RepeatedRows()

    @property
    def name(self) -> str:
        """The project, as Lightning asks for."""
        return self.project

    @property
    def version(self) -> str | None:
        """The name of the run."""
        return self._name

    @property
    def experiment(self) -> Any:
        """The run of Trackio, which begins with the first row."""
        if self._run is None:
            import trackio

            usual = {"resume": "allow", "embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
            with contextlib.redirect_stdout(io.StringIO()):  # what it says about itself
                self._run = trackio.init(
                    self.project, self._name, config=self._configuration, **usual | self.settings
                )  # fmt: skip
            self._name = self._run.name
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Add to the configuration, which Trackio keeps with the first row."""
        more = params if isinstance(params, Mapping) else vars(params)
        self._configuration |= more
        if self._run is not None:
            self._run.config.update(more)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if not self._repeated.is_one(metrics):
            self.experiment.log({name: float(value) for name, value in metrics.items()}, step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left and end the run; a later row continues it."""
        if self._run is not None:
            import trackio

            with contextlib.redirect_stdout(io.StringIO()):
                trackio.finish()
            self._run = None


@log_samples.register
def _(logger: TrackioLogger, moment: Moment, samples: Sequence[Sample]) -> None:
    import trackio

    logger.experiment.log({"samples": trackio.Markdown("\n\n".join(map(fenced, samples)))}, step=moment.step)


@log_picture.register
def _(logger: TrackioLogger, moment: Moment, picture: Picture) -> None:
    import trackio

    logger.experiment.log({picture.name: trackio.Image(str(picture.path))}, step=moment.step)


@log_table.register
def _(logger: TrackioLogger, moment: Moment, table: Table) -> None:
    import trackio

    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    logger.experiment.log({table.name: trackio.Table(data=rows)}, step=moment.step)
