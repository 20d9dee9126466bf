"""Tracking of runs by Weights & Biases through Lightning's logger; without a key or a network, it continues offline."""

import contextlib
import io
import logging
import os
import re
import shlex
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from seqmodels.analysis.shown import (
    SAMPLE_COLUMNS,
    Moment,
    Picture,
    Sample,
    Table,
    log_picture,
    log_result,
    log_samples,
    log_table,
)
from seqmodels.errors import InputError
from seqmodels.files import read_json, to_json, write_text
from seqmodels.training.csv_logger import RepeatedRows

PROJECT = "seqmodels"
"""The project, if nobody names one."""
RUN_FILE = "wandb.json"
"""A file of the run folder: the project and id of the run at W&B, and the rows of its table of samples."""
MAX_RUN_FILE = 64 << 20
"""Of that file."""
ANSWER_TIMEOUT, KEY_TIMEOUT, START_TIMEOUT, FINISH_TIMEOUT = 3, 4, 20, 600
"""Seconds for the server to answer at all, to check the key, to start a run, and to take the rest of the data."""
KEY_ADVICE = "give another with WANDB_API_KEY or `wandb login --relogin`, or set WANDB_MODE=offline"
QUIET: dict[str, Any] = {
    "silent": True, "quiet": True, "console": "off", "symlink": False,
    "disable_git": True, "disable_code": True, "save_code": False, "disable_job_creation": True,
    "x_disable_meta": True, "x_save_requirements": False,  # the command line and the like may hold secrets
}  # fmt: skip
"""W&B prints nothing; beside the data that it is given it records only the name and the load of the machine."""


@dataclass(frozen=True)
class TrackingPlan:
    """How a run is tracked, decided before anything is written.

    Args:
        settings: `wandb.Settings` of the run.
        offline: why the server is not used, empty if the user asked for that; None where it is used.
        samples: the rows of the table of samples of a resumed run.
    """

    settings: Any
    offline: str | None
    samples: tuple[list[Any], ...] = ()


def plan_tracking(settings: Mapping[str, Any], resume: Path | None = None) -> TrackingPlan | None:
    """Decide how a run is tracked, from the arguments and the user's settings, key and network.

    A key that W&B refuses is an error, since its owner expects to find the run online; a missing key or network is not.

    Args:
        settings: arguments of `fit`, of which `wandb_project`, `_name`, `_group` and `_tags` are used.
        resume: the run folder that is resumed; its run at W&B is continued.

    Returns:
        None if nothing is tracked: WANDB_MODE is disabled, or this is not rank 0.

    Raises:
        InputError: W&B refuses the key or a name.
    """
    if getattr(rank_zero_only, "rank", 0):
        return None
    import wandb

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # W&B's own error reports may fail
    with _silenced():
        user = wandb.setup().settings
    record, project = _read_record(resume), settings.get("wandb_project")
    if project not in (None, record.get("project")):
        record = {}  # an id belongs to its project
    try:
        planned = wandb.Settings(
            project=project or record.get("project") or user.project or PROJECT,
            entity=record.get("entity"),
            run_id=record.get("id"),
            run_name=settings.get("wandb_name"),
            run_group=settings.get("wandb_group"),
            run_tags=tuple(filter(None, map(str.strip, settings.get("wandb_tags", "").split(",")))) or None,
            run_job_type="fit",
            init_timeout=START_TIMEOUT,
            finish_timeout=user.finish_timeout or FINISH_TIMEOUT,
            finish_timeout_raises=True,
            **QUIET,
        )
    except (wandb.errors.Error, ValueError) as error:
        raise InputError(f"W&B does not take a name that was given: {_reason(error)}; give another") from error
    mode = os.environ.get("WANDB_MODE") or user.mode
    if mode == "disabled":
        return None
    offline = "" if mode in ("offline", "dryrun") else _why_offline(user.base_url)
    return TrackingPlan(planned, offline, tuple(record.get("samples", ())))


