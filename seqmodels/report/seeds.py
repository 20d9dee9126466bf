"""Runs with the same settings and different random seeds: their mean and spread."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seqmodels.report.page import number
from seqmodels.report.run import Run
from seqmodels.report.training import flat_settings

OF_ONE_RUN = ("seed", "runs", "resume", "prompt", "wandb_name", "wandb_tags", "run_name")
"""Settings, by the last part of their name, in which runs of one group may differ."""

Points = tuple[Sequence[float], Sequence[float]]
"""x and y values of a line."""


@dataclass
class Group:
    """Runs that differ in their random seed alone; one run is a group, too."""

    runs: list[Run]
    name: str = ""
    seeds: list[str] = field(default_factory=list)

    @property
    def first(self) -> Run:
        """The run that stands for the settings of all."""
        return self.runs[0]


@dataclass(frozen=True)
class Spread:
    """Mean, standard deviation (with n - 1), minimum and maximum of n values."""

    count: int
    mean: float
    deviation: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.count == 1:
            return number(self.mean)
        return f"{number(self.mean)} ± {number(self.deviation, 2)}"


def group_by_seed(runs: Sequence[Run]) -> list[Group]:
    """Groups of runs in the order of their first runs; a run without a seed, or with one of its group, is alone."""
    groups = dict[str, Group]()
    for place, run in enumerate(runs):
        flat = flat_settings(run.settings)
        seed = next((str(value) for name, value in flat.items() if _last(name) == "seed" and value is not None), None)
        same = {name: value for name, value in flat.items() if _last(name) not in OF_ONE_RUN}
        key = json.dumps([same, run.environment.get("corpus")], sort_keys=True, default=str)
        if seed is None or not same or (key in groups and seed in groups[key].seeds):
            key = f"alone {place}"
        group = groups.setdefault(key, Group([]))
        group.runs.append(run)
        group.seeds.append(seed or "")
    return list(groups.values())


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of at least one value."""
    found = np.asarray(values, dtype=float)
    deviation = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return Spread(len(found), float(found.mean()), deviation, float(found.min()), float(found.max()))


def spread_of(figures: Sequence[Mapping[str, Any]], name: str) -> Spread | None:
    """The spread of a figure over the runs that have it; None if none has."""
    values = [float(one[name]) for one in figures if name in one]
    return spread(values) if values else None


def mean_line(lines: Sequence[Points]) -> tuple[list[float], list[float], list[float], list[float]]:
    """The mean of lines where all of them have values, with the lowest and the highest: x, mean, low, high.

    Lines are interpolated linearly at the x values of all of them, since runs under a budget of minutes are not
    validated at the same tokens.
    """
    lines = [line for line in lines if len(line[0])]
    if not lines:
        return [], [], [], []
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    x = np.unique(np.concatenate([np.asarray(x, dtype=float) for x, _ in lines]))
    x = x[(x >= first) & (x <= last)]
    if not len(x):  # one has ended before another begins
        return [], [], [], []
    y = np.stack([np.interp(x, *line) for line in lines])
    return x.tolist(), y.mean(0).tolist(), y.min(0).tolist(), y.max(0).tolist()
