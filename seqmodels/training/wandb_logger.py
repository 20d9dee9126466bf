"""Whether Weights & Biases can be used online: a key that it takes, and a server that answers, found out in seconds.

Tracking of runs by Weights & Biases, through Lightning's logger; without a key or a network it goes on offline.
"""

import contextlib
import io
import json
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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.training.csv_logger import RepeatedRows

ADVICE = "give another with WANDB_API_KEY or `wandb login --relogin`, or set WANDB_MODE=offline"

TO_ANSWER, TO_CHECK = 3, 4
"""Seconds for the server to answer at all, and to check the key."""


def why_offline(server: str) -> str:
    """Why there is no way to be online; empty where there is. The plain client would try for a minute and a half.

    Raises:
        InputError: the key is refused, by its form or by the server.
    """
    import wandb

    with silenced():
        try:
            if wandb.run is None and not wandb.login(prompt=False, verify=False):
                return "has no key (WANDB_API_KEY, or `wandb login`)"
        except wandb.errors.Error as error:
            raise InputError(f"W&B cannot use the key it was given: {in_a_line(error)}; {ADVICE}") from error
        if not _answers(server):
            return f"cannot be reached ({server})"
        began = time.monotonic()
        try:
            wandb.Api(timeout=TO_CHECK)  # checks the key
        except wandb.errors.Error as error:
            if time.monotonic() - began < TO_CHECK:  # a refusal comes at once; anything else it tries again
                raise InputError(f"W&B refuses the key it was given: {in_a_line(error)}; {ADVICE}") from error
            return f"does not answer ({server})"
    return ""


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Without the client's notes on where it found settings and key, for which it would even ask the server."""
    import wandb

    with contextlib.redirect_stderr(io.StringIO()):
        settings = wandb.setup().settings
        before, settings.silent = settings.silent, True
        try:
            yield
        finally:
            settings.silent = before


def _answers(server: str) -> bool:
    """Whether a server answers in time, whatever it says; through a proxy where the environment names one."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(server, timeout=TO_ANSWER).close()
        except urllib.error.HTTPError as error:
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            if not isinstance(getattr(error, "reason", None), ssl.SSLError):  # with these W&B's client may be at ease
                return
        answers.append(True)

    asking = threading.Thread(target=ask, daemon=True)  # since looking up a name has no time limit of its own
    asking.start()
    asking.join(TO_ANSWER + 0.5)
    return bool(answers)


def in_a_line(error: Exception) -> str:
    """What an error of W&B says, in one line: of those of pydantic, the reason."""
    reason = re.search(r"Value error, (.*?) \[type=", str(error), re.DOTALL)
    return " ".join((reason[1] if reason else str(error)).split()).rstrip(".")


PROJECT = "seqmodels"
RECORD = "wandb.json"
"""The file of a run folder that says which run of W&B it is, and what its table of samples holds."""

COLUMNS: list[str | int] = ["step", "tokens", "nats", "prompt", "text"]

MOST = 64 << 20
"""Bytes of that file."""

TO_START, TO_FINISH = 20, 600
"""Seconds for W&B's server to start a run, and to take what is still to be sent at its end."""

QUIET: dict[str, Any] = {
    "silent": True, "quiet": True, "console": "off", "symlink": False,
    "disable_git": True, "disable_code": True, "save_code": False, "disable_job_creation": True,
    "x_disable_meta": True, "x_save_requirements": False,  # the command line and its like may hold secrets
}  # fmt: skip
"""W&B prints nothing, and records nothing that it was not given but the machine's name and load."""


@dataclass(frozen=True)
class Plan:
    """How a run will be tracked, settled before anything is written.

    Args:
        settings: `wandb.Settings` of the run.
        mode: online or offline.
        why: why it is offline though the user did not say so.
        samples: rows of the table so far, of a resumed run.
    """

    settings: Any
    mode: str
    why: str = ""
    samples: tuple[list[Any], ...] = ()


