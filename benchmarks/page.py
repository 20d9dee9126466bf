"""Results of benchmarks as a table of Markdown and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scale
from benchmarks.seen import Seen, is_less_better

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Results of `Comparison.record`, by topic."""


def write_page(folder: Path, results: Results, about: str, seen: Seen) -> str:
    """Write `speed.md`, `speed.png` and, if sizes were tried, `scale.png` into a folder; returns the table.

    `about` tells of the machine, versions and commit; `seen` are ratios of other runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = f"{about}\n\n{table(results, seen)}"
    (folder / "speed.md").write_text(page)
    draw(results, folder / "speed.png")
    if sizes := results.get("scale"):
        scale.draw(sizes, folder / "scale.png")
    return page


def table(results: Results, seen: Seen) -> str:
    """One row for each comparison, except those that the picture of `scale` shows."""
    names = "Work | Ours | Rival | | Ratio | Of the limit | MiB, ours and rival's | Aim | Best and worst seen"
    lines = [f"| {names} |", "|---" * 9 + "|"]
    for topic, comparisons in results.items():
        for found in comparisons:
            if topic == "scale" and found["rival"] is None:
                continue
            of_limit = "" if found["fraction"] is None else f"{100 * found['fraction']:.0f} % of {found['limit']}"
            sides = (_short(found[side]) for side in ("ours", "rival"))
            cells = [found["what"], *sides, found["unit"], _ratio(found), of_limit]
            cells += [" and ".join(f"{one:,.0f}" for one in found["memory"]), found["target"]]
            cells.append(seen.best_and_worst(found["what"], found["unit"]))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _ratio(found: Mapping[str, Any]) -> str:
    if found["unit"].startswith("ms/") and found["difference"] is not None:
        return f"{found['difference']:+.2f} ms"
    if not found["spread"]:
        return ""
    low, high = found["spread"]
    return f"{found['ratio']:.2f} ({low:.2f} to {high:.2f})"


def draw(results: Results, path: Path) -> None:
    """Ratios as bars on a logarithmic scale, with the range of the rounds."""
    from matplotlib.figure import Figure

    rows = [found for comparisons in results.values() for found in comparisons if found["ratio"]]
    figure = Figure(figsize=(9, 0.8 + 0.32 * max(1, len(rows))), layout="constrained")
    axes = figure.subplots()
    for place, found in enumerate(reversed(rows)):
        low, high = found["spread"]
        better = found["ratio"] <= 1 if is_less_better(found["unit"]) else found["ratio"] >= 1
        axes.barh(place, found["ratio"] - 1, left=1, color="#3b7dd8" if better else "#c9744a", height=0.6)
        axes.plot([low, high], [place, place], color="#222222", linewidth=1)
    axes.set_yticks(range(len(rows)), [found["what"] for found in reversed(rows)], fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(1, color="#222222", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("ours by the rival's, in one run")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)


def _short(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}"
