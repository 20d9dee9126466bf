"""What networks can do, by length: every network of the package on problems of state tracking and recall."""

import inspect
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqmodels.analysis.figures import draw_lines, save_figure
from seqmodels.errors import InputError
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.model import MemoryModel
from seqmodels.experiments.results import seeded, train
from seqmodels.experiments.sweep import Results
from seqmodels.files import markdown_table, write_text
from seqmodels.nn import (
    GLA,
    GRU,
    HGRN2,
    LSTM,
    MLSTM,
    RGLRU,
    RNN,
    RWKV7,
    SLSTM,
    Backbone,
    DeltaNet,
    GatedDeltaNet,
    Hybrid,
    KimiDeltaNet,
    Mamba2,
    MinGRU,
    MinLSTM,
    MultiplicativeLSTM,
    MultiplicativeRNN,
    RetNet,
    SimpleGLA,
    Transformer,
)

NETWORKS: dict[str, tuple[type[Backbone], dict[str, Any]]] = {
    "GatedDeltaNet negative": (GatedDeltaNet, {"negative": True}),
    "GatedDeltaNet negative slow": (GatedDeltaNet, {"negative": True, "largest_rate": 0.16}),
    "GatedDeltaNet": (GatedDeltaNet, {}),
    "DeltaNet negative": (DeltaNet, {"negative": True}),
    "DeltaNet": (DeltaNet, {}),
    "LSTM": (LSTM, {}),
    "SLSTM": (SLSTM, {}),
    "MLSTM": (MLSTM, {}),
    "Mamba2": (Mamba2, {"state_size": 16}),
    "Transformer": (Transformer, {}),
    "RNN": (RNN, {}),
    "GRU": (GRU, {}),
    "RWKV7": (RWKV7, {"value_residual": False, "channel_mixing": False}),
    "KimiDeltaNet": (KimiDeltaNet, {}),
    "GLA": (GLA, {}),
    "HGRN2": (HGRN2, {}),
    "RetNet": (RetNet, {"rotary": False}),
    "SimpleGLA": (SimpleGLA, {}),
    "RGLRU": (RGLRU, {}),
    "MinGRU": (MinGRU, {}),
    "MinLSTM": (MinLSTM, {}),
    "MultiplicativeRNN": (MultiplicativeRNN, {}),
    "MultiplicativeLSTM": (MultiplicativeLSTM, {}),
    "Hybrid": (Hybrid, {"layers": "GatedDeltaNet,attention"}),
}
"""Every network of the package, and its arguments beside the sizes; slow: with decays that begin near 1."""


@dataclass(frozen=True)
class Setting:
    """How networks are trained and tested on a problem."""

    train: tuple[int, int]
    """Shortest and longest examples of training."""
    test: tuple[int, ...]
    """Lengths of tests, of which the first is that of training."""
    steps: int = 2000
    batch_size: int = 64
    lrs: tuple[float, ...] = (3e-3,)
    """Peak learning rates that are tried."""
    scaled: bool = True
    """Accuracies are scaled, so that 0 is chance and 1 is all right."""
    published: Mapping[str, float] | None = None
    """Figures of others, by their network."""


_TRIED = (1e-3, 3e-3, 1e-2)
_FAR, _WORDS = (40, 64, 128, 192, 256), (32, 64, 128)
_GRAZZI = (
    "Transformer", "mLSTM", "sLSTM", "Mamba [0, 1]", "Mamba [-1, 1]", "DeltaNet [0, 1]", "DeltaNet [-1, 1]",
)  # fmt: skip


def _of_grazzi(*figures: float) -> dict[str, float]:
    return dict(zip(_GRAZZI, figures, strict=True))


