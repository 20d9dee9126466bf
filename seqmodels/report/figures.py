"""Figures of matplotlib as parts of a page: vector graphics without scripts, in the colours of the page.

A page is read on light and on dark paper. So what is black, grey or white in a figure, or has a colour of matplotlib's
standard cycle, becomes a variable of the style sheet; other colours stay as they are.
"""

import colorsys
import html
import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CYCLE = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
"""Colours that lines have by default, C0 to C9: `--c0` to `--c9` of the style sheet."""
AXIS = "#808081"
"""What frames and ticks are drawn in here; a grey that nobody else takes, `--axis`."""
HEAT = (0.22, 0.48, 0.77)
"""Red, green and blue of what is shown by how strong a colour is, to be read on any paper."""
MANY, DOTS = 1500, 160
"""Points of a scatter beyond which they become an image, and the dots of that per inch."""
NEUTRAL = 0.12
"""Saturation up to which a colour is a grey."""


def new_figure(width: float = 6.6, height: float = 3.3) -> "Figure":
    """An empty figure of a size, in inches, that suits the page."""
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    return Figure(figsize=(width, height), layout="constrained")


def inline(figure: "Figure", label: str, key: str) -> str:
    """A figure as HTML.

    Args:
        figure: what was drawn.
        label: what it shows, in words, for those who do not see it.
        key: a name that no other figure of the page has, of letters, digits and dashes.
    """
    from matplotlib import rc_context

    _quieten(figure)
    buffer = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": key, "path.simplify": True, "path.simplify_threshold": 0.5}
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has others
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing, dpi=DOTS)
    drawing = _in_page(buffer.getvalue(), key, label)
    return f'<figure class="drawing" tabindex="0">{drawing}</figure>'


def _quieten(figure: "Figure") -> None:
    """Frames and ticks that stand back behind what they frame, and clouds of points that stay small."""
    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set_edgecolor(AXIS)
            spine.set_linewidth(0.8)
        axes.tick_params(which="both", color=AXIS)
        for points in axes.collections:
            points.set_rasterized(np.shape(points.get_offsets())[0] > MANY)


def _in_page(drawing: str, key: str, label: str) -> str:
    """A whole SVG file as an element of a page: no prolog, no style of its own, names that are its own alone."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", drawing, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([\w.:-]+)', drawing))
    drawing = re.sub(r"<[^<>]*>", lambda tag: _tag(tag[0], key, used), drawing)  # and not what is written between
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', drawing)[1])  # type: ignore[index]  # matplotlib writes it
    opening = re.sub(r' (width|height)="[^"]*"', "", drawing[: drawing.index(">")])
    about = f' role="img" aria-label="{html.escape(label, quote=True)}" style="--wide:{width / 16 * 1.33:.1f}rem"'
    body = re.sub(r"\n\s*", "\n", drawing[drawing.index(">") :])
    return opening + about + body.strip()


def _tag(tag: str, key: str, used: set[str]) -> str:
    """A tag of an SVG file as one of the page's."""
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r'(url\(#|href="#)', rf"\g<1>{key}-", tag)
    tag = re.sub(r"(font: [^;\"]*?[\d.]+px) [^;\"]+", r"\1 var(--sans)", tag)
    tag = re.sub(r"font-family: [^;\"]+", "font-family: var(--sans)", tag)
    return re.sub(r"(?<=[ :\"])#[0-9a-fA-F]{6}(?=[;\"])", lambda m: _of_the_page(m[0].lower()), tag)


def _of_the_page(color: str) -> str:
    """The variable that stands for a colour, where one does."""
    if color == AXIS:
        return "var(--axis)"
    if color in CYCLE:
        return f"var(--c{CYCLE.index(color)})"
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    _, lightness, _ = colorsys.rgb_to_hls(red, green, blue)
    if max(red, green, blue) - min(red, green, blue) > NEUTRAL:
        return color
    if lightness > 0.93:
        return "var(--paper)"
    if lightness > 0.72:
        return "var(--line)"
    return "var(--quiet)" if lightness > 0.3 else "var(--ink)"
