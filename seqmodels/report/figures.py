"""Figures of matplotlib inside a page: SVG in the colours of the page, once for wide and once for narrow screens.

Legends become text below the picture. The values of lines go along as JSON, for the script of the page.

A page has a light and a dark theme, so black, greys, white and matplotlib's default colours become variables of the
style sheet. Other colours stay.
"""

import colorsys
import io
import json
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup, escape

from seqmodels.report.page import macro

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

CYCLE = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
"""Default colours of lines, C0 to C9: `--c0` to `--c9` of the style sheet."""
AXIS = "#808081"
"""Colour of frames and ticks, used for nothing else: `--axis`."""
HEAT = (0.22, 0.48, 0.77)
"""Red, green and blue of heat maps, visible in both themes."""
MAX_POINTS, DOTS_PER_INCH = 1500, 160
"""Scatter plots with more points become images."""
GREY = 0.12
"""Saturation below which a colour is a grey."""


NARROW = 3.9
"""Inches of a figure on a phone, where it is drawn anew: scaled, its letters would be half as large."""
MAX_VALUES = 200
"""Most values of a line that can be pointed at."""
LINE = "seqline-"
"""Prefix of the ids of lines in matplotlib's SVG."""
STYLE = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dashed"}
"""Line styles of matplotlib, as those of borders."""


class Entry(NamedTuple):
    """An entry of a legend: the key of its line, its name, and its colour and style in CSS."""

    key: str
    name: str
    color: str
    style: str


def inline(figure: "Figure", label: str, key: str, narrow: "Figure | None" = None) -> Markup:
    """A figure as HTML, with its content in words for screen readers.

    Args:
        figure: is changed: its legend is taken out, and its panels are stacked for narrow screens.
        label: what is seen, for those who do not see it.
        key: letters, digits and dashes, unique in the page: the prefix of all ids in the figure.
        narrow: the same at most `NARROW` inches wide, where stacking is not enough.
    """
    legend = _take_legend(figure)
    wide, boxes = _drawn(figure, key)
    drawings = [_element(wide, key, label, boxes)]
    if narrow is not None or _stack(figure):
        small, boxes = _drawn(narrow or figure, f"{key}-narrow")
        drawings.append(_element(small, f"{key}-narrow", label, boxes))
    values = [_values(axes) for axes in figure.axes]
    axes = json.dumps(values) if any(one["lines"] for one in values) else ""
    second = Markup(drawings[1]) if len(drawings) > 1 else ""
    return macro("drawing", Markup(drawings[0]), second, legend, axes)


def _take_legend(figure: "Figure") -> list[Entry]:
    """Mark the lines of a figure, and remove its legends; gives their entries."""
    marked = dict[str, Entry]()
    for axes in figure.axes:
        for line in _data_lines(axes):
            entry = Entry(str(len(marked)), str(line.get_label()), _css(line.get_color()), _style(line))
            line.set_gid(LINE + entry.key)
            marked[entry.key] = entry
            for band in axes.collections:
                if band.get_label() == f"_{line.get_label()}":
                    band.set_gid(LINE + entry.key)
    legends = [*figure.legends, *(found for axes in figure.axes if (found := axes.get_legend()))]
    for legend in legends:
        legend.remove()
    return [entry for entry in marked.values() if not entry.name.startswith("_")] if legends else []


def _data_lines(axes: "Axes") -> list["Line2D"]:
    """The lines of a plot that stand for values, not for limits or circles."""
    return [line for line in axes.lines if line.get_transform() == axes.transData and len(line.get_xdata()) > 0]  # type: ignore[arg-type]


def _css(color: Any) -> str:
    from matplotlib.colors import to_hex

    return _color(to_hex(color))


def _style(line: "Line2D") -> str:
    return STYLE.get(str(line.get_linestyle()), "solid")


