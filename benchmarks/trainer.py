"""The whole Trainer, as `seqmodels.fit` sets it up, against the shortest loop that trains the same network.

Ours has logging, progress bar, checkpoints, schedule and budget; the loop has none of them. Both train fresh weights
of the same sizes on the same batches, gathered by the same code, in the same precision. A step lasts from the end of
the one before to its own end. The only validation comes after the last step, the first sample only at step 100, so
neither is counted; figures are means over the steps, for a step that writes to the log is slower and counts too.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Comparison, compare, made_up_text
from seqmodels.batch import IGNORE
from seqmodels.data import TextDataModule
from seqmodels.hardware import has_bf16_lstm
from seqmodels.nn import LSTM
from seqmodels.run import fit
from seqmodels.tasks import LanguageModel

Precision = Literal["32-true", "bf16-mixed"]

LITTLE = 80, 19
"""Steps of the small network that count, four of which write to the log, and steps before those: no sample is due."""


@dataclass(frozen=True)
class Work:
    """What is trained, and for how long.

    Attributes:
        size: features of embedding and layers.
        layers: how many.
        batch_size: rows of a batch.
        length: tokens of a row.
        precision: of both programs.
        steps: how many count.
        warm_up: how many come before those, at least one.
    """

    size: int
    layers: int
    batch_size: int
    length: int
    precision: Precision
    steps: int
    warm_up: int = 1

    def __str__(self) -> str:
        kind = "bf16" if self.precision == "bf16-mixed" else "fp32"
        return f"Train LSTM {self.layers}x{self.size}, {self.batch_size}x{self.length}, {kind}"

    def data(self, text: Path) -> TextDataModule:
        """Lanes through a text."""
        return TextDataModule(str(text), length=self.length, batch_size=self.batch_size, carry=True)


def run(*, rounds: int = 5, steps: int = 6, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic, one after the other.

    Args:
        rounds: how often each program runs.
        steps: steps of the large network that count in a round; below 100, where the first sample is due.
        small: tiny sizes and few steps, to see that it works.
    """
    large = (16, 2, 4, 8) if small else (512, 2, 64, 128)
    little = (8, 1, 2, 8) if small else (64, 1, 12, 64)
    with made_up_text(20_000 if small else 1_000_000) as text:
        precisions: list[Precision] = ["32-true"]
        if has_bf16_lstm():  # the loop would fail on other processors
            precisions.append("bf16-mixed")
        for precision in precisions:
            work = Work(*large, precision, steps)
            yield compare(
                str(work),
                partial(_tokens_per_second, ours, work, text),
                partial(_tokens_per_second, rival, work, text),
                unit="tokens/s",
                rounds=rounds,
                warm_up=False,
                target="ratio >= 0.97",
            )
        work = Work(*little, "32-true", *((steps, 1) if small else LITTLE))
        yield compare(
            str(work),
            partial(_milliseconds, ours, work, text),
            partial(_milliseconds, rival, work, text),
            unit="ms/step",
            rounds=rounds,
            warm_up=False,
            target="at most 1.0 ms added",
        )


def _tokens_per_second(side: Callable[[Work, Path], float], work: Work, text: Path) -> float:
    return work.batch_size * work.length / side(work, text)


def _milliseconds(side: Callable[[Work, Path], float], work: Work, text: Path) -> float:
    return 1e3 * side(work, text)


def ours(work: Work, text: Path) -> float:
    """Seconds of a step inside `seqmodels.fit`."""
    data = work.data(text)
    task, clock = LanguageModel(LSTM(work.size, work.size, work.layers), data.tokenizer), Clock()
    with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stdout(Screen()):
        fit(
            task,
            data,
            max_steps=work.warm_up + work.steps,
            validations=1,
            precision=work.precision,
            accelerator="cpu",
            runs=runs,
            callbacks=(clock,),
        )
    return seconds_per_step(clock.ends, work)


def rival(work: Work, text: Path) -> float:
    """Seconds of a step of the plain loop."""
    data = work.data(text)
    batches = data.training_batches()
    model = PlainLSTM(data.tokenizer.vocab_size, work.size, work.layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    half = torch.autocast("cpu", torch.bfloat16, enabled=work.precision == "bf16-mixed")
    state: tuple[Tensor, Tensor] | None = None
    ends = []
    for number in range(work.warm_up + work.steps):
        batch = batches[divmod(number, len(batches))]
        with half:
            logits, (h, c) = model(batch.inputs, state if batch.continues else None)
            loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = h.detach(), c.detach()
        ends.append(time.perf_counter())
    return seconds_per_step(ends, work)


def seconds_per_step(ends: Sequence[float], work: Work) -> float:
    """The mean over the steps that count, from the times at which all steps ended."""
    if len(ends) != work.warm_up + work.steps:
        raise RuntimeError(f"expected {work.warm_up + work.steps} steps, got {len(ends)}")
    return (ends[-1] - ends[work.warm_up - 1]) / work.steps


class PlainLSTM(nn.Module):
    """The same language model in three lines of torch.

    Args:
        vocab_size: how many tokens V there are.
        size: features of embedding and layers.
        layers: how many.
    """

    def __init__(self, vocab_size: int, size: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, size)
        self.lstm = nn.LSTM(size, size, num_layers=layers, batch_first=True)
        self.head = nn.Linear(size, vocab_size)

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Tokens (B, T) to logits (B, T, V), and the state after the last."""
        y, state = self.lstm(self.embedding(tokens), state)
        return self.head(y), state


class Clock(pl.Callback):
    """Remembers when every step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.ends.append(time.perf_counter())


class Screen(io.StringIO):
    """Takes what a run prints, and passes for a terminal, so that the progress bar is drawn."""

    def isatty(self) -> bool:
        return True
