"""Signals in training, in validation and while a sample is written: saved within a step, exit code 143."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from benchmarks.reliability.forks import forked
from benchmarks.reliability.promise import Promise, all_of
from benchmarks.reliability.runs import Ends, Kind, train, write_data
from seqmodels.analysis import Samples

POINTS = ("mid-epoch", "wrap", "accumulation", "validation", "generation")


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """Every signal at every point, on a text and on pairs; where that is to be small, SIGUSR1 at one of them."""
    write_data(folder)
    codes, lost = {}, {}
    for layout in ("lanes",) if small else ("lanes", "windows", "pairs"):
        for point in POINTS:
            for number in (signal.SIGTERM, signal.SIGUSR1):
                case = f"{layout} {point} {number.name}"
                if layout == "pairs" and point == "generation":
                    continue
                if small and number == signal.SIGUSR1 and point != "wrap":
                    continue
                codes[case], lost[case] = _case(folder, folder / case.replace(" ", "-"), layout, point, number)
    yield all_of("Exit code 143 after SIGTERM or SIGUSR1 in training, validation or generation", codes)
    yield all_of("Steps lost by it: at most one", lost)
    yield all_of("A second signal ends at once", {"SIGTERM twice": _twice(folder)})
    yield all_of("A signal to all processes of a run, as some schedulers send it", {"two workers": _group(folder)})


def _case(folder: Path, runs: Path, layout: str, point: str, number: int) -> tuple[str, str]:
    kind = Kind("LSTM", layout, accumulate=3 if point == "accumulation" else 1)
    note, log = runs.with_suffix(".json"), runs.with_suffix(".log")
    ends = _InSample(number, note) if point == "generation" else _Notes(point, number, note)
    code = forked(partial(train, kind, folder, runs, callbacks=(ends,)), log)
    wrong = "" if code == 128 + signal.SIGTERM else f"{code}: {log.read_text()[-300:]}"
    (begun,) = runs.glob("*/*")
    saved = torch.load(begun / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    sent = json.loads(note.read_text())
    return wrong, "" if saved >= sent else f"saved at {saved}, sent at {sent}"


class _Notes(Ends):
    """Also writes down at which step the signal was sent."""

    def __init__(self, point: str, number: int, note: Path) -> None:
        super().__init__(point, number)
        self.note = note

    def _send(self, trainer: pl.Trainer) -> None:
        self.note.write_text(str(trainer.global_step))
        super()._send(trainer)


class _InSample(pl.Callback):
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


def _group(folder: Path) -> str:
    """With two processes that gather batches, which must not die of it before the run is saved."""
    runs, log = folder / "group", folder / "group.log"

    def work() -> None:
        os.setpgid(0, 0)
        train(Kind("LSTM", "lanes", workers=2), folder, runs, callbacks=(Everywhere("mid-epoch", signal.SIGTERM),))

    code = forked(work, log)
    saved = [torch.load(path, weights_only=True)["global_step"] for path in runs.glob("*/*/checkpoints/last.ckpt")]
    return "" if (code, saved) == (143, [23]) else f"ended with {code}, saved at {saved}: {log.read_text()[-300:]}"


class Everywhere(Ends):
    """Sends the signal to the whole group of processes."""

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        # By another program: processes that gather batches take one that their own sends for their end.
        subprocess.Popen(["kill", f"-{self.number}", "--", f"-{os.getpgid(0)}"], start_new_session=True)
        time.sleep(0.5)  # in which those die that do


def _twice(folder: Path) -> str:
    class Twice(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("not reached")

    log = folder / "twice.log"
    code = forked(partial(train, Kind(), folder, folder / "twice", callbacks=(Twice(),)), log)
    return "" if code == 143 and "not reached" not in log.read_text() else f"{code}: {log.read_text()[-300:]}"