def _why_offline(server: str) -> str | None:
    """Why the server cannot be used, within seconds; W&B's client alone would try for a minute and a half."""
    import wandb

    with _silenced():
        try:
            if wandb.run is None and not wandb.login(prompt=False, verify=False):
                return "has no key (WANDB_API_KEY, or `wandb login`)"
        except wandb.errors.Error as error:
            raise InputError(f"W&B cannot use the key it was given: {_reason(error)}; {KEY_ADVICE}") from error
        if not answers(server):
            return f"cannot be reached ({server})"
        began = time.monotonic()
        try:
            wandb.Api(timeout=KEY_TIMEOUT)  # checks the key
        except wandb.errors.Error as error:
            if time.monotonic() - began < KEY_TIMEOUT:  # a refusal comes at once; after other errors it tries again
                raise InputError(f"W&B refuses the key it was given: {_reason(error)}; {KEY_ADVICE}") from error
            return f"does not answer ({server})"
    return None


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without the client's notes on its settings and key, for which it would ask the server."""
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        settings = wandb.setup().settings
        before, settings.silent = settings.silent, True
        try:
            yield
        finally:
            settings.silent = before


def answers(server: str) -> bool:
    """Whether a server answers in time, directly or through the proxy of the environment."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(server, timeout=ANSWER_TIMEOUT).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # W&B's client may accept the certificate
                return
        answers.append(True)

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(ANSWER_TIMEOUT + 0.5)
    return bool(answers)


def _reason(error: Exception) -> str:
    """The message of an error of W&B in one line; for pydantic's errors, the reason alone."""
    reason = re.search(r"Value error, (.*?) \[type=", str(error), re.DOTALL)
    return " ".join((reason[1] if reason else str(error)).split()).rstrip(".")


def _read_record(folder: Path | None) -> dict[str, Any]:
    """The content of `wandb.json`; empty if the run was not tracked."""
    path = folder / RUN_FILE if folder else None
    if path is None or not path.exists():
        return {}
    with contextlib.suppress(InputError):
        record = read_json(path, MAX_RUN_FILE)
        rows = record.get("samples", [])
        named = all(isinstance(record.get(name), str) for name in ("project", "id"))
        if (
            named
            and isinstance(rows, list)
            and all(isinstance(row, list) and len(row) == len(SAMPLE_COLUMNS) for row in rows)
        ):
            return record
    raise InputError(f"{str(path)!r} is damaged; delete it to track a new run instead of continuing it")


