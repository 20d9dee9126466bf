"""What a translator looked at: how much each token of a translation attended to each of its source."""

import warnings
from pathlib import Path
from typing import NamedTuple

import torch

from seqmodels.batch import BOS, EOS
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn.evaluating import evaluating
from seqmodels.tasks import Translator

FONTS = "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans", "Hiragino Sans", "Yu Gothic", "Microsoft YaHei"
"""Where letters are looked for, in this order, as far as they are installed; matplotlib brings the first along."""


class AlignmentMap(NamedTuple):
    """One sentence and its translation."""

    source: list[str]
    """Text of each token, S of them, the end among them."""
    target: list[str]
    """Text of each token, T of them, the end among them."""
    weights: torch.Tensor
    """Of each source token for each target token, (T, S); each row sums to one."""


@torch.inference_mode()
def alignment(task: Translator, source: str, target: str) -> AlignmentMap:
    """Where a translator looks while it writes a given translation.

    Args:
        task: the translator.
        source: a sentence.
        target: its translation, by the model or by a person.

    Raises:
        InputError: this translator's decoder looks at nothing in particular.
    """
    device = task.embedding.weight.device
    reading = [*task.source_tokenizer.encode(source), EOS]
    writing = [*task.tokenizer.encode(target), EOS]
    with evaluating(task):
        memory = task.encode(torch.tensor([reading], device=device))
        inputs = torch.tensor([[BOS, *writing[:-1]]], device=device)
        _, _, weights = task.decoder.aligned(task.embedding(inputs), memory=memory)
    if weights is None:
        raise InputError("this translator has no attention to show: its decoder sees one vector for the whole source")
    return AlignmentMap(
        _pieces(task.source_tokenizer, reading), _pieces(task.tokenizer, writing), weights[0].float().cpu()
    )


def _pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    return [tokenizer.token_bytes[i].decode("utf-8", errors="replace") for i in ids[:-1]] + ["⏎"]


def draw_alignment(found: AlignmentMap, path: Path) -> None:
    """A heat map as a picture: the source above, the translation on the left, dark where attention was.

    Letters that no installed font has are drawn as boxes; a page of attention leaves them to the browser.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # half a second, only where a picture is made
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    with rc_context({"font.family": [font for font in FONTS if font in installed]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(2 + 0.35 * len(found.source), 1.5 + 0.3 * len(found.target)), layout="constrained")
        axes = figure.subplots()
        axes.imshow(found.weights.numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(found.source)), found.source, rotation=60, ha="left", parse_math=False)
        axes.set_yticks(range(len(found.target)), found.target, parse_math=False)
        axes.xaxis.tick_top()
        figure.savefig(path, dpi=120)
