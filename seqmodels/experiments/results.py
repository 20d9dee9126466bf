"""Training on long-memory problems until they are solved, and tables of which networks solve them at which length."""

import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
from lightning import seed_everything
from lightning.pytorch.utilities.exceptions import SIGTERMException

from seqmodels.analysis.figures import draw_lines, save_figure
from seqmodels.environment import quiet
from seqmodels.errors import InputError
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.model import MemoryModel
from seqmodels.experiments.problems import TASKS
from seqmodels.experiments.sweep import Results
from seqmodels.files import markdown_table, write_text
from seqmodels.nn import Backbone

M = TypeVar("M")

SECONDS_BETWEEN_LINES = 30.0
"""Interval of progress lines where the output is no terminal."""


def train(
    model: MemoryModel,
    data: MemoryDataModule,
    *,
    max_steps: int = 20_000,
    max_minutes: float | None = None,
    check_every: int | None = None,
    accelerator: str = "cpu",
    until_solved: bool = True,
) -> dict[str, Any]:
    """Train networks until all have solved the problem, or the budget is spent.

    With a curriculum, examples become longer whenever all networks have solved the present length.

    Args:
        model: the networks, one per seed.
        data: the problem, with the same seeds.
        max_steps: maximum number of steps.
        max_minutes: maximum number of minutes; default: no limit.
        check_every: steps between validations; default: 500, or 100 with a curriculum.
        accelerator: cpu or gpu.
        until_solved: whether training ends when all networks have solved the problem.

    Returns:
        Lists by seed: `solved`, the step at which the error first fell below the threshold, None if it never did, and
        the `best` and `last` error; the final `length` and the number of `steps`. Unless a curriculum reached its full
        length, no network has solved the problem, and the best error is the trivial one.
    """
    monitor = _SolvedMonitor(data, max_minutes, until_solved)
    check_every = check_every or (100 if data.shortest < data.longest else 500)
    with quiet():
        trainer = pl.Trainer(
            max_steps=max_steps,
            max_epochs=-1,
            val_check_interval=min(check_every, max_steps),
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator=accelerator,
            devices=1,
            callbacks=[monitor],
        )
        try:
            trainer.fit(model, datamodule=data)
        except SIGTERMException as error:
            raise SystemExit(128 + signal.SIGTERM) from error
    full = data.positions == data.longest
    return {
        "solved": monitor.solved if full else [None] * len(monitor.solved),
        "best": monitor.best if full else [data.task.trivial] * len(monitor.best),
        "last": model.errors,
        "length": data.positions,
        "steps": trainer.global_step,
    }


def seeded(make: Callable[[], Backbone], seeds: Iterable[int]) -> list[Backbone]:
    """One network per seed, initialised from it."""
    networks = []
    for seed in seeds:
        seed_everything(seed, verbose=False)
        networks.append(make())
    return networks


class _SolvedMonitor(pl.Callback):
    """Stops training when all networks have solved the problem or time is up; lengthens examples, shows progress."""

    def __init__(self, data: MemoryDataModule, max_minutes: float | None, until_solved: bool) -> None:
        self.data, self.max_minutes, self.until_solved = data, max_minutes, until_solved
        self._reset()

    def _reset(self) -> None:
        self.solved: list[int | None] = [None] * len(self.data.seeds)
        self.best = [float("inf")] * len(self.data.seeds)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = time.monotonic()
        self._due = self._began + SECONDS_BETWEEN_LINES

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, MemoryModel)
        for index, error in enumerate(pl_module.errors):
            self.best[index] = min(self.best[index], error)  # NaN is never smaller
            if self.solved[index] is None and error < self.data.task.solved:
                self.solved[index] = trainer.global_step
        errors = " ".join(f"{error:.3f}" for error in pl_module.errors)
        line = f"step {trainer.global_step:>6,} of {trainer.max_steps:,}, length {self.data.positions}, errors {errors}"
        if sys.stdout.isatty():
            print(line, end="\r", flush=True)
        elif time.monotonic() >= self._due:
            print(line, flush=True)
            self._due = time.monotonic() + SECONDS_BETWEEN_LINES
        if None not in self.solved and self.data.lengthen():
            self._reset()
        late = self.max_minutes is not None and time.monotonic() - self._began > 60 * self.max_minutes
        trainer.should_stop = late or (self.until_solved and None not in self.solved)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        print(end="\n" if sys.stdout.isatty() else "")


