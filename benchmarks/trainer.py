"""The whole Trainer, as `seqmodels.fit` sets it up, beside the shortest loop that trains the same network.

Ours has logging, progress bar, checkpoints, schedule and budget; the loop has none of them. Both train fresh weights
of the same sizes on the same batches, gathered by the same code, in the same precision. A step lasts from the end of
the previous step to its own end. The only validation follows the last step, the first sample is due at step 100, so
neither counts; figures are means over the steps, so that a step that writes to the log counts, too.
"""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.ceiling import Cost
from benchmarks.measure import Comparison, Entry, Run, compare, compare_all, made_up_text, made_up_words, plainly
from benchmarks.peak import in_process
from benchmarks.plain import Layers, PlainGPT, PlainLSTM
from seqmodels.batch import IGNORE
from seqmodels.data import TextDataModule
from seqmodels.environment import has_bf16_lstm, multiplies_bf16
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import LanguageModel
from seqmodels.training.fit import fit

LITTLE = 80, 19
"""Timed steps of a small network, four of which write to the log, and warm-up steps: no sample is due."""

Precision = Literal["32-true", "bf16-mixed"]
Side = Callable[["Work", Path], float]
"""Seconds of a step."""


@dataclass(frozen=True)
class Work:
    """A training.

    Attributes:
        name: of the network.
        network: makes our network.
        plain: makes the rival's model from the vocabulary size; called with tokens and state, it returns logits and
            state.
        batch_size: rows of a batch.
        length: tokens of a row.
        steps: number of timed steps.
        warm_up: number of steps before them, at least one.
        precision: of both programs.
        tokenizer: of the text.
        carry: the state is carried from batch to batch.
        fused: the rival uses torch's fused AdamW rather than its default.
        device: cpu or cuda.
        compiled: both use `torch.compile`, unless the rival is `in_single_precision`.
        tied: ours has tied embeddings.
        recompute: positions of the pieces in which ours reads a window.
        diagnostics: ours measures gradients and spectra, after the timed steps.
    """

    name: str
    network: Callable[[], Backbone]
    plain: Callable[[int], nn.Module]
    batch_size: int
    length: int
    steps: int
    warm_up: int = 1
    precision: Precision = "32-true"
    tokenizer: str = "char"
    carry: bool = True
    fused: bool = True
    device: str = "cpu"
    compiled: bool = False
    tied: bool = False
    recompute: int | None = None
    diagnostics: bool = True

    def __str__(self) -> str:
        kind = "bf16" if self.precision == "bf16-mixed" else "fp32"
        return f"Train {self.name}, {self.batch_size}x{self.length}, {kind}{', compiled' * self.compiled}"

    def cost(self, vocab_size: int) -> Cost:
        """Operations of a token: six for each weight of a matrix, and those of causal attention."""
        with torch.device("meta"):
            network = self.network()
        matrices = [p for name, p in network.named_parameters() if p.ndim == 2 and "position" not in name]
        weights = sum(p.numel() for p in matrices) + vocab_size * network.output_size
        if isinstance(network, Transformer):
            weights += len(network.blocks) * network.input_size * self.length
        return Cost(6.0 * weights, "flops_bf16" if self.precision == "bf16-mixed" else "flops")

    def time(self, steps: int) -> float:
        """The time after some steps; synchronised with a GPU at the beginning and end of the timed steps only."""
        if self.device != "cpu" and steps in (self.warm_up, self.warm_up + self.steps):
            torch.cuda.synchronize()
        return time.perf_counter()

    def data(self, text: Path) -> TextDataModule:
        """The batches of a text."""
        return TextDataModule(
            str(text), tokenizer=self.tokenizer, length=self.length, batch_size=self.batch_size, carry=self.carry
        )


def run(*, rounds: int = 5, steps: int = 6, small: bool = False) -> Iterator[Comparison]:
    """All comparisons of this topic; see `Topic`."""
    how = plainly if small else in_process
    with made_up_text(20_000 if small else 1_000_000) as text:
        size, rows, length = (16, 4, 8) if small else (512, 64, 128)
        work = _lstm(size, 2, rows, length, steps)
        yield rates(work, rival, text, rounds, how, ">= 0.98")
        if has_bf16_lstm():  # the plain loop fails on other processors
            half = replace(work, precision="bf16-mixed")
            yield rates(half, rival, text, rounds, how, ">= 0.98")
        size, rows, length = (8, 2, 8) if small else (64, 12, 64)
        work = _lstm(size, 1, rows, length, *((steps, 1) if small else LITTLE))
        sides = (partial(_milliseconds, side, work, text) for side in (ours, rival))
        yield compare(
            str(work), *sides, unit="ms/step", rounds=rounds, warm_up=False, target="at most 1.0 ms added", run=how
        )
        work = _transformer(16 if small else 128, rows, length, *((steps, 1) if small else LITTLE))
        others = {"a plain GPT": (rival, ">= 1.1"), "transformers' Trainer": (hugging_face_trainer, ">= 1.5")}
        yield from rates_beside([work], others, text, rounds, how)
        if multiplies_bf16("cpu"):  # what --precision auto chooses there
            half = replace(work, precision="bf16-mixed")
            works = [half] if small else [half, replace(half, compiled=True)]
            others = {
                "a plain GPT in fp32": (partial(in_single_precision, rival), ">= 1.5"),
                "transformers' Trainer in fp32": (partial(in_single_precision, hugging_face_trainer), ">= 1.8"),
            }
            yield from rates_beside(works, others, text, rounds, how)
    with made_up_words(200 if small else 33_278, 5_000 if small else 150_000) as text:
        work = _lstm(16 if small else 200, 2, 20, 35, steps, 2)
        work = replace(work, name=f"word {work.name}", tokenizer="word", fused=False)
        yield rates(work, rival, text, rounds, how, ">= 1.5")