def _stack(figure: "Figure") -> bool:
    """Stack the panels of a figure for narrow screens; False if it is narrow, or its panels lie in no grid."""
    width, height = figure.get_size_inches()
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    specs = [axes.get_subplotspec() for axes in shown]
    if width <= NARROW * 1.1 or not shown or any(spec is None for spec in specs):
        return False
    from matplotlib.gridspec import GridSpec

    high, wide = specs[0].get_gridspec().get_geometry()  # type: ignore[union-attr]
    if width / wide < NARROW / 2:  # small maps, whose place in the grid says what they are
        figure.set_size_inches(NARROW, height * NARROW / width)
        return True
    columns = max(1, int(NARROW / (width / wide)))
    rows = -(-len(shown) // columns)
    grid = GridSpec(rows, columns, figure)
    for place, axes in enumerate(shown):
        axes.set_subplotspec(grid[place // columns, place % columns])
        if columns < wide:
            axes.tick_params(labelbottom=bool(len(axes.get_xticks())), labelleft=bool(len(axes.get_yticks())))
    figure.set_size_inches(NARROW, height * 0.8 if wide == high == 1 else rows * height / high)
    return True


def _values(axes: "Axes") -> dict[str, Any]:
    """The limits of a plot and the values of its lines, to be pointed at."""
    log = axes.get_xscale() == "log"
    lines = []
    for line in _data_lines(axes):
        x, y = (np.asarray(values, dtype=float) for values in (line.get_xdata(), line.get_ydata()))
        finite = np.isfinite(x) & np.isfinite(y) & ((x > 0) | (not log))
        places = np.flatnonzero(finite)
        places = places[np.unique(np.linspace(0, len(places) - 1, min(len(places), MAX_VALUES)).round().astype(int))]
        name = str(line.get_label())
        name = (axes.get_title() or axes.get_ylabel()) if name.startswith("_") else name
        one = {"key": str(line.get_gid()).removeprefix(LINE), "name": name, "color": _css(line.get_color())}
        one |= {"x": _rounded(x[places]), "y": _rounded(y[places])}  # type: ignore[dict-item]
        lines.append(one)
    x_limits = [float(end) for end in axes.get_xlim()]
    return {"label": axes.get_xlabel() or "x", "x": x_limits, "log": log, "lines": lines}


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _drawn(figure: "Figure", key: str) -> tuple[str, list[list[float]]]:
    """A figure as a file of SVG, and the box of each of its plots: left, top, right and bottom, as fractions."""
    from matplotlib import rc_context

    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set(edgecolor=AXIS, linewidth=0.8)
        axes.tick_params(which="both", color=AXIS)
        for points in axes.collections:
            points.set_rasterized(np.shape(points.get_offsets())[0] > MAX_POINTS)
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": key, "path.simplify": True, "path.simplify_threshold": 0.5}
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has other fonts
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata, dpi=DOTS_PER_INCH)
    boxes = [axes.get_position().extents for axes in figure.axes]
    return buffer.getvalue(), [[round(float(n), 4) for n in (x0, 1 - y1, x1, 1 - y0)] for x0, y0, x1, y1 in boxes]


def _element(drawing: str, key: str, label: str, boxes: list[list[float]]) -> str:
    """An SVG file as an element of the page: without prolog, comments and style sheet, with unique ids."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.:-]+)', drawing))
    drawing = re.sub(r"<[^<>]*>", lambda tag: _tag(tag[0], key, used), drawing)  # tags only, no text
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])  # type: ignore[index]  # matplotlib writes it
    opening = re.sub(r' (width|height)="[^"]*"', "", drawing[: drawing.index(">")])
    about = f' role="img" aria-label="{escape(label)}" style="--wide:{width / 16 * 1.33:.1f}rem" data-boxes="{boxes}"'
    body = re.sub(r"\n\s*", "\n", drawing[drawing.index(">") :])
    return opening + about + body.strip()


def _tag(tag: str, key: str, used: set[str]) -> str:
    """A tag with the ids, fonts and colours of the page."""
    tag = re.sub(rf' id="{LINE}(\d+)"', r' data-line="\1"', tag)
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{key}-", tag)
    tag = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", r"\1 var(--sans)", tag)
    tag = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", tag)
    return re.sub(r"(?<=[ :\"])#[0-9a-fA-F]{6}(?=[;\"])", lambda m: _color(m[0].lower()), tag)


def _color(color: str) -> str:
    """The variable of the style sheet for a colour, or the colour itself."""
    if color == AXIS:
        return "var(--axis)"
    if color in CYCLE:
        return f"var(--c{CYCLE.index(color)})"
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    _, lightness, _ = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) > GREY:
        return color
    if lightness > 0.93:
        return "var(--paper)"
    if lightness > 0.72:
        return "var(--line)"
    return "var(--quiet)" if lightness > 0.3 else "var(--ink)"
