"""BLEU of translators by the length of the source, as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from seqmodels.analysis.figures import draw_lines, save_figure

ByLength = list[dict[str, Any]]
"""The result of `bleu_by_length`."""
LEAST = 10
"""Fewer sentences of a length are left out of comparisons, since their BLEU varies by chance."""


def draw_bleu_by_length(tables: Mapping[str, Sequence[ByLength]], path: str | Path) -> None:
    """BLEU over the length of the source, a line for each model.

    Args:
        tables: results of `bleu_by_length` by model, of one or several runs, whose mean is drawn.
        path: the picture, PNG or SVG.
    """
    lines = {}
    for label, runs in tables.items():
        middles = [row["from"] + 2 if row["to"] is None else (row["from"] + row["to"] - 1) / 2 for row in runs[0]]
        lines[label] = middles, [mean(row["bleu"] for row in rows) for rows in zip(*runs, strict=True)]
    figure = draw_lines(lines, markers=lines, xlabel="words of the source", ylabel="BLEU", ylim=(0, None))
    save_figure(figure, path)
