"""Experiments on long memory: until which distance does a network learn?"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
from lightning import seed_everything
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from seqmodels.environment import quiet
from seqmodels.errors import InputError
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.model import MemoryModel
from seqmodels.experiments.problems import TASKS
from seqmodels.experiments.sweep import Results
from seqmodels.files import write_text
from seqmodels.nn import Backbone

Method = TypeVar("Method")

BETWEEN_LINES = 30.0
"""Seconds between lines on how far networks are, where there is no terminal for a bar."""


def learn(
    model: MemoryModel,
    data: MemoryDataModule,
    *,
    max_steps: int = 20_000,
    max_minutes: float | None = None,
    check_every: int | None = None,
    accelerator: str = "cpu",
) -> dict[str, Any]:
    """Train networks until all have learned the problem, or the budget is spent.

    Where the data begins with shorter examples, they become longer whenever all networks have learned them.

    Args:
        model: the networks, one for each seed.
        data: the problem, with the same seeds.
        max_steps: steps at most.
        max_minutes: minutes at most, where given.
        check_every: steps between looks at the examples that networks are scored by; 500 where not given, and 100
            where examples become longer.
        accelerator: cpu or gpu.

    Returns:
        By seed, the step at which the error was first small enough, `solved`, None where it never was, and the `best`
        and `last` error; of which `length` examples were in the end, and how many `steps` were made. Where examples
        never became as long as they were to be, no network has solved them, and the best error is the trivial one.
    """
    until = _Until(data, max_steps, max_minutes)
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
            callbacks=[until],
        )
        trainer.fit(model, datamodule=data)
    whole = data.positions == data.longest  # what was learned of shorter ones is not what was asked for
    return {
        "solved": until.solved if whole else [None] * len(until.solved),
        "best": until.best if whole else [data.task.trivial] * len(until.best),
        "last": model.errors,
        "length": data.positions,
        "steps": trainer.global_step,
    }


def seeded(make: Callable[[], Backbone], seeds: Iterable[int]) -> list[Backbone]:
    """Networks alike, the first weights of each drawn from a seed of its own."""
    networks = []
    for seed in seeds:
        seed_everything(seed, verbose=False)
        networks.append(make())
    return networks


class _Until(pl.Callback):
    """Ends training when every network has solved the problem or the time is up; shows how far they are.

    Args:
        data: the problem, whose examples become longer when every network has solved those that are as long.
        max_steps: how long the bar is.
        max_minutes: see `learn`.
    """

    def __init__(self, data: MemoryDataModule, max_steps: int, max_minutes: float | None) -> None:
        self.data, self.max_steps, self.max_minutes = data, max_steps, max_minutes
        self.solved: list[int | None] = []
        self.best: list[float] = []
        self._bar: Progress | None = None
        self._row = TaskID(0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, MemoryModel)
        self._forget(len(pl_module.networks))
        self._began = time.monotonic()
        self._due = self._began + BETWEEN_LINES
        console = Console(file=sys.stdout)
        if console.is_terminal:
            columns = BarColumn(24), TimeElapsedColumn(), TextColumn("{task.fields[figures]}")
            self._bar = Progress(*columns, console=console, transient=True)
            self._row = self._bar.add_task("training", total=self.max_steps, figures="")
            self._bar.start()

    def _forget(self, networks: int) -> None:
        self.solved, self.best = [None] * networks, [float("inf")] * networks

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._row, completed=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, MemoryModel)
        for place, error in enumerate(pl_module.errors):
            self.best[place] = min(self.best[place], error)  # an error that is no number is none
            if self.solved[place] is None and error < self.data.task.solved:
                self.solved[place] = trainer.global_step
        errors = f"length {self.data.positions}, errors {' '.join(f'{error:.3f}' for error in pl_module.errors)}"
        if None not in self.solved and self.data.lengthen():
            self._forget(len(pl_module.networks))
        if self._bar is not None:
            self._bar.update(self._row, figures=errors)
        elif time.monotonic() >= self._due:
            print(f"step {trainer.global_step:>6,} · {errors}", flush=True)
            self._due = time.monotonic() + BETWEEN_LINES
        late = self.max_minutes is not None and time.monotonic() - self._began > 60 * self.max_minutes
        trainer.should_stop = late or None not in self.solved

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._bar is not None:
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)


def show_success(results: Results, lengths: list[int], folder: Path) -> str:
    """A table and a picture of which networks solved a problem, `success.md` and `success.png` in a folder.

    Args:
        results: what `learn` returned, by "method, length".
        lengths: from the shortest to the longest.
        folder: where to keep them; it is named after the problem.

    Returns:
        The table.
    """
    page = success_table(results, lengths)
    write_text(folder / "success.md", page)
    draw_success(results, lengths, folder.name, folder / "success.png")
    return page


def success_table(results: Results, lengths: list[int]) -> str:
    """How many of the networks solved the problem at each length, and after how many steps, as a table of Markdown.

    Steps are the median of those that did; where not all did, there is also how many steps were made.

    Args:
        results: what `learn` returned, by "method, length".
        lengths: the columns.
    """
    rows = [["", *(f"T = {length}" for length in lengths)], ["---"] * (len(lengths) + 1)]
    for method in methods_of(results):
        cells = []
        for length in lengths:
            runs = results.get(named(method, length), [])
            solved = [step for run in runs for step in run["solved"]]
            steps = [step for step in solved if step is not None]
            made = min((run["steps"] for run in runs if None in run["solved"]), default=0)
            after = f" after {statistics.median_low(steps):,}" if steps else f" in {made:,}"
            if 0 < len(steps) < len(solved):
                after += f" of {made:,}"
            cells.append(f"{len(steps)}/{len(solved)}{after}" if solved else "-")
        rows.append([method, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def columns_of(task: str, lengths: str, shortest: int | None = None) -> list[int]:
    """The lengths of a sweep, from numbers with commas between them; the only one that a task has where it has one.

    Args:
        task: by its name.
        lengths: of examples in the end.
        shortest: of those that they begin with; see `MemoryDataModule`.

    Raises:
        InputError: the task is not known, a length is none, or the task cannot be that short.
    """
    try:
        wanted = sorted({int(length) for length in lengths.split(",")})
    except ValueError as error:
        raise InputError(f"lengths={lengths!r} was given; expected numbers with commas between them") from error
    own = TASKS[task].length if task in TASKS else None
    columns = [own] if own else wanted
    for length in columns:
        MemoryDataModule(task, length, shortest=shortest)
    return columns


def crossed(methods: Mapping[str, Method], names: str | None, lengths: list[int]) -> dict[str, tuple[Method, int]]:
    """The experiments of a sweep, by their names: each method at each length.

    Args:
        methods: those that are known, by name.
        names: which of them, with commas between; None for all.
        lengths: the columns of the sweep.

    Raises:
        InputError: one of them is not among those that are known.
    """
    wanted = list(methods) if names is None else names.split(",")
    if unknown := [name for name in wanted if name not in methods]:
        raise InputError(f"the method {unknown[0]!r} is not known; choose of {', '.join(methods)}")
    return {named(name, length): (methods[name], length) for length in lengths for name in wanted}


def named(method: str, length: int) -> str:
    """The name of an experiment."""
    return f"{method}, {length}"


def methods_of(results: Results) -> list[str]:
    """The methods that there are results of, in their order."""
    return list(dict.fromkeys(name.rpartition(", ")[0] for name in results))


def draw_success(results: Results, lengths: list[int], title: str, path: Path) -> None:
    """Share of the networks that solved the problem, by length, as a picture.

    Args:
        results: what `learn` returned, by "method, length".
        lengths: from the shortest to the longest.
        title: above the picture.
        path: where to save it.
    """
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    methods = methods_of(results)
    for place, method in enumerate(methods):
        points = []
        for number, length in enumerate(lengths):
            solved = [step for run in results.get(named(method, length), []) for step in run["solved"]]
            if solved:
                shift = 0.02 * (place - (len(methods) - 1) / 2)  # lines that would hide each other
                points.append((number + shift, sum(step is not None for step in solved) / len(solved) + shift / 2))
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=method)
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
    axes.set(xlabel="length", ylabel="share of seeds that solved it", title=title, ylim=(-0.08, 1.08))
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=150)
