"""The cost of analyses during training: timed at random steps, in percent of the steps of the same run."""

import contextlib
import io
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch

from benchmarks.measure import Comparison, made_up_text
from seqmodels import GRU, LSTM, LanguageModel, TextDataModule, Transformer, fit
from seqmodels.analysis import GradientHorizon, Spectra
from seqmodels.analysis.callbacks import ScheduledCallback
from seqmodels.nn import Backbone

STEPS = 3000
"""Steps of the run that the percentage is computed for."""

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "LSTM of 512 units": lambda: LSTM(64, 512),
    "GRU of 2 x 128 units": lambda: GRU(64, 128, num_layers=2),
    "Transformer, 4 x 128": lambda: Transformer(128, 4, 4),
}


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """Gradient horizon and spectra of models of the main recipe's size and others; see `Topic`."""
    with made_up_text(20_000 if small else 200_000) as text:
        for name, network in NETWORKS.items():
            analyses: list[ScheduledCallback] = [GradientHorizon(), Spectra()]
            length = 8 if small else 64
            data = TextDataModule(str(text), length=length, batch_size=16, carry=True)
            torch.manual_seed(1)
            model = LanguageModel(network(), data.tokenizer)
            clock = _Clock(analyses, rounds)
            with contextlib.redirect_stdout(io.StringIO()):
                fit(
                    model, data, max_steps=10 * rounds + 5, validations=1, runs=str(text.parent / "runs"),
                    callbacks=(clock,), diagnostics=False,
                )  # fmt: skip
            for analysis in analyses:
                costs = tuple(percent(seconds, clock.steps) for seconds in clock.seconds[analysis])
                yield Comparison(f"{type(analysis).__name__}, {name}", f"% of {STEPS:,} steps", "under 1 %", costs)


def percent(seconds: float, steps: Sequence[float]) -> float:
    """Cost of an analysis at steps 100, 200, 400 and so on, and at the end, in percent of the steps of a run.

    From the seconds of one analysis, and of some steps.
    """
    times = 1 + math.ceil(math.log2(STEPS / 100))
    return 100 * times * seconds / (STEPS * statistics.mean(steps))


class _Clock(pl.Callback):
    """Runs analyses after a tenth of all steps, drawn at random, and times analyses and steps."""

    def __init__(self, analyses: list[ScheduledCallback], rounds: int) -> None:
        self.analyses, self.chosen = analyses, set(random.Random(0).sample(range(5, 10 * rounds + 5), rounds))
        self.steps: list[float] = []
        self.seconds: dict[ScheduledCallback, list[float]] = {analysis: [] for analysis in analyses}
        self._began = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step has ended; run the analyses, if it is a chosen one."""
        took = time.perf_counter() - self._began
        if trainer.global_step > 5:  # the first ones warm up
            self.steps.append(took)
        if trainer.global_step in self.chosen:
            for analysis in self.analyses:
                began = time.perf_counter()
                analysis.measure(trainer, pl_module, batch)
                self.seconds[analysis].append(time.perf_counter() - began)
