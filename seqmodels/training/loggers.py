"""The loggers of a run, by name or as Lightning's objects; `metrics.csv` is written in any case."""

import contextlib
import importlib.util
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from seqmodels.errors import InputError, one_line
from seqmodels.files import read_json, to_json, write_text
from seqmodels.training.csv_logger import CSVLog
from seqmodels.training.trackio_logger import TrackioLogger
from seqmodels.training.wandb_logger import PROJECT, TrackingPlan, answers, tracking

NAMES = ("csv", "wandb", "tensorboard", "mlflow", "trackio")
MLFLOW_FILE = "mlflow.json"
"""A file of the run folder: the id of the run at MLflow."""


def chosen(logger: str | list[str] | Logger | list[Logger] | None) -> tuple[list[str], list[Logger]]:
    """Names and objects among loggers; names may stand in one string, separated by commas.

    Raises:
        InputError: a name is not known, its package is not installed, or something else was given.
    """
    given: list[Any] = list(logger) if isinstance(logger, list | tuple) else [] if logger is None else [logger]
    names, objects = list[str](), list[Logger]()
    for one in given:
        if isinstance(one, str):
            names += [name for part in one.split(",") if (name := part.strip().lower())]
        elif isinstance(one, Logger):
            objects.append(one)
        else:
            raise InputError(
                f"logger={one_line(repr(one)):.60} was given; expected one or several of {', '.join(NAMES)}, or a "
                "logger of Lightning"
            )
    for name in (names := list(dict.fromkeys(names))):
        if name not in NAMES:
            raise InputError(f"logger={name!r} was given; choose one or several of {', '.join(NAMES)}")
        if name != "csv" and importlib.util.find_spec(name) is None:
            raise InputError(f"logger={name!r} was given, and {name} is not installed; do: pip install {name}")
    return names, objects


def check_names(names: list[str], settings: Mapping[str, Any]) -> None:
    """Refuse (InputError) settings of W&B for a run that it does not track, and a missing server of MLflow."""
    for setting in ("wandb_project", "wandb_name", "wandb_group", "wandb_tags"):
        if settings[setting] and "wandb" not in names:
            given = f"{setting}={settings[setting]!r} was given without W&B"
            raise InputError(f"{given}; add logger='wandb', or leave it out")
    server = os.environ.get("MLFLOW_TRACKING_URI", "") if "mlflow" in names else ""
    server = re.sub(r"//[^/@]*@", "//", server)  # without a password
    if server.startswith(("http://", "https://")) and not answers(server):  # its client alone would try for minutes
        raise InputError(
            f"MLflow's server at {server} does not answer; start it, or unset MLFLOW_TRACKING_URI to log into a "
            "database beside the runs"
        )


@contextlib.contextmanager
def loggers(
    names: list[str], objects: list[Logger], plan: TrackingPlan | None, folder: Path, configuration: dict[str, Any],
    step: int,
) -> Iterator[list[Logger]]:  # fmt: skip
    """The loggers of a run for the duration of the block, the table of its folder first.

    Args:
        names: see `chosen`.
        objects: likewise.
        plan: how W&B tracks the run.
        folder: of the run.
        configuration: of the run, beside the constructor calls of task and data, which the task logs itself.
        step: the step that a resumed run begins from.

    Raises:
        InputError: a service refuses the run.
    """
    folder = folder.absolute()
    with tracking(plan, folder, configuration) as tracked:
        made = list[Logger]()
        if not getattr(rank_zero_only, "rank", 0):  # the others log nothing
            for name in names:
                made += MAKERS[name](folder, folder.parents[1], step) if name in MAKERS else []
        own = {name: value for name, value in configuration.items() if name not in ("task", "data")}
        for logger in (*made, *objects):
            logger.log_hyperparams(own)
        yield [CSVLog(folder), *tracked, *made, *objects]


def _tensorboard(folder: Path, runs: Path, step: int) -> list[Logger]:
    """Event files in the folder; of a resumed run, those from after its checkpoint are hidden."""
    print(f"board    tensorboard --logdir {runs}")
    return [TensorBoardLogger(folder, "", "tensorboard", default_hp_metric=False, purge_step=step or None)]


def _trackio(folder: Path, runs: Path, step: int) -> list[Logger]:
    """A run of the name of the folder."""
    logger = TrackioLogger(os.environ.get("TRACKIO_PROJECT", PROJECT), folder.name)
    print(f"trackio  trackio show --project {logger.project}")
    return [logger]


class RunMLFlow(MLFlowLogger):
    """Lightning's logger for a run that may be resumed with other settings; MLflow keeps the first of each."""

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        known = self.experiment.get_run(self.run_id).data.params
        found = _flatten_dict(_convert_params(params))
        super().log_hyperparams({name: value for name, value in found.items() if name not in known})


def _mlflow(folder: Path, runs: Path, step: int) -> list[Logger]:
    """The run of a folder at the server of MLFLOW_TRACKING_URI, by default a database beside the runs."""
    server, path = os.environ.get("MLFLOW_TRACKING_URI"), folder / MLFLOW_FILE
    known = read_json(path).get("run_id") if path.exists() else None
    if known is not None and not isinstance(known, str):
        raise InputError(f"{str(path)!r} is damaged; delete it to track a new run instead of continuing it")
    address = server or f"sqlite:///{runs}/mlflow.db"
    places = None if server else (runs / "mlflow-artifacts").as_uri()
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    with _silenced():
        logger = RunMLFlow(experiment, folder.name, address, artifact_location=places, run_id=known)
        write_text(path, to_json({"run_id": logger.run_id}) + "\n")
    if not server:
        print(f"mlflow   mlflow ui --backend-store-uri {address}")
    return [logger]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without notes on tables and experiments that are made for the first time."""
    import mlflow  # noqa: F401 - which sets the levels of its own

    talkers = [logging.getLogger(name) for name in ("alembic", "mlflow", "lightning.pytorch.loggers.mlflow")]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)


MAKERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "trackio": _trackio}
