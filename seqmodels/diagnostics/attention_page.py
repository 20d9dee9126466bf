"""Alignments as a page: a table for each sentence, without scripts and without anything from elsewhere."""

import html
from collections.abc import Iterable

from seqmodels.diagnostics.alignment import AlignmentMap

STYLE = """
:root { color-scheme: light dark; --ink: 20, 70, 120; --text: #1c1c1c; --quiet: #777; --page: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: 130, 190, 255; --text: #e8e8e8; --quiet: #999; --page: #15181c; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: var(--text); background: var(--page); }
figure { margin: 0 0 3rem; overflow-x: auto; }
figcaption { margin-bottom: .5rem; } figcaption span { color: var(--quiet); }
table { border-collapse: collapse; }
th { font-weight: normal; white-space: pre; }
thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3rem .1rem; }
tbody th { text-align: right; padding: 0 .5rem; }
td { width: 1.6rem; height: 1.6rem; border: 1px solid var(--page); background: rgba(var(--ink), var(--w, 0)); }
"""


def attention_page(maps: Iterable[AlignmentMap], title: str = "What was attended to") -> str:
    """A page with a table for each sentence: the source above, the translation on the left, colour where attention was.

    Pointing at a cell shows the two tokens and the weight.
    """
    tables = "\n".join(_table(found) for found in maps)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>\n'
        f"<h1>{html.escape(title)}</h1>\n<p>Each row is a token of the translation; the stronger the colour of "
        "a cell, the more the model attended to the token of the source above it while it wrote that one.</p>\n"
        f"{tables}\n</body>\n</html>\n"
    )


def _table(found: AlignmentMap) -> str:
    source, target = ("".join(side[:-1]).strip() for side in (found.source, found.target))
    head = "".join(f'<th scope="col">{_shown(token)}</th>' for token in found.source)
    rows = []
    for token, weights in zip(found.target, found.weights.tolist(), strict=True):
        cells = "".join(
            f'<td style="--w:{weight:.3f}" title="{_shown(token)} ← {_shown(other)}: {weight:.2f}"></td>'
            for other, weight in zip(found.source, weights, strict=True)
        )
        rows.append(f'<tr><th scope="row">{_shown(token)}</th>{cells}</tr>')
    return (
        f"<figure>\n<figcaption>{html.escape(source)}<br><span>{html.escape(target)}</span></figcaption>\n"
        f"<table>\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table>\n</figure>"
    )


def _shown(token: str) -> str:
    return html.escape(token.strip() or token, quote=True)