SETTINGS = {
    "parity": Setting((3, 40), _FAR, published=_of_grazzi(0.022, 0.087, 1.0, 0.0, 1.0, 0.017, 1.0)),
    "modular-arithmetic": Setting(
        (4, 40), _FAR, 6000, published=_of_grazzi(0.031, 0.040, 0.787, 0.095, 0.241, 0.314, 0.971)
    ),
    "nested-arithmetic": Setting(
        (3, 40), _FAR, 6000, published=_of_grazzi(0.067, 0.114, 0.178, 0.123, 0.116, 0.194, 0.260)
    ),
    "words-s3": Setting((2, 32), _WORDS),
    "words-a5": Setting((2, 32), _WORDS, 8000),
    "words-s5": Setting((2, 32), _WORDS, 8000),
    "words-s5-swaps": Setting((2, 32), _WORDS, 8000),
    "mqar": Setting((64, 64), (64, 128, 256), 2000, 64, lrs=_TRIED, scaled=False),
    "mad-compression": Setting((32, 32), (32,), 2000, lrs=_TRIED, scaled=False),
    "mad-fuzzy-recall": Setting((128, 128), (128,), 1000, 64, lrs=_TRIED, scaled=False),
    "mad-recall": Setting((128, 128), (128,), 1000, 64, lrs=_TRIED, scaled=False),
    "mad-memorization": Setting((32, 32), (32,), 2000, lrs=_TRIED, scaled=False),
    "mad-noisy-recall": Setting((128, 128), (128,), 1000, 64, lrs=_TRIED, scaled=False),
    "mad-selective-copying": Setting((256, 256), (256,), 1000, 32, lrs=_TRIED, scaled=False),
}
"""Problems by name. Lengths are as published, but MAD's and MQAR's examples and widths are fewer. Published figures are
those of Grazzi et al. (2025), scaled accuracies over lengths of 40 to 256, the best of three seeds."""


MAD = tuple(task for task in SETTINGS if task.startswith("mad-"))
"""The six tasks of MAD."""

MAD_PUBLISHED = {
    "PaTH": 0.808, "Transformer": 0.764, "MesaNet": 0.751, "mLSTM": 0.747, "RWKV-7": 0.746, "Mamba": 0.731,
    "Gated DeltaProduct": 0.723, "Gated DeltaNet": 0.712, "DeltaNet": 0.697, "GLA": 0.679, "GSA": 0.648,
}  # fmt: skip
"""Means over the six tasks by a run of others at full size (HassanJbara/lin-attn-bench, `ac6d5ab`): two layers of 128,
12,800 examples seen up to 200 times, the best of six settings."""


def make_network(name: str, width: int, layers: int, heads: int) -> Backbone:
    """One of `NETWORKS`, with inputs and layers of so many features.

    Raises:
        InputError: the name is not known.
    """
    if name not in NETWORKS:
        raise InputError(f"the network {name!r} is not known; choose from {', '.join(NETWORKS)}")
    network, settings = NETWORKS[name]
    sizes = {
        "input_size": width, "hidden_size": width, "num_layers": layers, "num_heads": heads, "context": 1024,
    }  # fmt: skip
    fitting = {key: size for key, size in sizes.items() if key in inspect.signature(network).parameters}
    return network(**fitting | settings)


