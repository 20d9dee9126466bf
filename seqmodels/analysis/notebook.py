"""In a notebook: runs and pages that show themselves, and a cell that is drawn anew while a model trains.

All of it is plain HTML, which every notebook shows; none of it needs ipywidgets.
"""

import html
import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.analysis.learning_curves import best_of, read_metrics
from seqmodels.errors import InputError
from seqmodels.files import printable, read_json, read_small

SAMPLE = 700
"""Most characters of a sample that are shown."""
PAGE_BYTES = 32 << 20
"""Most bytes of a page that is shown."""
POINTS = 300
"""Most points of a curve."""
WIDTH, HEIGHT, MARGIN = 520, 190, 44
COLORS = {"training": "#8aa5bd", "validation": "#b3401f"}
Points = Sequence[tuple[float, float]]

if TYPE_CHECKING:
    LocalPath = Path
else:
    LocalPath = type(Path())  # of this system: the class itself takes no subclasses before Python 3.12


class RunFolder(LocalPath):
    """The path of a run folder, which says and shows what lies there: curves, figures and the last samples."""

    def __repr__(self) -> str:
        if not self._is_run():
            return super().__repr__()
        figures = ", ".join(f"{name} {value}" for name, value in self._figures().items())
        return f"{type(self).__name__}({str(self)!r}): {figures or 'nothing was validated yet'}"

    def _is_run(self) -> bool:
        return (self / "config.yaml").is_file()

    def _figures(self) -> dict[str, str]:
        try:
            result = read_json(self / "result.json") if (self / "result.json").is_file() else {}
        except InputError:
            return {}
        shown = {
            "val/nats_per_token": "nats per token", "val/bits_per_byte": "bits per byte", "val/bleu": "BLEU",
            "steps": "steps", "tokens": "tokens", "seconds": "seconds", "parameters": "parameters",
        }  # fmt: skip
        found = {name: result[key] for key, name in shown.items() if type(result.get(key)) in (int, float)}
        return {name: f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" for name, value in found.items()}

    def _repr_html_(self) -> str | None:
        """What Jupyter shows of a run; None for a path that is none."""
        if not self._is_run():
            return None
        try:
            rows = read_metrics(self / "metrics.csv")
        except InputError:
            rows = []
        best = best_of(rows).get("val/nats_per_token")
        heading = f"{self.name}" + ("" if best is None else f", best {best:.3f} nats per token")
        cells = "".join(
            f"<td style='text-align:left'><b>{value}</b> {name}</td>" for name, value in self._figures().items()
        )
        parts = [f"<b>{html.escape(heading)}</b>", curves_of(rows), f"<table><tr>{cells}</tr></table>" if cells else ""]
        if sample := self._last_sample():
            style = "max-height:14em;overflow:auto;white-space:pre-wrap;border-left:3px solid #8886;padding-left:.8em"
            parts.append(f"<pre style='{style}'>{html.escape(sample)}</pre>")
        parts.append(f"<code>{html.escape(str(self))}</code>")
        return printable("<div>" + "\n".join(filter(None, parts)) + "</div>")

    def _last_sample(self) -> str:
        """The last part of `samples.md` or `translations.md`, without its heading."""
        for name in ("samples.md", "translations.md"):
            try:
                parts = re.split(r"^## step .*$", read_small(self / name), flags=re.MULTILINE)
            except InputError:
                continue
            text = re.sub(r"^(```|~~~~~~)(text)?$", "", parts[-1], flags=re.MULTILINE).strip("\n")
            return text if len(text) <= SAMPLE else f"{text[:SAMPLE]} …"
        return ""


class Page(LocalPath):
    """The path of an HTML page, such as a report, which a notebook shows."""

    def _repr_html_(self) -> str | None:
        """The page in a frame of its own, which reaches nothing around it; None if there is no such page."""
        try:
            text = read_small(self, PAGE_BYTES)
        except InputError:
            return None
        style = "width:100%;height:42em;border:1px solid #8886"
        return f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(text, quote=True)}" style="{style}"></iframe>'


