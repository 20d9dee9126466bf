"""A section of a report, and the few pieces of HTML that sections are made of."""

import html
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """One part of a page.

    Attributes:
        key: its name within the page, of letters and dashes.
        title: its heading.
        lead: what it shows and how it is read, in a sentence or two of plain text.
        body: HTML.
        missing: why there is nothing to show; None where there is something.
    """

    key: str
    title: str
    lead: str
    body: str = ""
    missing: str | None = None


def text(value: Any, most: int = 20_000) -> str:
    """A value as HTML that says what it says: everything in a run folder may have been written by a stranger.

    Args:
        value: of any kind; its `str` is shown.
        most: characters that are shown of it.
    """
    shown = str(value)
    shown = "".join(c if c in "\n\t" or c.isprintable() or _harmless(c) else "�" for c in shown[: most + 1])
    return html.escape(shown[:most] + "…" if len(shown) > most else shown, quote=True)


def _harmless(character: str) -> bool:
    """Whether it is a space, or joins or parts letters, and does not turn the direction of writing."""
    kind = unicodedata.category(character)
    return kind == "Zs" or (kind == "Cf" and unicodedata.bidirectional(character) == "BN")


def number(value: float, digits: int = 4) -> str:
    """A figure for people: whole ones with commas, others with so many significant digits."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", numeric: bool = False) -> str:
    """A table whose cells are plain text and whose first column names the rows.

    Args:
        head: names of the columns.
        rows: of any values.
        caption: what it is, for those who cannot see where it stands.
        numeric: whether all columns but the first hold figures.
    """
    names = "".join(f'<th scope="col">{text(name, 200)}</th>' for name in head)
    lines = "".join(
        f'<tr><th scope="row">{text(row[0], 300)}</th>'
        + "".join(f"<td>{text(cell, 2_000)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    kind = ' class="figures"' if numeric else ""
    whole = f"<table{kind}>{title}<thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def facts(values: Mapping[str, Any]) -> str:
    """Names and values, in as many columns as there is room for."""
    pairs = "".join(
        f"<div><dt>{text(name, 200)}</dt><dd>{text(value, 500)}</dd></div>" for name, value in values.items()
    )
    return f'<dl class="facts">{pairs}</dl>'


def folded(summary: str, body: str, shown: bool = False) -> str:
    """HTML that is opened by a click or a key.

    Args:
        summary: plain text that stands for it.
        body: HTML.
        shown: whether it is open from the start.
    """
    return f"<details{' open' if shown else ''}><summary>{text(summary, 300)}</summary>{body}</details>"


def note(words: str) -> str:
    """A remark of plain text."""
    return f'<p class="note">{text(words)}</p>'