def train_and_test(
    name: str,
    task: str,
    seed: int,
    *,
    lr: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    max_minutes: float | None = None,
    accelerator: str = "cpu",
) -> dict[str, Any]:
    """Train one network on a problem of `SETTINGS`, and test it at every length.

    Args:
        name: of a network in `NETWORKS`.
        task: of a problem.
        seed: random seed of weights and examples.
        lr: peak learning rate; default: the first of the problem's.
        steps: of training; default: the problem's.
        batch_size: examples of a step; default: the problem's.
        width: features of the network.
        layers: layers of the network.
        heads: heads of a layer, where it has some.
        max_minutes: maximum duration of the training.
        accelerator: cpu or gpu.

    Returns:
        `accuracy`, by length as text, from 0 to 1, scaled where the setting says so; `steps`, `lr`, and the number of
        `parameters`.

    Raises:
        InputError: the network is not known, or a number is not possible.
    """
    setting = SETTINGS[task]
    for what, number in {"steps": steps, "batch_size": batch_size}.items():
        if number is not None and number < 1:
            raise InputError(f"{what}={number} was given; expected at least 1")
    least, length = setting.train
    data = MemoryDataModule(
        task, length, batch_size or setting.batch_size, [seed], 1000, varied_from=least if least < length else None
    )
    networks = seeded(lambda: make_network(name, width, layers, heads), [seed])
    lr, steps = setting.lrs[0] if lr is None else lr, setting.steps if steps is None else steps
    model = MemoryModel(
        networks, data.task.outputs, lr=lr, seeds=[seed], symbols=data.task.inputs,
        from_last=length if data.task.from_last else None, steps=steps,
    )  # fmt: skip
    found = train(
        model, data, max_steps=steps, max_minutes=max_minutes, accelerator=accelerator, until_solved=False
    )  # fmt: skip
    return {
        "accuracy": {str(test): accuracy(model, task, test) for test in setting.test},
        "steps": found["steps"], "lr": lr, "parameters": sum(p.numel() for p in networks[0].parameters()),
    }  # fmt: skip


def accuracy(model: MemoryModel, task: str, length: int, examples: int = 1000) -> float:
    """The share of answers that are right in examples of a length, scaled where the setting says so."""
    data = MemoryDataModule(task, length, seeds=[0], examples=examples)
    model.eval()
    model.on_validation_epoch_start()
    with torch.inference_mode():
        batches = data.scored_batches("validation")
        for number in range(len(batches)):
            model.validation_step(batches[0, number].to(model.device), number)
    model.on_validation_epoch_end()
    model.train()
    chance = 1 / data.task.outputs if SETTINGS[task].scaled else 0.0
    return 1 - model.errors[0] / (1 - chance)


def learning_rates(text: str | None, task: str) -> list[float]:
    """Peak learning rates from comma-separated numbers, or those of the problem.

    Raises:
        InputError: the task is not known, or one is no number above 0.
    """
    if task not in SETTINGS:
        raise InputError(f"the task {task!r} is not known; choose one of {', '.join(SETTINGS)}")
    try:
        rates = [float(rate) for rate in text.split(",")] if text else [*SETTINGS[task].lrs]
    except ValueError as error:
        raise InputError(f"lr={text!r} was given; expected comma-separated numbers") from error
    if not all(0 < rate < math.inf for rate in rates):
        raise InputError(f"lr={text!r} was given; expected numbers above 0")
    return rates


def write_abilities(results: Results, task: str, folder: Path) -> str:
    """Write `abilities.md` and `abilities.png`, and pictures by learning rate if there are several; returns the table.

    Results are those of `train_and_test` by "network, learning rate".
    """
    chosen = best_rates(results)
    page = abilities_table(chosen, task)
    lengths = SETTINGS[task].test
    if len(lengths) > 1 and chosen:
        lines = {
            name: (lengths, [_best([run["accuracy"][str(n)] for run in runs]) for n in lengths])
            for name, (_, runs) in chosen.items()
        }
        figure = draw_lines(lines, markers=lines, xlabel="length", ylabel=_measure(task) + ", best seed", title=task)
        figure.axes[0].set_xticks(lengths)
        save_figure(figure, folder / "abilities.png")
    if chosen and len({rate for _, rate in map(_split, results)}) > 1:
        page += "\n" + rates_table(results, task)
        draw_rates(results, task, folder / "rates.png")
    write_text(folder / "abilities.md", page)
    return page


