"""What all of it costs: a training with and without it, and how long a save holds training up."""

import contextlib
import io
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from benchmarks.reliability.promise import Promise
from benchmarks.reliability.runs import write_data
from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.training.checkpoint_callback import Checkpoints
from seqmodels.training.nonfinite_steps import BadSteps

EVERY = 200
"""Steps between two checkpoints: of the main recipe ten seconds, where ten minutes are usual."""


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """A model of the size of the main recipe, and one whose checkpoint has 100 MB."""
    write_data(folder)
    yield overhead(folder, steps=12 if small else 1200)
    yield stall(folder, saves=2 if small else 7, size=64 if small else 1672)


def overhead(folder: Path, steps: int) -> Promise:
    """Steps of one run that are watched over beside those that are not, and a checkpoint every 200 of them."""
    text = TextDataModule(str(folder / "text.txt"), length=64, batch_size=8, carry=True)
    torch.manual_seed(1)
    turns = _Turns(LanguageModel(LSTM(64, 512), text.tokenizer))
    with turns.patched(), contextlib.redirect_stdout(io.StringIO()):
        fit(turns.model, text, max_steps=steps, validations=1, runs=str(folder / "cost"), callbacks=(turns,))
    watched, bare = (statistics.median(turns.seconds[kind][2:]) for kind in (True, False))
    share = (watched - bare + statistics.median(turns.saves) / EVERY) / bare
    what = f"Time of a step with signals, skipping and a checkpoint every {EVERY}, beside one without"
    return Promise(what, f"{100 * share:+.1f} %", "under +1 %", share < 0.01)


class _Turns(pl.Callback):
    """Takes away what keeps a run safe in half of the steps, drawn at random, and measures all of them.

    Not in every other one: an epoch of four batches would have its first, which begins without a state, on one side.

    A step that is not watched over is clipped, and adds to the log, as it would be without: it does not look whether
    its numbers are finite, nor whether there is a signal or something to save.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model: Any = model
        self.watched, self._chance = True, random.Random(0)
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.saves: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """Note the time of the step before, from its batch to this one, and change over."""
        now = time.perf_counter()
        self.seconds[self.watched].append(now - self._began)
        self.watched, self._began = self._chance.random() < 0.5, now

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """While it lasts, only half of the steps are watched over."""
        looks, clips, save = (
            self.model.on_before_optimizer_step,
            self.model.configure_gradient_clipping,
            Checkpoints.save,
        )

        def look(optimizer: Any) -> None:
            if self.watched:
                looks(optimizer)
                return
            self.model._recent, self.model._step = self.model._recent + self.model._step[:2], torch.zeros(3).double()
            if self.model.logs_now:
                self.model._log_training(optimizer.param_groups[0]["lr"])

        def clip(optimizer: Any, gradient_clip_val: float, gradient_clip_algorithm: Any = None) -> None:
            if self.watched:
                clips(optimizer, gradient_clip_val, gradient_clip_algorithm)
                return
            self.model.gradient_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

        def timed(checkpoints: Checkpoints, trainer: pl.Trainer) -> None:
            began = time.perf_counter()
            save(checkpoints, trainer)
            self.saves.append(time.perf_counter() - began)

        self.model.on_before_optimizer_step, self.model.configure_gradient_clipping = look, clip
        with (
            mock.patch.object(Checkpoints, "save", timed),
            mock.patch.object(Checkpoints, "on_train_batch_end", self._in_turns(Checkpoints.on_train_batch_end)),
            mock.patch.object(BadSteps, "on_train_batch_end", self._in_turns(BadSteps.on_train_batch_end)),
        ):
            yield

    def _in_turns(self, hook: Callable[..., None]) -> Callable[..., None]:
        """A hook that does nothing in steps that are not watched over, unless the run ends with them."""

        def taken(callback: Any, trainer: pl.Trainer, *args: Any) -> None:
            if self.watched or trainer.should_stop:
                hook(callback, trainer, *args)

        return taken


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
