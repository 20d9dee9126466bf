"""What it costs to look at a model while it learns: looks at random steps, as a share of the steps of the same run."""

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
from seqmodels.analysis.callbacks import Recurring
from seqmodels.nn import Backbone

STEPS = 3000
"""Of the run that the share is told of."""

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "LSTM of 512 units": lambda: LSTM(64, 512),
    "GRU of 2 x 128 units": lambda: GRU(64, 128, num_layers=2),
    "Transformer, 4 x 128": lambda: Transformer(128, 4, 4),
}


def run(rounds: int, small: bool) -> Iterator[Comparison]:
    """Each kind of look, so many times, at the models of the main recipe's size and others."""
    with made_up_text(20_000 if small else 200_000) as text:
        for name, network in NETWORKS.items():
            looks: list[Recurring] = [GradientHorizon(), Spectra()]
            length = 8 if small else 64
            data = TextDataModule(str(text), length=length, batch_size=16, carry=True)
            torch.manual_seed(1)
            model = LanguageModel(network(), data.tokenizer)
            watch = _Looks(looks, rounds)
            with contextlib.redirect_stdout(io.StringIO()):
                fit(
                    model, data, max_steps=10 * rounds + 5, validations=1, runs=str(text.parent / "runs"),
                    callbacks=(watch,), watch=False,
                )  # fmt: skip
            for look in looks:
                shares = tuple(share(seconds, watch.steps) for seconds in watch.seconds[look])
                yield Comparison(f"{type(look).__name__}, {name}", f"% of {STEPS:,} steps", "under 1 %", shares)


def share(seconds: float, steps: Sequence[float]) -> float:
    """What all looks of a run take, in percent of its steps: at step 100, 200, 400 and so on, and at the end.

    Args:
        seconds: of one look.
        steps: seconds of some steps.
    """
    looks = 1 + math.ceil(math.log2(STEPS / 100))
    return 100 * looks * seconds / (STEPS * statistics.mean(steps))


class _Looks(pl.Callback):
    """Looks at a tenth of all steps, drawn at random, and times looks and steps."""

    def __init__(self, looks: list[Recurring], rounds: int) -> None:
        self.looks, self.chosen = looks, set(random.Random(0).sample(range(5, 10 * rounds + 5), rounds))
        self.steps: list[float] = []
        self.seconds: dict[Recurring, list[float]] = {look: [] for look in looks}
        self._began = 0.0

    def on_train_batch_start(self, *args: Any) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step has ended; look, if it is one of those."""
        took = time.perf_counter() - self._began
        if trainer.global_step > 5:  # the first ones warm up
            self.steps.append(took)
        if trainer.global_step in self.chosen:
            for look in self.looks:
                began = time.perf_counter()
                look.look(trainer, pl_module, batch)
                self.seconds[look].append(time.perf_counter() - began)
