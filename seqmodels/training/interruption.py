"""Signals that ask a training to end: the first is heeded between two steps, the second ends it at once.

Jobs of SLURM: found again after they were started again, and put back into the queue.

How a training ends before its budget does: asked to, without finite numbers, or for want of a good checkpoint.
"""

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

from seqmodels.config import read_settings
from seqmodels.errors import DivergedError, InputError, one_line
from seqmodels.files import read_json
from seqmodels.training.resume import NEWEST_FIRST

ASKS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What schedulers send before they take a machine away, and Ctrl-C."""


class Stopped(SystemExit):
    """A training that was asked to end, and can be resumed: with the exit code that shells give for the signal.

    Args:
        number: of the signal; SIGUSR1 counts as SIGTERM, which it foretells.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM))


def as_stopped(error: SystemExit) -> BaseException:
    """How Lightning ends after a signal that came before the first step, in our words; any other exit as it is."""
    if isinstance(error, SIGTERMException):
        return Stopped(signal.SIGTERM)
    return Stopped(signal.SIGINT) if isinstance(error.__context__, KeyboardInterrupt) else error


class Signals:
    """Remembers the first signal that asks to end, as long as it is armed."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def arm(self) -> None:
        """Heed signals from here on, again where others do so by now; nothing in a thread, which cannot handle them."""
        if threading.current_thread() is threading.main_thread():
            for number in ASKS:
                self._before.setdefault(number, signal.signal(number, self._heed))

    def disarm(self) -> None:
        """Give them back to those who handled them at first; again, where others do so by now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(Stopped(number).code)  # type: ignore[arg-type]
        self.received = number
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: ending after this step; once more ends at once\n".encode())  # print may be in use


def job() -> str | None:
    """The job of SLURM that this process belongs to; None outside of SLURM."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def run_of_this_job(runs: Path, recorded: dict[str, Any]) -> Path | None:
    """The run of the same configuration that this job began before SLURM started it again; None where there is none."""
    if not int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return None
    for path in sorted(runs.glob("*/*/env.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            begun, settings = read_json(path).get("job"), read_settings(path.parent / "config.yaml")
        except InputError:  # of another program, or not there
            continue
        checkpoints = [path.parent / "checkpoints" / name for name in NEWEST_FIRST]
        if begun == job() and settings == recorded and any(map(Path.is_file, checkpoints)):
            return path.parent
    return None


def requeue(trainer: pl.Trainer, ending: Stopped) -> None:
    """Have SLURM start this job again, where SIGUSR1 said that its time is nearly up.

    Lightning's environment says whether there is SLURM. Its own handler, in whose place ours is, would save in the
    midst of a step. The job's own command finds the run again by `run_of_this_job`.
    """
    slurm = isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment)
    if not (slurm and ending.signal == signal.SIGUSR1 and trainer.is_global_zero):
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


def early_end(train: Callable[[], None], origin: Path | None, began: Callable[[], bool]) -> BaseException | None:
    """Train, and give why it ended early: what is to be raised once the run is put in order; None where it did not.

    Args:
        train: trains.
        origin: the checkpoint that it goes on from.
        began: whether training has begun by now, so that all of the checkpoint was taken up.

    Raises:
        InputError: the checkpoint is not one of this model.
    """
    try:
        train()
    except SystemExit as error:
        return as_stopped(error)
    except DivergedError as error:
        return error
    except Exception as error:
        if origin is None or began() or isinstance(error, InputError):
            raise
        raise InputError(  # of the file as a whole, which is checked, or of what only Lightning and torch look into
            f"{str(origin)!r} cannot be gone on with: its optimiser, schedule or place is not that of this model "
            f"({type(error).__name__}: {one_line(str(error))[:160]}); take another checkpoint"
        ) from error
    return None