def in_notebook() -> bool:
    """Whether the program runs in a Jupyter kernel, which shows HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class LiveCell:
    """Output of a notebook's cell that is drawn anew: a bar, figures in words and learning curves."""

    def __init__(self) -> None:
        from IPython import display  # the kernel has it

        self.points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._figures, self._completed = "", 0.0
        show: Any = display.display
        self._handle = show({"text/html": "", "text/plain": ""}, raw=True, display_id=True)

    def point(self, name: str, tokens: float, nats: float) -> None:
        """Add a point to a curve; every other point of a long one is dropped."""
        line = self.points[name]
        if not line or line[-1][0] < tokens:
            line.append((tokens, nats))
        if len(line) > 2 * POINTS:
            del line[1:-1:2]

    def show(self, figures: str, completed: float | None = None) -> None:
        """Draw it anew."""
        self._figures, self._completed = figures, self._completed if completed is None else completed
        percent = f"{self._completed:.0%}"
        bar = f"<progress value='{self._completed:.4f}' max='1' style='width:14em'></progress>"
        shown = f"{bar} {percent} <span>{html.escape(figures)}</span>{curves_svg(self.points)}"
        self._handle.update({"text/html": printable(shown), "text/plain": f"{percent} {figures}"}, raw=True)

    def stop(self) -> None:
        """Draw it a last time."""
        self.show(self._figures)


def curves_of(rows: Sequence[Mapping[str, float]]) -> str:
    """Learning curves of the rows of a `metrics.csv`."""
    keys = {"training": "train/nats_per_token", "validation": "val/nats_per_token"}
    return curves_svg(
        {
            name: [(row["train/tokens"], row[key]) for row in rows if key in row and "train/tokens" in row]
            for name, key in keys.items()
        }
    )


def curves_svg(lines: Mapping[str, Points]) -> str:
    """Nats per token over training tokens as a picture; empty without two points."""
    lines = {name: [one for one in line if all(map(math.isfinite, one))] for name, line in lines.items()}
    every = [point for line in lines.values() for point in line]
    if len(every) < 2:
        return ""
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*every, strict=True))
    wide, tall = WIDTH - MARGIN - 10, HEIGHT - 40

    def place(x: float, y: float) -> str:
        across = MARGIN + wide * ((x - left) / (right - left) if right > left else 0.5)
        return f"{across:.1f},{14 + tall * ((high - y) / (high - low) if high > low else 0.5):.1f}"

    def text(x: float, y: float, words: str, anchor: str = "start", color: str = "currentColor") -> str:
        return f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}' fill='{color}'>{html.escape(words)}</text>"

    drawn = [
        f"<path d='M{MARGIN},14V{14 + tall}H{MARGIN + wide}' fill='none' stroke='currentColor' stroke-opacity='.4'/>",
        text(MARGIN - 6, 18, f"{high:.3g}", "end"), text(MARGIN - 6, 14 + tall, f"{low:.3g}", "end"),
        text(MARGIN, 30 + tall, f"{left:,.0f}"), text(MARGIN + wide, 30 + tall, f"{right:,.0f} tokens", "end"),
    ]  # fmt: skip
    for number, (name, line) in enumerate((name, line) for name, line in lines.items() if line):
        color, thinned = COLORS.get(name, "currentColor"), line[:: max(1, len(line) // POINTS)]
        drawn.append(f"<polyline points='{' '.join(place(*one) for one in thinned)}' fill='none' stroke='{color}'/>")
        drawn += [f"<circle cx='{x}' cy='{y}' r='2.5' fill='{color}'/>" for x, y in _marks(name, line, place)]
        drawn.append(text(MARGIN + wide - 4, 24 + 15 * number, f"{name} {line[-1][1]:.3f} nats", "end", color))
    size = f"width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}'"
    style = "display:block;max-width:100%;height:auto;font:11px sans-serif"
    return f"<svg {size} style='{style}' role='img' aria-label='learning curves'>{''.join(drawn)}</svg>"


def _marks(name: str, line: Points, place: Any) -> list[list[str]]:
    """Where validations are marked: they are few."""
    return [place(*one).split(",") for one in line] if name == "validation" and len(line) <= 50 else []
