"""Figures of matplotlib inside a page: SVG without scripts, in the colours of the page.

A page has a light and a dark theme, so black, greys, white and matplotlib's default colours become variables of the
style sheet. Other colours stay.
"""

import colorsys
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from seqmodels.report.page import macro

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def inline(figure: "Figure", label: str, key: str) -> Markup:
    """A figure as HTML, with its content in words for screen readers.

    The key, of letters, digits and dashes, is the prefix of all ids in the figure and unique in the page.
    """
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
    return macro("drawing", Markup(_element(buffer.getvalue(), key, label)))


def _element(drawing: str, key: str, label: str) -> str:
    """An SVG file as an element of the page: without prolog, comments and style sheet, with unique ids."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.:-]+)', drawing))
    drawing = re.sub(r"<[^<>]*>", lambda tag: _tag(tag[0], key, used), drawing)  # tags only, no text
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])  # type: ignore[index]  # matplotlib writes it
    opening = re.sub(r' (width|height)="[^"]*"', "", drawing[: drawing.index(">")])
    about = f' role="img" aria-label="{escape(label)}" style="--wide:{width / 16 * 1.33:.1f}rem"'
    body = re.sub(r"\n\s*", "\n", drawing[drawing.index(">") :])
    return opening + about + body.strip()


def _tag(tag: str, key: str, used: set[str]) -> str:
    """A tag with the ids, fonts and colours of the page."""
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
