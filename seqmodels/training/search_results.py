"""What a sweep found: a table with the spread over seeds, all trials as JSON, and a picture."""

import json
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seqmodels.analysis.figures import new_panels, save_figure
from seqmodels.files import markdown_table, to_json, write_text
from seqmodels.training.search_recipe import Recipe


@dataclass(frozen=True)
class Trial:
    """One training of a sweep."""

    number: int
    state: str
    """complete, pruned (stopped early), fail, or running."""
    params: dict[str, Any]
    seed: int
    figure: float | None
    """The best validation."""
    core_minutes: float
    run: str | None
    """Its folder."""
    values: dict[int, float]
    """The figure at each validation, by its number."""
    why: str | None = None
    """Why it failed."""
    final: bool = False
    """Whether it is of the best settings with another seed, and no trial of the search."""

    def rank(self, upwards: bool) -> float:
        """A number that is less for a better trial."""
        value = math.inf if self.figure is None or not math.isfinite(self.figure) else self.figure
        return -value if upwards and math.isfinite(value) else value


def best_settings(trials: list[Trial], upwards: bool) -> list[dict[str, Any]]:
    """The settings of trials, the best first, by the mean over their seeds."""
    ranks: dict[str, list[float]] = {}
    for trial in trials:
        ranks.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial.rank(upwards))
    return [json.loads(key) for key in sorted(ranks, key=lambda key: statistics.mean(ranks[key]))]


def write_results(folder: Path, recipe: Recipe, trials: list[Trial]) -> Path:
    """Write `results.json`, `results.png` and `results.md`; returns the last."""
    spent = sum(trial.core_minutes for trial in trials)
    content = {"monitor": recipe.monitor, "core_minutes": spent, "trials": [asdict(trial) for trial in trials]}
    write_text(folder / "results.json", to_json(content, 2) + "\n")
    _draw(folder / "results.png", recipe, trials)
    path = folder / "results.md"
    write_text(path, _table(folder, recipe, trials, spent))
    return path


def _table(folder: Path, recipe: Recipe, trials: list[Trial], spent: float) -> str:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    order = {"complete": 0, "pruned": 1}
    several = sorted(
        groups.values(),
        key=lambda own: (order.get(own[0].state, 2), -len(own), statistics.mean(t.rank(recipe.upwards) for t in own)),
    )
    rows = [[*recipe.search, recipe.monitor, "seeds", "validations", "core-minutes", "run of the first seed"]]
    for own in several:
        first, figures = own[0], [one.figure for one in own if one.figure is not None and one.state == "complete"]
        figures = figures or [one.figure for one in own if one.figure is not None]
        reached = f"{len(first.values)}, stopped early" if first.state == "pruned" else str(len(first.values))
        cells = [_cell(first.params.get(name, "")) for name in recipe.search]
        where = Path(first.run).name if first.run else ""
        minutes = f"{sum(one.core_minutes for one in own):.2f}"
        ended = f"failed: {first.why}" if first.state == "fail" else reached
        rows.append([*cells, _mean(figures), str(len(figures)), ended, minutes, where])
    count = f"{len(trials)} trials, {spent:.2f} of {recipe.minutes:g} core-minutes"
    better = "more" if recipe.upwards else "less"
    how = f"{recipe.monitor}, {better} is better, mean ± standard deviation (n - 1)"
    head = f"# Sweep {folder.name}\n\n{count}; {how}.\n\n"
    return f"{head}{markdown_table(rows)}\n![Trials](results.png)\n"


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean(figures: list[float]) -> str:
    if not figures:
        return "-"
    spread = f" ± {statistics.stdev(figures):.4f}" if len(figures) > 1 else ""
    return f"{statistics.mean(figures):.4f}{spread}"


def _draw(path: Path, recipe: Recipe, trials: list[Trial]) -> None:
    """The figure over the validations of each trial, and over the values of each setting that was searched."""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, panels = new_panels(1 + len(recipe.search), 3, (4, 3))
    for trial in trials:
        whole = trial.state == "complete"
        steps = sorted(trial.values)
        values = [trial.values[step] for step in steps]
        panels[0].plot(steps, values, color="C0" if whole else "C7", alpha=0.9 if whole else 0.5, marker=".")
    panels[0].set(xlabel="validation", ylabel=recipe.monitor, title="complete (blue), stopped early (grey)")
    for name, axes in zip(recipe.search, panels[1:], strict=True):
        space = recipe.search[name]
        for trial in trials:
            if trial.figure is None or name not in trial.params:
                continue
            value = str(trial.params[name]) if isinstance(space, list) else trial.params[name]
            axes.plot([value], [trial.figure], "o", color="C0" if trial.state == "complete" else "C7")
        if isinstance(space, dict) and space.get("log"):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=name, ylabel=recipe.monitor)
    for axes in panels:
        axes.grid(alpha=0.25)
    save_figure(figure, path)
