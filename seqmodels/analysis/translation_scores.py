"""BLEU of translators by the length of the source, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ByLength = list[dict[str, Any]]
"""The result of `bleu_by_length`."""
LEAST = 10
"""Fewer sentences of a length are left out of comparisons, since their BLEU varies by chance."""
LINES, MARKERS = ("-", "--", ":"), ("o", "s", "^")
"""Line styles and markers, since there are ten colours only."""


def draw_bleu_by_length(tables: Mapping[str, Sequence[ByLength]], path: str | Path) -> None:
    """BLEU over the length of the source, a line for each model.

    Args:
        tables: results of `bleu_by_length` by model, of one or several runs, whose mean is drawn.
        path: the picture, PNG or SVG.
    """
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for place, (label, runs) in enumerate(tables.items()):
        middles = [row["from"] + 2 if row["to"] is None else (row["from"] + row["to"] - 1) / 2 for row in runs[0]]
        means = [mean(row["bleu"] for row in rows) for rows in zip(*runs, strict=True)]
        style = MARKERS[place // 10 % len(MARKERS)] + LINES[place % len(LINES)]
        axes.plot(middles, means, style, markersize=4, label=label)
    axes.set(xlabel="words of the source", ylabel="BLEU", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize="small")
    figure.savefig(path, dpi=150)
