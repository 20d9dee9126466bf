"""Small runs of every kind, which end early where they are told to."""

import os
import random
import signal
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from seqmodels import LanguageModel, TextDataModule, TranslationDataModule, Translator, fit
from seqmodels.nn import GRU, LSTM, RNN, Backbone, Hybrid, MinGRU, MinLSTM, MultiplicativeLSTM, MultiplicativeRNN
from seqmodels.nn import Transformer as _Transformer
from seqmodels.tasks import SequenceTask

SIZE = 16
"""Of all inputs and states."""

NETWORKS: dict[str, Callable[[], Backbone]] = {
    "RNN": lambda: RNN(SIZE, SIZE),
    "LSTM": lambda: LSTM(SIZE, SIZE, num_layers=2, dropout=0.1),
    "GRU": lambda: GRU(SIZE, SIZE, learn_initial_state=True),
    "MultiplicativeRNN": lambda: MultiplicativeRNN(SIZE, SIZE),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(SIZE, SIZE),
    "MinGRU": lambda: MinGRU(SIZE, SIZE),
    "MinLSTM": lambda: MinLSTM(SIZE, SIZE),
    "Transformer": lambda: _Transformer(SIZE, num_layers=2, num_heads=2, context=32, dropout=0.1),
    "Hybrid": lambda: Hybrid(SIZE, "MinGRU,attention", num_heads=2, context=32, dropout=0.1),
}
LAYOUTS = ("windows", "lanes", "pairs")
PRECISIONS = ("32-true", "bf16-mixed")
POINTS = ("mid-epoch", "wrap", "accumulation", "validation")

WORDS = {"a": "un", "dog": "chien", "cat": "chat", "sees": "voit", "big": "grand", "bird": "oiseau", "and": "et"}


@dataclass(frozen=True)
class Kind:
    """What is trained, and how.

    Attributes:
        network: a name among `NETWORKS`.
        layout: windows or lanes of a text, or pairs.
        precision: of `fit`.
        workers: processes that gather batches.
        accumulate: batches of a step.
        average: of the weights.
        optimizer: its name.
    """

    network: str = "LSTM"
    layout: str = "lanes"
    precision: str = "32-true"
    workers: int = 0
    accumulate: int = 1
    average: str = "none"
    optimizer: str = "adamw"


def write_data(folder: Path) -> None:
    """A text, and sentences with translations, a few kilobytes of each."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(list(WORDS), k=chance.randint(3, 9))) for _ in range(100)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    write_pairs(folder, {"train": 120, "valid": 24})


def write_pairs(folder: Path, counts: dict[str, int]) -> None:
    """Files of a language in which every word has one translation, and the order of words is reversed.

    Args:
        folder: where `train.en`, `train.fr` and so on are written.
        counts: how many sentences each split has.
    """
    chance = random.Random(0)
    for split, count in counts.items():
        sides: tuple[list[str], list[str]] = ([], [])
        for _ in range(count):
            words = chance.choices(list(WORDS), k=chance.randint(1, 5))
            sides[0].append(" ".join(words))
            sides[1].append(" ".join(WORDS[word] for word in reversed(words)))
        for language, sentences in zip(("en", "fr"), sides, strict=True):
            (folder / f"{split}.{language}").write_text("\n".join(sentences) + "\n")


def built(kind: Kind, folder: Path) -> tuple[SequenceTask, TextDataModule | TranslationDataModule]:
    """Model and data of a kind, from the data of a folder."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    learning: dict[str, Any] = {"dropout": 0.2, "lr": 1e-2, "optimizer": kind.optimizer}
    if kind.layout == "pairs":
        pairs = TranslationDataModule(
            str(folder), "en", "fr", tokenizer="word", max_tokens=100, joint=True, num_workers=kind.workers
        )
        networks = NETWORKS[kind.network](), NETWORKS[kind.network]()
        return Translator(*networks, pairs.tokenizer, **learning), pairs
    text = TextDataModule(
        str(folder / "text.txt"), length=16, batch_size=8, carry=kind.layout == "lanes", num_workers=kind.workers
    )
    return LanguageModel(NETWORKS[kind.network](), text.tokenizer, **learning), text


def train(
    kind: Kind,
    folder: Path,
    runs: Path,
    steps: int = 46,
    callbacks: tuple[pl.Callback, ...] = (),
    **settings: Any,
) -> Path:
    """A run of `fit`; returns its folder."""
    task, data = built(kind, folder)
    given = {key: value for key, value in asdict(kind).items() if key in ("precision", "accumulate", "average")}
    given |= {"max_steps": steps, "validations": 4, "runs": str(runs), "watch": False}
    return fit(task, data, **given | settings, callbacks=callbacks)


class Ends(pl.Callback):
    """Sends this process a signal at some point of the run.

    Args:
        point: mid-epoch, wrap, in the midst of accumulation, or in the second validation.
        number: which signal.
    """

    def __init__(self, point: str, number: int) -> None:
        self.point, self.number = point, number
        self.validations = 0
        self.sent_at: int | None = None

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        os.kill(os.getpid(), self.number)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """See whether it is the place."""
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
        """See whether it is the second validation."""
        if self.point == "validation" and trainer.global_step > 10 and self.sent_at is None:
            self.validations += 1
            if self.validations == 2:
                self._send(trainer)


NAMES = {signal.SIGKILL: "KILL", signal.SIGTERM: "TERM"}
