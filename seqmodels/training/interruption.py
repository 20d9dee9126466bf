"""Trainings that end before their budget: by a signal, which SLURM may send, or because they diverged."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.distributed import DistNetworkError

from seqmodels.config import read_settings
from seqmodels.environment import STOP_SIGNALS
from seqmodels.errors import DivergedError, InputError, one_line
from seqmodels.files import read_json
from seqmodels.training.resume import NEWEST_FIRST, has_ended

ANNOUNCES_THE_END = getattr(signal, "SIGUSR1", None)
"""Sent by schedulers some time before the end of a job; Windows has no such signal."""
CLOSED_TERMINAL = getattr(signal, "SIGHUP", None)


class Stopped(SystemExit):
    """A training was stopped by the signal of a number and can be resumed; the exit code is that of shells, where
    SIGUSR1, which announces SIGTERM, counts as SIGTERM.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + (signal.SIGTERM if number == ANNOUNCES_THE_END else number))


class Signals:
    """Remembers the first signal between `arm` and `disarm`; training stops after the step. A second one exits."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def arm(self) -> None:
        """Handle signals, also if others have replaced the handlers; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if number != CLOSED_TERMINAL or signal.getsignal(number) != signal.SIG_IGN:  # as by nohup
                    self._before.setdefault(number, signal.signal(number, self._handle))

    def disarm(self) -> None:
        """Restore the first handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(Stopped(number).code)  # type: ignore[arg-type]
        self.received = number
        name = signal.Signals(number).name
        with contextlib.suppress(OSError):  # the terminal may be gone, and print in use
            os.write(2, f"\n{name}: ending after this step; once more ends at once\n".encode())


def early_end(train: Callable[[], None], origin: Path | None, restores: Callable[[], bool]) -> BaseException | None:
    """Train, and return the exception that ended it early, to be raised once the files of the run are complete.

    Args:
        train: the training.
        origin: the checkpoint that it resumes.
        restores: whether some of it has been restored, and not yet all.

    Raises:
        InputError: the checkpoint does not fit the model, or several processes do not find one another.
    """
    try:
        train()
    except SIGTERMException:  # Lightning's, before the first step
        return Stopped(signal.SIGTERM)
    except SystemExit as error:
        return Stopped(signal.SIGINT) if isinstance(error.__context__, KeyboardInterrupt) else error
    except DivergedError as error:
        return error
    except DistNetworkError as error:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        raise InputError(
            f"the processes do not find one another at {place} ({one_line(str(error)).partition(' port:')[0]:.160}); "
            "set MASTER_ADDR to the first machine, and MASTER_PORT to a port that no other job uses"
        ) from error
    except Exception as error:
        if origin is None or not restores() or isinstance(error, InputError):
            raise
        raise InputError(  # the file is intact, but only Lightning and torch know whether its content fits
            f"{str(origin)!r} cannot be resumed: its optimizer, schedule or position does not fit this model "
            f"({type(error).__name__}: {one_line(str(error))[:160]}); take another checkpoint"
        ) from error
    return None


def job() -> str | None:
    """The job that started this process: SLURM's number, or the name that torchrun was given (`--rdzv-id`)."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID") or elastic_job()


def elastic_job() -> str | None:
    """The name of a job of torchrun that may lose machines and go on; torchrun says "none" where it has no name."""
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if name == "none" or not int(os.environ.get("TORCHELASTIC_MAX_RESTARTS") or 0) else f"torchrun {name}"


def run_of_this_job(runs: Path, recorded: dict[str, Any]) -> Path | None:
    """The run with this configuration that the job had begun before SLURM or torchrun restarted it, if any.

    A machine that joins a job of torchrun for the first time does not know that others were restarted, so that all
    processes look for a run that has not ended.
    """
    requeued = int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0
    if not requeued and elastic_job() is None:
        return None
    for path in sorted(runs.glob("*/*/env.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            begun, settings = read_json(path).get("job"), read_settings(path.parent / "config.yaml")
        except InputError:  # not a run of this package
            continue
        checkpoints = [path.parent / "checkpoints" / name for name in NEWEST_FIRST]
        over = not requeued and has_ended(path.parent)
        if begun == job() and settings == recorded and any(map(Path.is_file, checkpoints)) and not over:
            return path.parent
    return None


def requeue(trainer: pl.Trainer, ending: Stopped) -> None:
    """Let SLURM restart this job, if SIGUSR1 announced the end of its time.

    Lightning's own handler, which ours replaces, would save in the middle of a step. The restarted job finds its run by
    `run_of_this_job`.
    """
    slurm = isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment)
    if not (slurm and ending.signal == ANNOUNCES_THE_END and trainer.is_global_zero):
        return
    try:
        done = subprocess.run(["scontrol", "requeue", str(job())], capture_output=True, text=True, timeout=60)
        why = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        print(f"warning: job {job()} could not be requeued ({why}); resume it with --resume", file=sys.stderr)
    else:
        print(f"requeued job {job()}")
