"""The cost of a training step as one size grows, and the gain of a second process."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measure import Comparison, Entry, compare, compare_all, made_up_text
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.batch import Batch
from seqmodels.data import Tokenizer
from seqmodels.nn import LSTM, Backbone, Transformer
from seqmodels.tasks import LanguageModel

FACTORS = {
    "length": (16, 64, 256, 1024),
    "lanes": (4, 16, 64),
    "width": (64, 128, 256, 512),
    "layers": (1, 2, 4, 8),
    "vocabulary": (100, 1_000, 10_000, 50_000),
}
"""Sizes that are varied one at a time, the others as in `USUAL`."""
USUAL = {"length": 64, "lanes": 16, "width": 128, "layers": 2, "vocabulary": 1_000}
LEAST = 0.3
"""Minimal seconds of a round."""


def run(*, rounds: int = 5, small: bool = False) -> Iterator[Comparison]:
    """Tokens per second by size, and of two processes by twice one and by two runs side by side."""
    for network in ("LSTM", "Transformer"):
        for factor, values in FACTORS.items():
            for value in values[:2] if small else values:
                step, tokens = made_step(network, **{**USUAL, factor: value})
                rate = partial(_rate, step, tokens, 0.0 if small else LEAST)
                yield compare(f"{network}, {factor} {value}", rate, unit="tokens/s", rounds=min(rounds, 3))
    with made_up_text(20_000 if small else 2_000_000) as text:
        steps, what = 40 if small else 160, "Train LSTM 2x256 on two processes, by"
        two, one = (partial(_of_processes, text, count, steps) for count in (2, 1))
        entries = [
            Entry(f"{what} twice one", two, lambda: 2 * one(), "ratio >= 0.9"),
            Entry(f"{what} two unrelated runs", two, partial(_of_two_runs, text, steps), "ratio >= 0.95"),
        ]
        yield from compare_all(entries, unit="tokens/s", rounds=1 if small else rounds, warm_up=False)


def made_step(
    network: str, length: int, lanes: int, width: int, layers: int, vocabulary: int
) -> tuple[Callable[[], None], int]:
    """A training step of a language model without the Trainer, and its tokens."""
    torch.manual_seed(1)
    backbones: dict[str, Callable[[], Backbone]] = {
        "LSTM": lambda: LSTM(width, width, layers),
        "Transformer": lambda: Transformer(width, layers, 4, context=length),
    }
    letters = "".join(chr(0x10000 + number) for number in range(vocabulary - 4))
    model = LanguageModel(backbones[network](), Tokenizer.char([letters]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    tokens = torch.randint(4, vocabulary, (lanes, length + 1))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())

    def step() -> None:
        optimizer.zero_grad()
        (model.losses(batch, None).objective / tokens.numel()).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, lanes * length


def _rate(step: Callable[[], None], tokens: int, least: float) -> float:
    began, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - began < least:
        step()
        steps += 1
    return steps * tokens / (time.perf_counter() - began)


def _of_two_runs(text: Path, steps: int) -> float:
    """Tokens per second of two runs of one process each, at the same time, which know nothing of one another."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(partial(_of_processes, text, 1), [steps] * 2))


def _of_processes(text: Path, processes: int, steps: int) -> float:
    """Tokens per second of all processes, with one thread and one batch each, from the log of the run."""
    with tempfile.TemporaryDirectory() as runs:
        command = [
            str(Path(sys.executable).with_name("seqmodels")), "fit",
            "--data", str(text), "--tokenizer", "char", "--carry",
            "--batch-size", "16", "--length", "64", "--backbone", "LSTM", "--backbone.input-size", "128",
            "--backbone.hidden-size", "256", "--backbone.num-layers", "2", "--max-steps", str(steps),
            "--validations", "1", "--devices", str(processes), "--accelerator", "cpu", "--no-diagnostics",
            "--runs", runs,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        (log,) = Path(runs).rglob("metrics.csv")
        rates = [row["train/tokens_per_second"] for row in read_metrics(log) if "train/tokens_per_second" in row]
    return statistics.median(rates)


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Tokens per second by each size, a line for each network, from results of `Comparison.record` without a rival."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    lines: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        if record["rival"] is None:
            network, size = record["what"].split(", ")
            factor, value = size.split()
            lines.setdefault(factor, {}).setdefault(network, []).append((int(value), record["ours"]))
    figure = Figure(figsize=(2.4 * len(lines), 2.8), layout="constrained")
    row = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    for axes, (factor, networks) in zip(row, lines.items(), strict=True):
        for network, points in networks.items():
            axes.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=network)
        axes.set_xlabel(factor)
        axes.set_xticks(FACTORS[factor], [f"{value:,}" for value in FACTORS[factor]], fontsize=7)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(alpha=0.3)
        axes.axvline(USUAL[factor], color="#999999", linewidth=0.8, linestyle=":")
    figure.axes[0].set_ylabel("tokens/s")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)
