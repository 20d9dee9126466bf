"""Learning curves and the best validation of a run, from its `metrics.csv`."""

import math
from pathlib import Path

from seqmodels.analysis.csv_table import read_rows
from seqmodels.analysis.figures import draw_lines, save_figure
from seqmodels.errors import InputError
from seqmodels.files import printable


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a `metrics.csv`: finite figures by name.

    Raises:
        InputError: the table is missing, too large or damaged.
    """
    fields = [{name: field for name, field in row.items() if field} for row in read_rows(path)]
    try:
        rows = [{name: float(field) for name, field in row.items()} for row in fields]
    except ValueError as error:
        raise InputError(f"{str(path)!r} is damaged ({error}); expected a table of numbers") from error
    return [{name: value for name, value in row.items() if math.isfinite(value)} for row in rows]


def best_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The figures of the validation with the lowest nats per token among rows of a `metrics.csv`; empty if none."""
    validated = [row for row in rows if "val/nats_per_token" in row]
    best = min(validated, key=lambda row: row["val/nats_per_token"], default={})
    return {key: value for key, value in best.items() if key.startswith("val/")}


def draw_curves(folder: Path) -> Path | None:
    """Draw training and validation loss over tokens as `curves.png`; None if there are none."""
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    if not any("train/nats_per_token" in row or "val/nats_per_token" in row for row in rows):
        return None
    lines = {}
    for label, key in (("training", "train/nats_per_token"), ("validation", "val/nats_per_token")):
        found = [row for row in rows if key in row]
        lines[label] = [row["train/tokens"] / 1e6 for row in found], [row[key] for row in found]
    best = best_of(rows)
    title = printable(folder.name) + (f", best {best['val/nats_per_token']:.3f}" if best else "")
    colors = {"training": "#9db4c8", "validation": "#b3401f"}
    figure = draw_lines(lines, ["validation"], colors, xlabel="million tokens", ylabel="nats per token", title=title)
    save_figure(figure, folder / "curves.png")
    return folder / "curves.png"
