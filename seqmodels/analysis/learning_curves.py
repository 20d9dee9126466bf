"""Learning curves and the best validation of a run, from its `metrics.csv`."""

import math
from pathlib import Path

from seqmodels.analysis.csv_table import read_rows
from seqmodels.errors import InputError


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.csv`: finite figures by name.

    Raises:
        InputError: the table is missing, too large or damaged.
    """
    try:
        rows = [{name: float(field) for name, field in row.items() if field} for row in read_rows(path)]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is damaged ({error}); expected a table of numbers") from error
    return [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]


def best_figures(path: Path) -> dict[str, float]:
    """The figures of the validation with the lowest nats per token; empty without any validation."""
    return best_of(read_metrics(path)) if path.exists() else {}


def best_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The best figures of rows of a `metrics.csv`."""
    rows = [row for row in rows if math.isfinite(row.get("val/nats_per_token", math.nan))]
    if not rows:
        return {}
    best = min(rows, key=lambda row: row["val/nats_per_token"])
    return {key: value for key, value in best.items() if key.startswith("val/")}


def draw_curves(folder: Path) -> Path | None:
    """Draw training and validation loss over tokens as `curves.png`; None if there are none."""
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    if not any("train/nats_per_token" in row or "val/nats_per_token" in row for row in rows):
        return None
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, label, color, marker in (
        ("train/nats_per_token", "training", "#9db4c8", ""),
        ("val/nats_per_token", "validation", "#b3401f", "o"),
    ):
        points = [(row["train/tokens"] / 1e6, row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, color=color, marker=marker, markersize=4)
    best = best_figures(path)
    title = f", best {best['val/nats_per_token']:.3f}" if best else ""
    axes.set(xlabel="million tokens", ylabel="nats per token", title=f"{folder.name}{title}")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "curves.png", dpi=150)
    return folder / "curves.png"