def parse_lengths(task: str, lengths: str, shortest: int | None = None) -> list[int]:
    """The lengths of a sweep, sorted, from comma-separated numbers; for a task of fixed length, its own.

    Raises:
        InputError: the task is not known or one of symbols, or a length is no number or too small for the task or for
            `shortest`.
    """
    try:
        wanted = sorted({int(length) for length in lengths.split(",")})
    except ValueError as error:
        raise InputError(f"lengths={lengths!r} was given; expected comma-separated numbers") from error
    if task in TASKS and TASKS[task].symbols:
        raise InputError(f"{task} was given, whose inputs are symbols; recipes/state_and_recall.py is for it")
    own = TASKS[task].length if task in TASKS else None
    wanted = [own] if own else wanted
    for length in wanted:
        MemoryDataModule(task, length, shortest=shortest)
    return wanted


def grid(methods: Mapping[str, M], names: str | None, lengths: list[int]) -> dict[str, tuple[M, int]]:
    """The experiments of a sweep by name, "method, length": methods by comma-separated names, or all, at every length.

    Raises:
        InputError: a method is not known.
    """
    wanted = list(methods) if names is None else names.split(",")
    if unknown := [name for name in wanted if name not in methods]:
        raise InputError(f"the method {unknown[0]!r} is not known; choose from {', '.join(methods)}")
    return {f"{name}, {length}": (methods[name], length) for length in lengths for name in wanted}


def write_success(results: Results, lengths: list[int], folder: Path) -> str:
    """Write `success.md` and `success.png` to a folder that is named after a problem: which networks solved it.

    Takes results of `train` by the names of `grid`, and lengths in ascending order; returns the table.
    """
    page = success_table(results, lengths)
    write_text(folder / "success.md", page)
    draw_success(results, lengths, folder.name, folder / "success.png")
    return page


def success_table(results: Results, lengths: list[int]) -> str:
    """The number of networks that solved the problem at each length, and after how many steps, in Markdown.

    Steps are the median over those networks; if others failed, the number of steps that they were given is added.
    """
    rows = [["", *(f"T = {length}" for length in lengths)]]
    for method in _methods(results):
        cells = []
        for length in lengths:
            solved = _solved(results, method, length)
            steps = [step for step in solved if step is not None]
            failed = [run["steps"] for run in results.get(f"{method}, {length}", []) if None in run["solved"]]
            after = f" after {statistics.median_low(steps):,}" if steps else f" in {min(failed, default=0):,}"
            if 0 < len(steps) < len(solved):
                after += f" of {min(failed):,}"
            cells.append(f"{len(steps)}/{len(solved)}{after}" if solved else "-")
        rows.append([method, *cells])
    return markdown_table(rows)


def draw_success(results: Results, lengths: list[int], title: str, path: Path) -> None:
    """Plot the fraction of networks that solved the problem against the length."""
    lines, methods = {}, _methods(results)
    for index, method in enumerate(methods):
        shift = 0.02 * (index - (len(methods) - 1) / 2)  # lines would hide each other
        by_length = ((number, _solved(results, method, length)) for number, length in enumerate(lengths))
        known = [(number, solved) for number, solved in by_length if solved]
        fractions = [sum(step is not None for step in solved) / len(solved) + shift / 2 for _, solved in known]
        lines[method] = [number + shift for number, _ in known], fractions
    figure = draw_lines(lines, markers=lines, xlabel="length", ylabel="fraction of seeds that solved it", title=title)
    figure.axes[0].set_ylim(-0.08, 1.08)
    figure.axes[0].set_xticks(range(len(lengths)), list(map(str, lengths)))
    save_figure(figure, path)


def _methods(results: Results) -> list[str]:
    return list(dict.fromkeys(name.rpartition(", ")[0] for name in results))


def _solved(results: Results, method: str, length: int) -> list[int | None]:
    """The step at which each network solved the problem, None for those that did not."""
    return [step for run in results.get(f"{method}, {length}", []) for step in run["solved"]]
