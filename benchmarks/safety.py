"""The cost of safety: steps with and without checks and checkpoints, and the time that a save blocks training."""

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

from benchmarks.measure import Comparison, made_up_text
from seqmodels import LSTM, LanguageModel, TextDataModule, fit
from seqmodels.checkpoints.saved import checkpoint_path
from seqmodels.training.checkpoint_callback import Checkpoints
from seqmodels.training.nonfinite_steps import NonfiniteSteps

EVERY = 200
"""Steps between two checkpoints: of the main recipe ten seconds, where ten minutes are usual."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """Steps of a model of the main recipe's size, and saves of a checkpoint of some 270 MB."""
    with made_up_text(2_000 if small else 100_000) as text:
        yield steps(text, 12 if small else 240 * min(rounds, 2))
        yield saves(text, rounds, 64 if small else 1672)


def steps(text: Path, count: int) -> Comparison:
    """So many steps on a text, half of them watched over, the others not, and a checkpoint every 200 of them."""
    data = TextDataModule(str(text), length=64, batch_size=8, carry=True)
    torch.manual_seed(1)
    turns = _Turns(LanguageModel(LSTM(64, 512), data.tokenizer))
    with turns.patched(), contextlib.redirect_stdout(io.StringIO()):
        fit(turns.model, data, max_steps=count, validations=1, runs=str(text.parent / "steps"), callbacks=(turns,))
    watched, bare = (statistics.median(turns.milliseconds[kind][2:]) for kind in (True, False))
    watched += statistics.median(turns.saves) / EVERY
    what = f"Step with signals, skipping and a checkpoint every {EVERY}, beside one without"
    return Comparison(what, "ms/step", "ratio < 1.01", (watched,), (bare,))


class _Turns(pl.Callback):
    """Takes away what keeps a run safe in half of the steps, drawn at random, and times all of them.

    Not in every other one: an epoch of four batches would have its first, which begins without a state, on one side.

    A step that is not watched over is clipped, and adds to the log, but it checks neither whether its numbers are
    finite, nor whether there is a signal or something to save.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model: Any = model
        self.watched, self._chance = True, random.Random(0)
        self.milliseconds: dict[bool, list[float]] = {True: [], False: []}
        self.saves: list[float] = []
        self._began = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """Note the time of the step before, from its batch to this one, and draw the side of the next."""
        now = time.perf_counter()
        self.milliseconds[self.watched].append(1e3 * (now - self._began))
        self.watched, self._began = self._chance.random() < 0.5, now

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        """While it lasts, only half of the steps are watched over."""
        before_step, clip = self.model.on_before_optimizer_step, self.model.configure_gradient_clipping

        def before_step_in_turns(optimizer: Any) -> None:
            if self.watched:
                before_step(optimizer)
                return
            self.model._recent, self.model._step = self.model._recent + self.model._step, torch.zeros(2).double()
            self.model._everywhere = []
            if self.model.logs_now:
                self.model._log_training(optimizer.param_groups[0]["lr"])

        def clip_in_turns(optimizer: Any, gradient_clip_val: float, gradient_clip_algorithm: Any = None) -> None:
            if self.watched:
                clip(optimizer, gradient_clip_val, gradient_clip_algorithm)
            else:
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)
                self.model.gradient_norm = norm

        self.model.on_before_optimizer_step = before_step_in_turns
        self.model.configure_gradient_clipping = clip_in_turns
        with (
            _timed_saves(self.saves),
            mock.patch.object(Checkpoints, "on_train_batch_end", self._in_turns(Checkpoints.on_train_batch_end)),
            mock.patch.object(NonfiniteSteps, "on_train_batch_end", self._in_turns(NonfiniteSteps.on_train_batch_end)),
        ):
            yield

    def _in_turns(self, hook: Callable[..., None]) -> Callable[..., None]:
        """A hook that does nothing in steps that are not watched over, unless the run ends with them."""

        def taken(callback: Any, trainer: pl.Trainer, *args: Any) -> None:
            if self.watched or trainer.should_stop:
                hook(callback, trainer, *args)

        return taken


@contextlib.contextmanager
def _timed_saves(milliseconds: list[float]) -> Iterator[None]:
    """While it lasts, the milliseconds of each save of a checkpoint are written down."""
    save = Checkpoints.save

    def timed(checkpoints: Checkpoints, trainer: pl.Trainer) -> None:
        began = time.perf_counter()
        save(checkpoints, trainer)
        milliseconds.append(1e3 * (time.perf_counter() - began))

    with mock.patch.object(Checkpoints, "save", timed):
        yield


def saves(text: Path, count: int, size: int) -> Comparison:
    """How long a save of an LSTM of `size` units holds training up, beside the time to write and sync as many bytes."""
    data = TextDataModule(str(text), length=8, batch_size=2, carry=True)
    model, held, writes = LanguageModel(LSTM(size, size), data.tokenizer), list[float](), list[float]()
    with contextlib.redirect_stdout(io.StringIO()), _timed_saves(held):
        begun = fit(model, data, max_steps=count, validations=1, save_minutes=1e-9, runs=str(text.parent / "saves"))
    content = checkpoint_path(begun, "last").read_bytes()
    new, last, previous = (text.parent / name for name in ("new", "last", "previous"))
    for _ in held:  # Two are kept, as by the run: deleted files would leave their memory to the next, already mapped.
        began = time.perf_counter()
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        writes.append(1e3 * (time.perf_counter() - began))
        if last.exists():
            last.replace(previous)
        new.replace(last)
    what = f"Training held up by a checkpoint of {len(content) / 1e6:,.0f} MB, beside its write alone"
    return Comparison(what, "ms/save", "at most 300 ms added", tuple(held), tuple(writes))
