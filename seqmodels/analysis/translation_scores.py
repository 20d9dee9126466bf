"""Translators side by side: a table of their scores, and a picture of what becomes of them with length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ByLength = list[dict[str, Any]]
"""What `bleu_by_length` returns."""
LEAST = 10
"""Classes of lengths with fewer sentences are left out of comparisons: their BLEU is chance."""
LINES, MARKERS = ("-", "--", ":"), ("o", "s", "^")
"""What tells the lines of a picture apart beside their colours, of which there are ten."""


def draw_bleu_by_length(tables: Mapping[str, Sequence[ByLength]], path: str | Path) -> None:
    """BLEU over the length of the source, a line for each model.

    Args:
        tables: of each model what `bleu_by_length` returned of one or several runs, whose mean is drawn.
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
