"""Text coloured by the values of a unit, from blue (low) over white to red (high), as HTML and in a terminal.

Blue and red are distinct for the colour-blind, too. HTML has no scripts: pointing at a letter shows its value by CSS.
"""

import html
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqmodels.analysis.html_page import html_page
from seqmodels.errors import InputError
from seqmodels.files import printable

if TYPE_CHECKING:
    from rich.text import Text

Colours = dict[str, tuple[int, int, int]]

LIGHT: Colours = {"low": (90, 150, 215), "high": (240, 120, 95), "ink": (20, 20, 20), "page": (255, 255, 255)}
DARK: Colours = {"low": (35, 95, 165), "high": (165, 50, 40), "ink": (240, 240, 240), "page": (21, 24, 28)}
"""Colours of the light and the dark theme: red, green and blue from 0 to 255."""

SCALE_VALUES, OUTLIERS = 1_000_000, 0.01
"""Most values that the scale of colours is computed from, and the fraction of outliers at either end."""


@dataclass(frozen=True)
class Passage:
    """A piece of text and the values of a unit."""

    title: str
    pieces: list[str]
    """The text, split after each character with a value."""
    values: list[float]
    low: float
    """The value of the strongest blue."""
    high: float
    """The value of the strongest red."""

    def strength(self, value: float) -> float:
        """From -1, blue, over 0, no colour, to 1, red."""
        if self.high <= self.low:
            return 0.0
        return min(1.0, max(-1.0, (2 * value - self.low - self.high) / (self.high - self.low)))


def passage(title: str, text: str, characters: Sequence[int], values: Tensor, scale: Tensor | None = None) -> Passage:
    """A text split where there are values.

    Args:
        title: shown above it.
        text: with characters of any kind.
        characters: increasing numbers of the characters with values; those before them have the same value.
        values: of the unit, (N,).
        scale: values for the scale of colours, such as those of a longer text; by default `values`.

    Raises:
        InputError: the numbers of values and characters differ, or are zero.
    """
    if len(characters) != len(values) or not len(values):
        raise InputError(f"{len(values)} values were given for {len(characters)} characters; expected one for each")
    around = values if scale is None else scale
    around = around[:: max(1, len(around) // SCALE_VALUES)].double()
    low, high = around.quantile(torch.tensor([OUTLIERS, 1 - OUTLIERS], dtype=torch.float64)).tolist()
    known: dict[int, float] = dict(zip(characters, values.tolist(), strict=True))  # of several bytes, the last
    borders = [0, *(character + 1 for character in known)]
    borders[-1] = len(text)
    pieces = [text[first:behind] for first, behind in itertools.pairwise(borders)]
    return Passage(title, pieces, list(known.values()), low, high)


def coloured_page(passages: Iterable[Passage], title: str = "Units") -> str:
    """A page with coloured passages."""
    lead = "The colour of a letter is the value of the unit after reading it. Point at a letter for the value."
    return html_page(title, lead, COLOUR_STYLE, map(coloured_html, passages))


def coloured_html(shown: Passage) -> str:
    """A passage as HTML for a page with `COLOUR_STYLE`: a span for each run of letters with the same value."""
    spans = []
    for (strength, value), run in itertools.groupby(zip(shown.pieces, shown.values, strict=True), _appearance(shown)):
        letters = html.escape("".join(piece for piece, _ in run), quote=True)
        side = "high" if strength > 0 else "low"
        colour = f' class="{side}" style="--s:{abs(strength):.2f}"' if strength else ""
        spans.append(f'<span{colour} data-value="{value}">{letters}</span>')
    return (
        f'<figure class="coloured">\n<figcaption>{html.escape(shown.title)} <span class="low" style="--s:1">'
        f'{shown.low:.2f}</span> <span class="high" style="--s:1">{shown.high:.2f}</span></figcaption>\n'
        f"<pre>{''.join(spans)}</pre>\n</figure>"
    )


def coloured_text(shown: Passage) -> "Text":
    """A passage for a terminal: black letters on colours between white, blue and red."""
    from rich.text import Text

    text = Text(no_wrap=False)
    for (strength, _), run in itertools.groupby(zip(shown.pieces, shown.values, strict=True), _appearance(shown)):
        red, green, blue = mixed(strength, LIGHT)
        text.append(printable("".join(piece for piece, _ in run)), style=f"rgb(20,20,20) on rgb({red},{green},{blue})")
    return text


def mixed(strength: float, colours: Colours) -> tuple[int, int, int]:
    """The colour behind a letter, for a strength from -1 (low) to 1 (high) in `LIGHT` or `DARK`."""
    end = colours["high" if strength > 0 else "low"]
    red, green, blue = (round(p + (e - p) * abs(strength)) for p, e in zip(colours["page"], end, strict=True))
    return red, green, blue


def _appearance(shown: Passage) -> Callable[[tuple[str, float]], tuple[float, str]]:
    """The visible part of a piece and its value: strength of the colour, and the value as text."""
    return lambda pair: (round(shown.strength(pair[1]), 2), f"{pair[1]:.2f}")


def _palette(colours: Colours) -> str:
    return " ".join(f"--{name}: {', '.join(map(str, colour))};" for name, colour in colours.items())


COLOUR_STYLE = f"""
.coloured {{ {_palette(LIGHT)} margin: 0 0 2rem; }}
@media (prefers-color-scheme: dark) {{ .coloured {{ {_palette(DARK)} }} }}
.coloured pre {{ font: 14px/1.6 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
.coloured .low {{ background: rgba(var(--low), var(--s)); }}
.coloured .high {{ background: rgba(var(--high), var(--s)); }}
.coloured pre span {{ position: relative; }}
.coloured pre span:hover {{ outline: 1px solid rgb(var(--ink)); }}
.coloured pre span:hover::after {{ content: attr(data-value); position: absolute; left: 0; top: 100%; z-index: 1;
  padding: 0 .4em; font-size: 12px; white-space: nowrap; color: rgb(var(--page)); background: rgb(var(--ink)); }}
"""
"""CSS for `coloured_html`; it affects nothing else on a page."""