def settle(
    project: str | None = None,
    name: str | None = None,
    group: str | None = None,
    tags: str = "",
    resume: Path | None = None,
) -> Plan | None:
    """Settle how a run is tracked: what was asked for, as the user's own settings, key and network allow.

    A key that W&B refuses is an error, since someone who gave one expects to find the run online; no key at all, or no
    network, is not.

    Args:
        project: the project; None for the one of the resumed run, else of WANDB_PROJECT, else "seqmodels".
        name: of the run; None for one that W&B makes up.
        group: runs that belong together.
        tags: with commas between them.
        resume: the run folder that is gone on with; its run is continued where it was tracked.

    Returns:
        None where nothing is to be tracked: WANDB_MODE is disabled, or another rank does it.

    Raises:
        InputError: the key is refused, or W&B does not take a name.
    """
    if getattr(rank_zero_only, "rank", 0):
        return None
    import wandb

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # in which W&B's own error reports fail aloud
    with silenced():
        users = wandb.setup().settings
    record = _read_record(resume)
    if project not in (None, record.get("project")):
        record = {}  # an id means something in its project only
    wanted: dict[str, Any] = {
        "project": project or record.get("project") or users.project or PROJECT,
        "entity": record.get("entity"),
        "run_id": record.get("id"),
        "run_name": name,
        "run_group": group,
        "run_tags": tuple(tag.strip() for tag in tags.split(",") if tag.strip()) or None,
        "run_job_type": "fit",
        "init_timeout": TO_START,
        "finish_timeout": users.finish_timeout or TO_FINISH,
        "finish_timeout_raises": True,
    }
    try:
        settings = wandb.Settings(**wanted, **QUIET)
    except (wandb.errors.Error, ValueError) as error:
        raise InputError(f"W&B does not take a name that was given: {in_a_line(error)}; give another") from error
    mode = os.environ.get("WANDB_MODE") or users.mode
    if mode == "disabled":
        return None
    why = "" if mode in ("offline", "dryrun") else why_offline(users.base_url)
    online = not why and mode not in ("offline", "dryrun")
    return Plan(settings, "online" if online else "offline", why, tuple(record.get("samples", ())))


def _read_record(folder: Path | None) -> dict[str, Any]:
    """What the run in a folder is to W&B; empty where it was not tracked."""
    path = folder / RECORD if folder else None
    if path is None or not path.exists():
        return {}
    try:
        record = read_json(path, MOST)
        named = all(isinstance(record[name], str) for name in ("project", "id"))
        if not (named and _is_table(record.get("samples", []))):
            raise KeyError("samples")
    except (InputError, KeyError) as error:
        raise InputError(f"{str(path)!r} is damaged; delete it to track a new run instead of continuing it") from error
    return record


def _is_table(rows: Any) -> bool:
    """Whether these are rows of the table of samples."""
    return isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(COLUMNS) for row in rows)


