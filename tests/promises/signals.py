"""Signals in training, in validation and while a sample is written: saved within a step, exit code 143."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from promises.forks import forked, tail
from promises.runs import Ends, Kind, content, only, train, write_data

from seqmodels.analysis import Samples

POINTS = ("mid-epoch", "wrap", "accumulation", "validation", "generation")
TERMINATED = 128 + signal.SIGTERM


def sent(folder: Path, layout: str, point: str, number: int) -> tuple[str, str]:
    """A signal sent at a point of a run.

    Returns:
        A wrong exit code, and steps that were lost; empty where there were none.
    """
    write_data(folder)
    kind = Kind("LSTM", layout, accumulate=3 if point == "accumulation" else 1)
    note, log, runs = folder / "step", folder / "log", folder / "runs"
    ends = InSample(number, note) if point == "generation" else Notes(point, number, note)
    code = forked(partial(train, kind, folder, runs, callbacks=(ends,)), log)
    saved, step = content(only(runs))["global_step"], int(note.read_text())
    return (
        "" if code == TERMINATED else f"{code}: {tail(log)}",
        "" if saved >= step else f"saved at {saved}, sent at {step}",
    )


class Notes(Ends):
    """Also writes down at which step the signal was sent."""

    def __init__(self, point: str, number: int, note: Path) -> None:
        super().__init__(point, number)
        self.note = note

    def _send(self, trainer: pl.Trainer) -> None:
        self.note.write_text(str(trainer.global_step))
        super()._send(trainer)


class InSample(pl.Callback):
    """Sends a signal while a sample is being written."""

    def __init__(self, number: int, note: Path) -> None:
        self.number, self.note = number, note

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have the first sample begin early, and in its midst the signal come."""
        (samples,) = [callback for callback in trainer.callbacks if isinstance(callback, Samples)]  # type: ignore[attr-defined]
        samples.next = 17
        task: Any = pl_module
        generate = task.generate

        def interrupted(*args: Any, **kwargs: Any) -> Iterator[str]:
            for place, piece in enumerate(generate(*args, **kwargs)):
                if place == 3:
                    self.note.write_text(str(trainer.global_step))
                    os.kill(os.getpid(), self.number)
                yield piece

        task.generate = interrupted


def to_the_group(folder: Path) -> str:
    """To a run with two processes that gather batches, which must not die of it before the run is saved."""
    write_data(folder)
    runs, log = folder / "group", folder / "log"

    def work() -> None:
        os.setpgid(0, 0)
        train(Kind("LSTM", "lanes", workers=2), folder, runs, callbacks=(Everywhere("mid-epoch", signal.SIGTERM),))

    code = forked(work, log)
    saved = [content(run)["global_step"] for run in runs.glob("*/*")]
    return "" if (code, saved) == (TERMINATED, [23]) else f"ended with {code}, saved at {saved}: {tail(log)}"


class Everywhere(Ends):
    """Sends the signal to the whole group of processes."""

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        # By another program: processes that gather batches take one that their own sends for their end.
        subprocess.Popen(["kill", f"-{self.number}", "--", f"-{os.getpgid(0)}"], start_new_session=True)
        time.sleep(0.5)  # in which those die that do


class Twice(pl.Callback):
    """Sends two signals, the second of which must end the run at once."""

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("not reached")


def twice(folder: Path) -> str:
    """Two signals, one right after the other."""
    write_data(folder)
    log = folder / "log"
    code = forked(partial(train, Kind(), folder, folder / "twice", callbacks=(Twice(),)), log)
    return "" if code == TERMINATED and "not reached" not in log.read_text() else f"{code}: {tail(log)}"
