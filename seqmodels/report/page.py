"""The page itself: head, navigation, style; one file that needs no network and runs no script."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from seqmodels.analysis.attention import TABLE_STYLE
from seqmodels.analysis.coloured_text import STYLE as COLOURED
from seqmodels.report.overview import Tile
from seqmodels.report.section import Section, text

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for it: nothing that is not in the file, and no script at all."""


@cache
def _style() -> str:
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8") + TABLE_STYLE + COLOURED


def page(
    title: str, about: str, tiles: Sequence[Tile], sections: Sequence[Section], *, kind: str, notes: Sequence[str] = ()
) -> str:
    """A whole HTML file.

    Args:
        title: its heading, of plain text like all else here but the bodies of the sections.
        about: a line below it.
        tiles: figures at its head.
        sections: what it says.
        kind: what kind of page it is, above the heading.
        notes: remarks below the figures.
    """
    figures = "".join(
        f"<div><dt>{text(name, 60)}</dt><dd>{text(value, 40)}<small>{text(small, 60)}</small></dd></div>"
        for name, value, small in tiles
    )
    remarks = "".join(f'<p class="note">{text(remark, 500)}</p>' for remark in notes)
    links = "".join(
        f'<li{" class=empty" if section.missing else ""}><a href="#{section.key}">{text(section.title)}</a></li>'
        for section in sections
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{text(title, 200)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>\n{_style()}</style>\n</head>\n<body>\n'
        '<a class="skip" href="#content">To the content</a>\n'
        f'<header>\n<p class="kind">{text(kind)}</p>\n<h1>{text(title, 200)}</h1>\n'
        f'<p class="about">{text(about, 500)}</p>\n<dl class="tiles">{figures}</dl>\n{remarks}</header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main id="content">\n{"".join(map(_section, sections))}</main>\n'
        "<footer><p>Written by <code>seqmodels report</code>. One file, without scripts; it opens without a network."
        "</p></footer>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    name = f"{section.key}-title"
    body = section.body
    if section.missing is not None:
        body = f'<p class="missing">{text(section.missing, 1_000)}</p>'
    return (
        f'<section id="{section.key}" aria-labelledby="{name}">\n<h2 id="{name}">{text(section.title)}</h2>\n'
        f'<p class="lead">{text(section.lead, 2_000)}</p>\n{body}\n</section>\n'
    )