def abilities_table(chosen: Mapping[str, tuple[str, list[dict[str, Any]]]], task: str) -> str:
    """A row for each network, a column for each length: the best seed, and the mean over seeds in brackets.

    Then the mean over all lengths of the best seed, with published figures below, the learning rate, and the seeds.
    """
    setting = SETTINGS[task]
    lengths = [str(length) for length in setting.test]
    several = len(lengths) > 1
    span = [f"mean of {lengths[0]} to {lengths[-1]}"] if several else []
    rows = [[_measure(task), *(f"T = {length}" for length in lengths), *span, "lr", "seeds"]]
    for name, (rate, runs) in chosen.items():
        cells = [[run["accuracy"][length] for run in runs] for length in lengths]
        means = [sum(run["accuracy"].values()) / len(lengths) for run in runs]
        rows.append([name, *map(_cell, cells), *([_cell(means)] if several else []), rate, str(len(runs))])
    for name, figure in (setting.published or {}).items():
        rows.append([f"{name}, published", *["" for _ in lengths], f"{figure:.3f}", "", "3"])
    return markdown_table(rows)


def mad_table(found: Mapping[str, Results]) -> str:
    """A row for each network, a column for each of the six tasks, from the results of each, and their mean.

    Cells are the best seed of the best learning rate, with the mean over seeds in brackets; below are published means.
    """
    rows = [["accuracy", *(task.removeprefix("mad-") for task in MAD), "mean", "seeds"]]
    chosen = {task: best_rates(found[task]) for task in MAD if task in found}
    for name in dict.fromkeys(name for of_task in chosen.values() for name in of_task):
        cells = [_at_training(chosen[task][name][1], task) if name in chosen.get(task, {}) else [] for task in MAD]
        complete = all(cells)
        best = statistics.fmean(map(max, cells)) if complete else None
        seeds = sorted({len(cell) for cell in cells if cell})
        rows.append([
            name, *map(_cell, cells), "-" if best is None else f"{best:.3f}",
            str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
        ])  # fmt: skip
    rows += [[f"{name}, published", *[""] * len(MAD), f"{mean:.3f}", ""] for name, mean in MAD_PUBLISHED.items()]
    return markdown_table(rows)


def rates_table(results: Results, task: str) -> str:
    """Accuracies at the length of training: a row for each network, a column for each learning rate."""
    rates = list(dict.fromkeys(rate for _, rate in map(_split, results)))
    rows = [[f"{_measure(task)}, T = {SETTINGS[task].test[0]}", *(f"lr = {rate}" for rate in rates)]]
    for name in dict.fromkeys(name for name, _ in map(_split, results)):
        rows.append([name, *(_cell(_at_training(results.get(f"{name}, {rate}", []), task)) for rate in rates)])
    return markdown_table(rows)


def draw_rates(results: Results, task: str, path: Path) -> None:
    """Plot the accuracy of the best seed at the length of training against the learning rate."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for key, runs in results.items():
        name, rate = _split(key)
        if runs:
            rates, best = lines.setdefault(name, ([], []))
            rates.append(float(rate))
            best.append(max(_at_training(runs, task)))
    figure = draw_lines(lines, markers=lines, xlabel="learning rate", ylabel=_measure(task), title=task)
    figure.axes[0].set_xscale("log")
    save_figure(figure, path)


def best_rates(results: Results) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """For each network the learning rate with the best mean at the length of training, and its runs."""
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for key, runs in results.items():
        name, rate = _split(key)
        if runs and (name not in found or _strength(runs) > _strength(found[name][1])):
            found[name] = rate, runs
    return found


def _strength(runs: list[dict[str, Any]]) -> float:
    return statistics.fmean(next(iter(run["accuracy"].values())) for run in runs)


def _split(key: str) -> tuple[str, str]:
    name, _, rate = key.rpartition(", ")
    return name, rate


def _at_training(runs: list[dict[str, Any]], task: str) -> list[float]:
    return [run["accuracy"][str(SETTINGS[task].test[0])] for run in runs]


def _best(figures: list[float]) -> float:
    return max(figures, default=float("nan"))


def _cell(figures: list[float]) -> str:
    if not figures:
        return "-"
    return f"{max(figures):.3f}" + (f" ({sum(figures) / len(figures):.3f})" if len(figures) > 1 else "")


def _measure(task: str) -> str:
    return "scaled accuracy" if SETTINGS[task].scaled else "accuracy"