class Tracker(WandbLogger):
    """Lightning's logger on a started run of W&B, with tokens as x-axis, a table of samples, of which some rows may be
    there, and the best model at the end. All files of W&B lie in the run folder.
    """

    def __init__(self, run: Any, folder: Path, samples: tuple[list[Any], ...] = ()) -> None:
        import wandb

        super().__init__(experiment=run, save_dir=folder)
        self.folder, self.failed, self._repeated = folder, False, RepeatedRows()
        pieces = folder / "wandb"  # of a run that was resumed; what was sent before is passed over
        self.sync = f"wandb sync {shlex.quote(str(pieces))}"
        if not run.offline:
            self.sync = f"wandb sync --include-online {shlex.quote(str(run.settings.sync_dir))}"
        self.table = wandb.Table(columns=[*SAMPLE_COLUMNS], data=list(samples), log_mode="MUTABLE")
        run.define_metric("train/tokens")
        run.define_metric("*", step_metric="train/tokens")
        self._write_record()

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run was started with its configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row of figures, unless it repeats the last one."""
        if not self._repeated.is_one(metrics):
            with self._safely():
                super().log_metrics(metrics, step)

    def add_samples(self, moment: Moment, samples: Sequence[Sample]) -> None:
        """Add rows to the table of samples and log all of it; with doubling steps it stays short."""
        for sample in samples:
            self.table.add_data(*sample.row(moment))
        self._write_record()
        self.log_at(moment, {"samples": self.table})

    def log_at(self, moment: Moment, things: dict[str, Any]) -> None:
        """Log media of W&B over tokens."""
        with self._safely():
            self.experiment.log(things | {"train/tokens": moment.tokens, "trainer/global_step": moment.step})

    def add_result(self, checkpoint: Path, figures: dict[str, Any]) -> None:
        """Log the final figures as summary, and the checkpoint, if it exists, as an artifact."""
        import wandb

        with self._safely():
            self.experiment.summary.update(figures)
            if checkpoint.exists():
                artifact = wandb.Artifact(f"model-{self.experiment.id}", type="model", metadata=figures)
                # Neither copied nor cached, since it does not change any more.
                artifact.add_file(str(checkpoint.absolute()), policy="immutable", skip_cache=True)
                self.experiment.log_artifact(artifact, aliases=["best"])

    def close(self, exit_code: int) -> None:
        """End the run of W&B once all is sent; a code other than 0 means that it failed."""
        with self._safely(), _silenced():
            self.experiment.finish(exit_code=exit_code)

    def _write_record(self) -> None:
        run = self.experiment
        record = {"project": run.project, "entity": run.entity or None, "id": run.id, "samples": self.table.data}
        write_text(self.folder / RUN_FILE, to_json(record, 2) + "\n")

    @contextlib.contextmanager
    def _safely(self) -> Iterator[None]:
        """Training continues if W&B fails, for example without a network; the first failure is printed.

        Files that wait for upload lie in the run folder, too, unless WANDB_DATA_DIR is set.
        """
        unset = "WANDB_DATA_DIR" not in os.environ
        os.environ.setdefault("WANDB_DATA_DIR", str(self.folder / "wandb"))
        try:
            yield
        except Exception as error:  # the client asks the server in many places, with many kinds of errors
            if not self.failed:
                why = _reason(error) or type(error).__name__
                print(f"warning: W&B may miss a part of this run ({why}); to send it: {self.sync}", file=sys.stderr)
            self.failed = True
        finally:
            if unset:
                del os.environ["WANDB_DATA_DIR"]


@log_samples.register
def _(logger: Tracker, moment: Moment, samples: Sequence[Sample]) -> None:
    logger.add_samples(moment, samples)


@log_picture.register
def _(logger: Tracker, moment: Moment, picture: Picture) -> None:
    import wandb

    logger.log_at(moment, {picture.name: wandb.Image(str(picture.path))})  # W&B copies it and keeps the earlier ones


@log_table.register
def _(logger: Tracker, moment: Moment, table: Table) -> None:
    import wandb

    logger.log_at(moment, {table.name: wandb.Table(columns=[*table.columns], data=[list(row) for row in table.rows])})


@log_result.register
def _(logger: Tracker, checkpoint: Path, figures: dict[str, Any]) -> None:
    logger.add_result(checkpoint, figures)


@contextlib.contextmanager
def tracking(plan: TrackingPlan | None, folder: Path, configuration: dict[str, Any]) -> Iterator[list[Tracker]]:
    """A run of W&B in the run folder for the duration of the block; it counts as failed if the block raises.

    Yields:
        A list with the logger; an empty list without a plan.

    Raises:
        InputError: W&B refuses the run, for example in the project of another user.
    """
    if plan is None:
        yield []
        return
    import wandb

    folder = folder.absolute()
    start: dict[str, Any] = {"settings": plan.settings, "dir": folder, "config": configuration, "reinit": "create_new"}
    start["resume"] = "allow" if plan.settings.run_id else None  # or sending it would replace what was sent before
    run, why = None, plan.offline
    if why is None:
        began = time.monotonic()
        try:
            run = wandb.init(mode="online", **start)
        except wandb.errors.Error as error:
            if time.monotonic() - began < START_TIMEOUT:
                raise InputError(
                    f"W&B refuses the run: {_reason(error)}; check --wandb-project and WANDB_ENTITY, or set "
                    "WANDB_MODE=offline"
                ) from error
            why = "does not answer any more"
    tracker, exit_code = Tracker(run or wandb.init(mode="offline", **start), folder, plan.samples), 1
    if run is not None:
        print(f"wandb    {run.url}")
    elif why:
        print(f"warning: W&B {why}, so this run is tracked offline; to send it: {tracker.sync}", file=sys.stderr)
    try:
        yield [tracker]
        exit_code = 0
    finally:
        tracker.close(exit_code)