def _lstm(size: int, layers: int, rows: int, length: int, steps: int, warm_up: int = 1) -> Work:
    plain = partial(PlainLSTM, size=size, layers=layers)
    return Work(f"LSTM {layers}x{size}", partial(LSTM, size, size, layers), plain, rows, length, steps, warm_up)


def _transformer(size: int, rows: int, length: int, steps: int, warm_up: int) -> Work:
    plain = partial(PlainGPT, size=size, layers=4, heads=4, context=length)
    network = partial(Transformer, size, 4, 4, context=length)
    return Work(f"Transformer 4x{size}", network, plain, rows, length, steps, warm_up, carry=False, fused=False)


def rates(work: Work, other: Side, text: Path, rounds: int, how: Run, target: str, whom: str = "") -> Comparison:
    """Tokens per second of a training, beside the plain loop or another program; see `compare`."""
    return rates_beside([work], {whom: (other, target)}, text, rounds, how)[0]


def rates_beside(
    works: Sequence[Work], others: Mapping[str, tuple[Side, str]], text: Path, rounds: int, how: Run
) -> list[Comparison]:
    """The same of one training, set up in several ways, beside several programs.

    Args:
        works: the training; the others run the first.
        others: programs by name, with the aim beside each; an only one may have no name.
        text: to train on.
        rounds: see `compare`.
        how: see `compare`.
    """
    sides = {whom: partial(_tokens_per_second, other, works[0], text) for whom, (other, _) in others.items()}
    vocab_size = works[0].data(text).tokenizer.vocab_size
    entries = [
        Entry(
            f"{work} beside {whom}" if whom else str(work), own, sides[whom], f"ratio {target}", work.cost(vocab_size)
        )
        for work in works
        for own in [partial(_tokens_per_second, ours, work, text)]
        for whom, (_, target) in others.items()
    ]
    return compare_all(entries, unit="tokens/s", rounds=rounds, warm_up=False, run=how)


def _tokens_per_second(side: Side, work: Work, text: Path) -> float:
    return work.batch_size * work.length / side(work, text)


def _milliseconds(side: Side, work: Work, text: Path) -> float:
    return 1e3 * side(work, text)


def ours(work: Work, text: Path) -> float:
    """Seconds of a step inside `seqmodels.fit`."""
    data = work.data(text)
    task, clock = LanguageModel(work.network(), data.tokenizer, tie_embeddings=work.tied), Clock(work)
    with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stdout(Screen()):
        fit(
            task, data, max_steps=work.warm_up + work.steps, validations=1, precision=work.precision, runs=runs,
            compile=work.compiled, recompute=work.recompute, diagnostics=work.diagnostics,
            accelerator="cpu" if work.device == "cpu" else "gpu", callbacks=(clock,),
        )  # fmt: skip
    return seconds_per_step(clock.ends, work)


def rival(work: Work, text: Path) -> float:
    """Seconds of a step of the plain loop."""
    data = work.data(text)
    batches = data.training_batches()
    model = work.plain(data.tokenizer.vocab_size).to(work.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=work.fused)
    half = torch.autocast(work.device, torch.bfloat16, enabled=work.precision == "bf16-mixed")
    run = torch.compile(model) if work.compiled else model
    state: Layers | None = None
    ends: list[float] = []
    for number in range(work.warm_up + work.steps):
        batch = batches[divmod(number, len(batches))]
        inputs, targets = batch.inputs.to(work.device), batch.targets.to(work.device)
        with half:
            logits, state = run(inputs, state if batch.continues else None)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = None if state is None else (state[0].detach(), state[1].detach())
        ends.append(work.time(number + 1))
    return seconds_per_step(ends, work)


def in_single_precision(side: Side, work: Work, text: Path) -> float:
    """Seconds of a step of a program as it is by default: in single precision, and not compiled."""
    return side(replace(work, precision="32-true", compiled=False), text)


def hugging_face_trainer(work: Work, text: Path) -> float:
    """Seconds of a step of GPT-2, of the size of a plain one, in the Trainer of `transformers`."""
    from benchmarks import hugging_face  # takes seconds to import

    data = work.data(text)
    plain = work.plain(data.tokenizer.vocab_size)
    assert isinstance(plain, PlainGPT)
    (V, D), (context, _) = plain.embedding.weight.shape, plain.position.weight.shape
    model = hugging_face.gpt2(V, D, len(plain.blocks), 4, context)
    bf16 = work.precision == "bf16-mixed"
    steps = work.warm_up + work.steps
    ends = hugging_face.seconds_of_steps(model, data.training_batches(), work.batch_size, steps, bf16)
    return seconds_per_step(ends, work)


def seconds_per_step(ends: Sequence[float], work: Work) -> float:
    """The mean over the timed steps, from the end times of all steps."""
    if len(ends) != work.warm_up + work.steps:
        raise RuntimeError(f"expected {work.warm_up + work.steps} steps, got {len(ends)}")
    return (ends[-1] - ends[work.warm_up - 1]) / work.steps


class Clock(pl.Callback):
    """Records the end time of every step."""

    def __init__(self, work: Work) -> None:
        self.work, self.ends = work, list[float]()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        self.ends.append(self.work.time(len(self.ends) + 1))


class Screen(io.StringIO):
    """Takes the output of a run; claims to be a terminal, so that the progress bar is drawn."""

    def isatty(self) -> bool:
        return True
