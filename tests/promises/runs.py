"""Small runs of every network, layout and precision, which end early where they are told to, and how two differ."""

import csv
import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from pairs import WORDS, write_pairs

from seqmodels import LanguageModel, TextDataModule, TranslationDataModule, Translator, fit, nn
from seqmodels.checkpoints.safetensors_io import read
from seqmodels.nn import Backbone
from seqmodels.tasks import SequenceTask

SIZE = 16
"""Of all inputs and states."""

NETWORKS: dict[str, Callable[[], Backbone]] = {
    **{name: partial(getattr(nn, name), SIZE, SIZE) for name in ("RNN", "MinGRU", "MinLSTM")},
    **{name: partial(getattr(nn, name), SIZE, SIZE) for name in ("MultiplicativeRNN", "MultiplicativeLSTM")},
    "LSTM": lambda: nn.LSTM(SIZE, SIZE, num_layers=2, dropout=0.1),
    "GRU": lambda: nn.GRU(SIZE, SIZE, learn_initial_state=True),
    "Transformer": lambda: nn.Transformer(SIZE, num_layers=2, num_heads=2, context=32, dropout=0.1),
    "Hybrid": lambda: nn.Hybrid(SIZE, "MinGRU,attention", num_heads=2, context=32, dropout=0.1),
}
LAYOUTS = ("windows", "lanes", "pairs")
PRECISIONS = ("32-true", "bf16-mixed")
POINTS = ("mid-epoch", "wrap", "accumulation", "validation")
"""Where a run ends early, see `Ends`."""
EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 128 + signal.SIGTERM}
"""Of a run that is ended by a signal."""


@dataclass(frozen=True)
class Kind:
    """A training: names of `NETWORKS` and `LAYOUTS`, and arguments of `fit`."""

    network: str = "LSTM"
    layout: str = "lanes"
    precision: str = "32-true"
    workers: int = 0  # processes that gather batches
    accumulate: int = 1
    average: str = "none"
    optimizer: str = "adamw"

    def __str__(self) -> str:
        return " ".join(map(str, asdict(self).values()))


def write_data(folder: Path) -> None:
    """Write a text, and sentences with translations, a few kilobytes of each."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(list(WORDS), k=chance.randint(3, 9))) for _ in range(100)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    write_pairs(folder, train=120, valid=24, test=0)


def built(kind: Kind, folder: Path) -> tuple[SequenceTask, TextDataModule | TranslationDataModule]:
    """Model and data of a kind, from the data of a folder."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    learning: dict[str, Any] = {"dropout": 0.2, "lr": 1e-2, "optimizer": kind.optimizer}
    if kind.layout == "pairs":
        pairs = TranslationDataModule(
            str(folder), "en", "fr", tokenizer="word", batch_tokens=100, joint=True, num_workers=kind.workers
        )
        networks = NETWORKS[kind.network](), NETWORKS[kind.network]()
        return Translator(*networks, pairs.tokenizer, **learning), pairs
    text = TextDataModule(
        str(folder / "text.txt"), length=16, batch_size=8, carry=kind.layout == "lanes", num_workers=kind.workers
    )
    return LanguageModel(NETWORKS[kind.network](), text.tokenizer, **learning), text


def train(
    kind: Kind, folder: Path, runs: Path, steps: int = 46, callbacks: tuple[pl.Callback, ...] = (), **settings: Any
) -> Path:
    """A run of `fit`; returns its folder."""
    task, data = built(kind, folder)
    given = {key: value for key, value in asdict(kind).items() if key in ("precision", "accumulate", "average")}
    given |= {"max_steps": steps, "validations": 4, "runs": str(runs), "diagnostics": False}
    return fit(task, data, **given | settings, callbacks=callbacks)


def only(runs: Path) -> Path:
    """The folder of the only run among runs."""
    (run,) = runs.glob("*/*")
    return run


def checkpoint(run: Path, name: str = "last") -> Path:
    """A checkpoint of a run: best, last or previous."""
    return run / "checkpoints" / f"{name}.safetensors"


def content(run: Path, name: str = "last") -> dict[str, Any]:
    """The content of a checkpoint; arguments as of `checkpoint`."""
    return read(checkpoint(run, name))


class Ends(pl.Callback):
    """Sends this process a signal mid-epoch, at its wrap, within an accumulation, or in the second validation."""

    def __init__(self, point: str, number: int) -> None:
        self.point, self.number = point, number
        self.validations = 0
        self.sent_at: int | None = None

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Send it if this is the point."""
        if self.sent_at is not None:
            return
        progress = trainer.fit_loop.epoch_loop.batch_progress
        midst = progress.current.ready % trainer.accumulate_grad_batches != 0
        late = trainer.global_step >= 23
        if (
            (self.point == "mid-epoch" and late and not progress.is_last_batch and not midst)
            or (self.point == "wrap" and progress.is_last_batch and trainer.global_step > 10)
            or (self.point == "accumulation" and midst and late and not progress.is_last_batch)
        ):
            self._send(trainer)

    def on_validation_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """Send it in the second validation."""
        if self.point == "validation" and trainer.global_step > 10 and self.sent_at is None:
            self.validations += 1
            if self.validations == 2:
                self._send(trainer)


def difference(one: Path, other: Path) -> str:
    """What differs between two runs: weights, moments, random states, logs, samples, pictures; empty if nothing."""
    for name in ("last", "best"):
        a, b = (content(run, name) for run in (one, other))
        keys = "state_dict", "optimizer_states", "lr_schedulers", "seqmodels", "current_model_state", "global_step"
        for key in keys:
            if found := _unequal(a.get(key), b.get(key)):
                return f"{name}: {key}{found}"
    if _figures(one) != _figures(other):
        return "metrics.csv"
    names = {path.name for run in (one, other) for path in run.iterdir() if path.suffix in (".md", ".csv", ".png")}
    for name in sorted(names - {"metrics.csv", "curves.png"}):  # that one has the name of the run
        a, b = (run / name for run in (one, other))
        if not a.exists() or not b.exists() or a.read_bytes() != b.read_bytes():
            return name
    a, b = (json.loads((run / "result.json").read_text()) | {"seconds": 0} for run in (one, other))
    return "" if a == b else f"result.json: {a} and {b}"


def _unequal(a: Any, b: Any) -> str:
    """The path at which two nested values differ; empty if they do not."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
        return "" if same else " (tensor)"
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f": {sorted(map(str, a.keys() ^ b.keys()))}"
        return next((f".{key}{found}" for key in a if (found := _unequal(a[key], b[key]))), "")
    return "" if a == b else f": {a!r} and {b!r}"


def _figures(run: Path) -> list[dict[str, str]]:
    """The lines of the log; a validation at the end of an epoch that is done again counts to the next one."""
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "train/tokens_per_second"} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if k != "epoch" or not row["val/nats_per_token"]} for row in rows]
