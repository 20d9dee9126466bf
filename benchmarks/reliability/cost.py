"""What all of it costs: a training with and without it, and how long a save holds training up."""

import contextlib
import io
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from benchmarks.reliability.promise import Promise
from benchmarks.reliability.runs import write_data
from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.checkpointing import Checkpoints
from seqmodels.diagnostics import Samples
from seqmodels.tasks.bad_steps import BadSteps


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """A model of the size of the main recipe, and one whose checkpoint has 100 MB."""
    write_data(folder)
    yield overhead(folder, rounds=1 if small else 8, steps=5 if small else 200)
    yield stall(folder, saves=2 if small else 7, size=64 if small else 1672)


class _Clock(pl.Callback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._before = 0.0

    def on_train_batch_end(self, *args: Any) -> None:
        """Read it."""
        now = time.perf_counter()
        self.seconds.append(now - self._before)
        self._before = now


class _Saves(pl.Callback):
    """Has a checkpoint saved after a step, and no samples written, which are another matter."""

    def __init__(self, step: int) -> None:
        self.step = step

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """No samples."""
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Samples):
                callback.next = 1 << 40

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Say that it is time."""
        if trainer.global_step == self.step:
            self._checkpoints(trainer).seconds = 0.0
        elif trainer.global_step == self.step + 1:
            self._checkpoints(trainer).seconds = float("inf")

    @staticmethod
    def _checkpoints(trainer: pl.Trainer) -> Checkpoints:
        (found,) = [one for one in trainer.checkpoint_callbacks if isinstance(one, Checkpoints)]
        return found


def _model(text: TextDataModule) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(LSTM(64, 512), text.tokenizer)


def overhead(folder: Path, rounds: int, steps: int) -> Promise:
    """`fit` as it is, with a checkpoint on the way, beside `fit` without all that keeps a run safe, in turns."""
    ratios = []
    text = TextDataModule(str(folder / "text.txt"), length=64, batch_size=8, carry=True)
    for number in range(rounds):
        seconds = {}
        for watched in (number % 2 == 0, number % 2 != 0):  # each is first in turn
            clock, model = _Clock(), _model(text)
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
                if not watched:
                    stack.enter_context(_unwatched(model))
                callbacks = (clock, _Saves(steps // 2))
                fit(model, text, max_steps=steps, validations=1, runs=str(folder / "cost"), callbacks=callbacks)
            seconds[watched] = sum(clock.seconds[2:])
        ratios.append(seconds[True] / seconds[False])
    ratio = statistics.median(ratios)
    what = f"Time of {steps} steps with signals, skipping and a checkpoint on the way, beside those without"
    return Promise(what, f"{100 * (ratio - 1):+.1f} %", "under +1 %", ratio < 1.01)


def _nothing(*_: Any) -> None:
    """In place of a callback's hook."""


@contextlib.contextmanager
def _unwatched(model: LanguageModel) -> Iterator[None]:
    """`fit` that saves nothing on the way, heeds no signal, and does not look whether its numbers are finite."""

    def log(optimizer: Any) -> None:
        changed._recent, changed._step = changed._recent + changed._step[:2], torch.zeros_like(changed._step)
        if model.logs_now:
            changed._log_training(optimizer.param_groups[0]["lr"])

    def clip(optimizer: Any, gradient_clip_val: float, gradient_clip_algorithm: Any = None) -> None:
        model.gradient_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip_val)

    changed: Any = model
    changed.on_before_optimizer_step, changed.configure_gradient_clipping = log, clip
    with (
        mock.patch.object(Checkpoints, "on_train_batch_end", _nothing),
        mock.patch.object(BadSteps, "on_train_batch_end", _nothing),
    ):
        yield


def stall(folder: Path, saves: int, size: int) -> Promise:
    """How long a save of the run's own holds training up, less the time to write and sync as many bytes."""
    text = TextDataModule(str(folder / "text.txt"), length=8, batch_size=2, carry=True)
    model = LanguageModel(LSTM(size, size), text.tokenizer)
    held: list[float] = []
    saved = Checkpoints.save

    def timed(self: Checkpoints, trainer: pl.Trainer) -> None:
        began = time.perf_counter()
        saved(self, trainer)
        held.append(time.perf_counter() - began)

    Checkpoints.save = timed  # type: ignore[method-assign]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            begun = fit(model, text, max_steps=saves, validations=1, save_minutes=1e-9, runs=str(folder / "stall"))
    finally:
        Checkpoints.save = saved  # type: ignore[method-assign]
    content = (begun / "checkpoints" / "last.ckpt").read_bytes()
    writes = []
    for _ in held:
        began = time.perf_counter()
        with (folder / "written").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        writes.append(time.perf_counter() - began)
        (folder / "written").unlink()
    write = statistics.median(writes)
    beyond = statistics.median(held) - write
    what = f"Training held up by a checkpoint of {len(content) / 1e6:,.0f} MB, beyond {write:.2f} s for the write"
    return Promise(what, f"{beyond:.2f} s", "under 0.3 s", beyond < 0.3)