class Tracker(WandbLogger):
    """Lightning's logger on a run of W&B, with tokens as x-axis, a table of samples, and the best model at the end.

    Args:
        run: the run of W&B, already started.
        folder: the run folder; whatever W&B writes lies below it.
        samples: rows of the table so far.
    """

    def __init__(self, run: Any, folder: Path, samples: tuple[list[Any], ...] = ()) -> None:
        import wandb

        super().__init__(experiment=run, save_dir=folder)
        self.folder, self.failed, self._repeated = folder, False, RepeatedRows()
        self.sync = f"wandb sync {shlex.quote(str(run.settings.sync_dir))}"
        self.table = wandb.Table(columns=COLUMNS, data=list(samples), log_mode="MUTABLE")
        run.define_metric("train/tokens")
        run.define_metric("*", step_metric="train/tokens")
        self._write_record()

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is what the run was started with, and no other attribute is recorded."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row of figures, unless it was there."""
        if self._repeated.is_one(metrics):
            return
        with self._safely():
            super().log_metrics(metrics, step)

    def log_sample(self, step: int, tokens: int, nats: float | None, prompt: str, text: str) -> None:
        """Add a row to the table, which is logged whole: steps double between samples, so it stays short."""
        self.table.add_data(step, tokens, nats, prompt, text)
        self._write_record()
        with self._safely():
            self.experiment.log({"samples": self.table, "train/tokens": tokens, "trainer/global_step": step})

    def log_picture(self, step: int, tokens: int, name: str, path: Path) -> None:
        """Add a picture, of which W&B makes a copy; earlier ones of the name stay, too."""
        import wandb

        with self._safely():
            picture = wandb.Image(str(path))
            self.experiment.log({name: picture, "train/tokens": tokens, "trainer/global_step": step})

    def log_result(self, checkpoint: Path, figures: dict[str, Any]) -> None:
        """Final figures as the run's summary, and a checkpoint, if it is there, as its model."""
        import wandb

        with self._safely():
            self.experiment.summary.update(figures)
            if checkpoint.exists():
                artifact = wandb.Artifact(f"model-{self.experiment.id}", type="model", metadata=figures)
                # Neither copied nor cached: nothing will change it any more.
                artifact.add_file(str(checkpoint.absolute()), policy="immutable", skip_cache=True)
                self.experiment.log_artifact(artifact, aliases=["best"])

    def close(self, exit_code: int) -> None:
        """End the run of W&B, when all is sent; failed where the code is not 0."""
        with self._safely(), silenced():
            self.experiment.finish(exit_code=exit_code)

    def _write_record(self) -> None:
        run = self.experiment
        record = {"project": run.project, "entity": run.entity or None, "id": run.id, "samples": self.table.data}
        (self.folder / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @contextlib.contextmanager
    def _safely(self) -> Iterator[None]:
        """Training goes on whatever happens to W&B, such as a network that goes away; the first failure is told.

        Copies that wait for upload lie in the run folder, too, where no variable of the user says otherwise.
        """
        mine = "WANDB_DATA_DIR" not in os.environ
        os.environ.setdefault("WANDB_DATA_DIR", str(self.folder / "wandb"))
        try:
            yield
        except Exception as error:  # the client asks the server here and there, which fails in many ways
            if not self.failed:
                why = in_a_line(error) or type(error).__name__
                print(f"warning: W&B may miss a part of this run ({why}); to send it: {self.sync}", file=sys.stderr)
            self.failed = True
        finally:
            if mine:
                del os.environ["WANDB_DATA_DIR"]


@contextlib.contextmanager
def tracked(plan: Plan | None, folder: Path, configuration: dict[str, Any]) -> Iterator[list[Tracker]]:
    """A run of W&B as long as the block lasts; it counts as failed where the block raises.

    Args:
        plan: what `settle` made; None for no tracking.
        folder: the run folder.
        configuration: all that is recorded of it.

    Yields:
        The logger, or no logger.

    Raises:
        InputError: W&B refuses the run, such as in a project of others.
    """
    if plan is None:
        yield []
        return
    import wandb

    folder = folder.absolute()
    start: dict[str, Any] = {"settings": plan.settings, "dir": folder, "config": configuration, "reinit": "create_new"}
    run, why = None, plan.why
    if plan.mode == "online":
        began = time.monotonic()
        try:
            run = wandb.init(mode="online", resume="allow" if plan.settings.run_id else None, **start)
        except wandb.errors.Error as error:
            if time.monotonic() - began < TO_START:
                raise InputError(
                    f"W&B refuses the run: {in_a_line(error)}; check --wandb-project and WANDB_ENTITY, or set "
                    "WANDB_MODE=offline"
                ) from error
            why = "does not answer any more"
    if run is None:
        run = wandb.init(mode="offline", **start)
    tracker, exit_code = Tracker(run, folder, plan.samples), 1
    if why:
        print(f"warning: W&B {why}, so this run is tracked offline; to send it: {tracker.sync}", file=sys.stderr)
    elif plan.mode == "online":
        print(f"wandb    {run.url}")
    try:
        yield [tracker]
        exit_code = 0
    finally:
        tracker.close(exit_code)
