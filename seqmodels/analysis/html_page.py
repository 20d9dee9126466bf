"""The HTML page around coloured texts and tables of attention: one file, without scripts, that works offline."""

import html
from collections.abc import Iterable

from seqmodels.files import printable

POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy of every page: nothing runs, and nothing is fetched."""

STYLE = """
:root { color-scheme: light dark; }
:root { --ink: #1c1c1c; --quiet: #777; --paper: #fff; --accent: #9a3d1c; --heat: 20, 70, 120; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --quiet: #999; --paper: #15181c; --accent: #f0a27f; --heat: 130, 190, 255; }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 65rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); }
figure { margin: 0 0 3rem; overflow-x: auto; }
figcaption { margin-bottom: .5rem; } figcaption br + span { color: var(--quiet); }
"""


def html_page(title: str, lead: str, style: str, figures: Iterable[str]) -> str:
    """A page of figures, with escapes for control characters, which text of any origin may have.

    Args:
        title: plain text.
        lead: how to read the figures; plain text.
        style: CSS of the figures.
        figures: HTML.
    """
    name, body = html.escape(title), "\n".join(figures)
    return printable(
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}{style}</style>\n</head>\n<body>\n'
        f"<h1>{name}</h1>\n<p>{html.escape(lead)}</p>\n{body}\n</body>\n</html>\n"
    )
