"""Attention of translations to their sources (alignments): measured, drawn, and as HTML tables without scripts."""

import html
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from seqmodels.analysis.figures import fonts, new_figure, save_figure
from seqmodels.analysis.html_page import html_page
from seqmodels.batch import BOS, EOS
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import printable
from seqmodels.nn.attention_decoder import aligned
from seqmodels.nn.dropout import evaluating
from seqmodels.tasks.encoder_decoder_model import EncoderDecoderModel


class AlignmentMap(NamedTuple):
    """Attention weights of a translation, (T, S); each row sums to one."""

    source: list[str]
    """Texts of S tokens, with the end."""
    target: list[str]
    """Texts of T tokens, with the end."""
    weights: torch.Tensor


@torch.inference_mode()
def alignment(task: EncoderDecoderModel, source: str, target: str) -> AlignmentMap:
    """Attention weights of a translator for a given translation.

    Args:
        task: the translator.
        source: a sentence.
        target: its translation, by the model or a reference.

    Raises:
        InputError: the decoder has no attention.
    """
    device = task.embedding.weight.device
    reading = [*task.source_tokenizer.encode(source), EOS]
    writing = [*task.tokenizer.encode(target), EOS]
    with evaluating(task):
        memory = task.encode(torch.tensor([reading], device=device))
        inputs = torch.tensor([[BOS, *writing[:-1]]], device=device)
        _, _, weights = aligned(task.decoder, task.embedding(inputs), memory=memory)
    if weights is None:
        raise InputError("this translator has no attention: its decoder reads one vector for the whole source")
    read, written = pieces(task.source_tokenizer, reading), pieces(task.tokenizer, writing)
    return AlignmentMap(read, written, weights[0].float().cpu())


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text of each token; symbols for BOS and EOS."""
    special = {BOS: "⊢", EOS: "⏎"}
    return [special.get(i) or tokenizer.token_bytes[i].decode(errors="replace") for i in ids]


def draw_alignment(found: AlignmentMap, path: Path) -> None:
    """Write a heat map: the source above, the translation on the left, dark for large weights.

    Glyphs that no installed font has are drawn as boxes; `attention_page` leaves them to the browser.
    """
    from matplotlib import rc_context

    with rc_context({"font.family": fonts()}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = new_figure(2 + 0.35 * len(found.source), 1.5 + 0.3 * len(found.target))
        axes = figure.subplots()
        axes.imshow(found.weights.numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(
            range(len(found.source)), list(map(printable, found.source)), rotation=60, ha="left", parse_math=False
        )
        axes.set_yticks(range(len(found.target)), list(map(printable, found.target)), parse_math=False)
        axes.xaxis.tick_top()
        save_figure(figure, path, dpi=120)


TABLE_STYLE = """
table.attention { border-collapse: collapse; font-size: .9em; }
.attention th { font-weight: normal; white-space: pre; padding: 0 .5rem; border: 0; text-align: right; color: inherit; }
.attention thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .3rem .1rem; }
.attention td { width: 1.6rem; min-width: .7rem; height: 1.6rem; padding: 0; border: 1px solid var(--paper);
  background: rgba(var(--heat), var(--w, 0)); }
.attention tr:hover th { color: var(--accent); }
.attention td:hover { outline: 1px solid var(--accent); outline-offset: -1px; }
"""
"""CSS of the tables; the page defines the colours `--heat` (three numbers), `--paper` and `--accent`."""

SEEN = 0.005
"""Smaller weights are shown as zero: half of the last digit shown."""


def attention_page(maps: Iterable[AlignmentMap], title: str = "Attention") -> str:
    """A page with a table for each sentence."""
    lead = (
        "Each row is a token of the translation; the stronger the colour of a cell, the larger the attention weight of "
        "the source token above it."
    )
    return html_page(title, lead, TABLE_STYLE, map(attention_figure, maps))


def attention_figure(found: AlignmentMap) -> str:
    """The table of one sentence, as a figure with both texts above it."""
    source, target = ("".join(side[:-1]).strip() for side in (found.source, found.target))
    return (
        f"<figure>\n<figcaption>{html.escape(source)}<br><span>{html.escape(target)}</span></figcaption>\n"
        f"{attention_table(found)}\n</figure>"
    )


def attention_table(found: AlignmentMap) -> str:
    """A table of weights with the class `attention`, see `TABLE_STYLE`; pointing at a cell shows tokens and weight."""
    head = "".join(f'<th scope="col">{_shown(token)}</th>' for token in found.source)
    rows = []
    for token, weights in zip(found.target, found.weights.tolist(), strict=True):
        cells = "".join(
            f'<td style="--w:{weight:.2f}" title="{_shown(token)} ← {_shown(other)}: {weight:.2f}"></td>'
            if weight >= SEEN
            else "<td></td>"
            for other, weight in zip(found.source, weights, strict=True)
        )
        rows.append(f'<tr><th scope="row">{_shown(token)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return f'<table class="attention">\n<thead><tr><th></th>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def visible(token: str) -> str:
    """A token with symbols for space, newline and tab."""
    return token.replace(" ", "·").replace("\n", "⏎").replace("\t", "→")


def _shown(token: str) -> str:
    return html.escape(token.strip() or visible(token))
