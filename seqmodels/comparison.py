"""Translators side by side: a table of their scores, and a picture of what becomes of them with length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from seqmodels.bleu import words
from seqmodels.folder import write_beside
from seqmodels.sweep import Results, table

ByLength = list[dict[str, Any]]
"""What `bleu_by_length` returns."""
LEAST = 10
"""Classes of lengths with fewer sentences are left out of comparisons: their BLEU is chance."""
LINES, MARKERS = ("-", "--", ":"), ("o", "s", "^")
"""What tells the lines of a picture apart beside their colours, of which there are ten."""


def compare_translators(results: Results, folder: str | Path, name: str) -> str:
    """Write what a sweep over translators has found.

    Args:
        results: by name and run, scores as of `test_translations`.
        folder: where `name.md` is written, a table of means and deviations over runs, and `name.png`.
        name: of the two files.

    Returns:
        The table, in Markdown.
    """
    tables = {label: [_common(run["by_length"]) for run in runs] for label, runs in results.items() if runs}
    flat = {
        label: [run | {words(row): row["bleu"] for row in run["by_length"]} for run in runs]
        for label, runs in results.items()
    }
    columns = {words(row): f"{words(row)} words" for row in next(iter(tables.values()))[0]}
    page = table(flat, {"bleu": "BLEU", **columns, "chrf": "chrF", "seconds": "seconds"})
    write_beside(Path(folder, f"{name}.md"), page)
    draw_bleu_by_length(tables, Path(folder, f"{name}.png"))
    return page


def _common(rows: ByLength) -> ByLength:
    """The classes with enough sentences; all of them where none has."""
    return [row for row in rows if row["sentences"] >= LEAST] or rows


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
