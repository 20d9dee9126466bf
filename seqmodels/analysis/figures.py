"""Figures of matplotlib: line charts, grids of panels, and fonts for any script."""

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.files import atomic_writer, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONTS = "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans", "Hiragino Sans", "Yu Gothic", "Microsoft YaHei"
"""Fonts for glyphs, in this order, if installed; matplotlib brings the first."""
STYLES, MARKERS = ("-", "--", ":"), "osD^vP*X"
"""Line styles and markers, ten colours each."""
MAX_INSIDE, LEGEND_ROWS, LEGEND_COLUMNS = 5, 16, 32
"""Most lines whose legend is inside the axes; of a legend beside them, rows, and characters of its lines."""


def new_figure(width: float = 7, height: float = 4) -> "Figure":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure  # half a second, only where a picture is made

    return Figure(figsize=(width, height), layout="constrained")


def new_panels(count: int, columns: int, size: tuple[float, float], **options: Any) -> tuple["Figure", list["Axes"]]:
    """A figure of at most so many panels in a row, each of a size in inches, and its panels; `options` of subplots."""
    wide = min(count, columns)
    high = -(-count // wide)
    figure = new_figure(size[0] * max(wide, 2), size[1] * high)
    grid = figure.subplots(high, wide, squeeze=False, **options).ravel().tolist()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, grid[:count]


def save_figure(figure: "Figure", path: str | Path, dpi: int = 150) -> None:
    """Write a figure in the format of the file's ending, in place of a file or link of that name."""
    path = Path(path)
    with atomic_writer(path) as file:
        figure.savefig(file, format=path.suffix.removeprefix(".") or "png", dpi=dpi)


def draw_lines(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    markers: Collection[str] = (),
    colors: Mapping[str, str] | None = None,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    **properties: Any,
) -> "Figure":
    """A line chart.

    Args:
        lines: x and y values by name; a line without values is left out.
        markers: names of the lines with markers.
        colors: by name; by default in the order of the lines, so that a run has one colour in all figures of a page.
        bands: lowest and highest values around a line, by its name.
        properties: of the axes, such as xlabel.
    """
    figure = new_figure()
    axes = figure.subplots()
    for place, (name, (x, y)) in enumerate(lines.items()):
        if len(x):
            style, marker = STYLES[place // 10 % len(STYLES)], MARKERS[place // 10 % len(MARKERS)]
            axes.plot(
                x, y, style, marker=marker if name in markers else "", markersize=3.5, linewidth=1.6,
                label=printable(name), color=colors[name] if colors else f"C{place % 10}",
            )  # fmt: skip
            if bands and name in bands:
                color = axes.lines[-1].get_color()
                axes.fill_between(x, *bands[name], color=color, alpha=0.18, linewidth=0, label=f"_{printable(name)}")
    axes.set(**properties)
    axes.grid(alpha=0.25)
    beside: dict[str, Any] = {"loc": "outside right center", "ncols": -(-len(lines) // LEGEND_ROWS)}
    few = len(lines) <= MAX_INSIDE
    legend = axes.legend(frameon=False, fontsize="small") if few else figure.legend(fontsize="small", **beside)
    for label in legend.get_texts():
        label.set_parse_math(False)  # a name may have any characters
        if not few:  # long names would leave no room for the lines
            label.set_text(textwrap.fill(label.get_text(), LEGEND_COLUMNS))
    return figure


def ticks(steps: Iterable[int]) -> tuple[list[int], list[str]]:
    """At most eight of some steps, for a logarithmic axis, and their labels, none of which covers another."""
    known = sorted({max(1, step) for step in steps})
    shown: list[int] = []
    for step in reversed(known[:: -(-len(known) // 8)]):  # the last one is shown, whatever is close to it
        if not shown or (shown[-1] / step) ** 20 >= known[-1] / known[0]:
            shown.append(step)
    shown.reverse()
    return shown, [f"{step:,}" for step in shown]


def fonts() -> list[str]:
    """The fonts of `FONTS` that are installed."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [font for font in FONTS if font in installed]
