"""The section of what was attended to."""

from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.analysis.attention import AlignmentMap, alignment, attention_figure, attention_table
from seqmodels.batch import BOS, EOS, Batch
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.report.figures import HEAT, inline, new_figure
from seqmodels.report.samples import some
from seqmodels.report.section import Section, folded, note
from seqmodels.report.subject import Subject
from seqmodels.tasks import Translator

TOKENS = 48
"""Most tokens of a piece of text that attention is shown over."""
SENTENCES = 3
"""Translations whose alignment is shown."""
LAYERS, HEADS = 6, 8
"""Most of them in an overview; of more, some from all over."""
TABLES = 16
"""Most maps with every weight."""
LEAD = (
    "Each row is a token that was read or written; the stronger the colour in it, the more the model attended to the "
    "token in that column. Pointing at a cell shows the two tokens and the weight, and the weights of a row sum to one."
)


class Map(NamedTuple):
    """Weights of one layer, all heads."""

    name: str
    across: list[str]
    """Texts of the S tokens that are looked at."""
    down: list[str]
    """Texts of the T tokens that look."""
    weights: Tensor
    """(H, T, S)."""


def attention(subject: Subject) -> Section:
    """Self-attention by layer and head over a piece of held-out text, and alignments of translators.

    Raises:
        InputError: there is no attention in the network, or no text.
    """
    task = subject.task
    if isinstance(task, Translator):
        pairs = subject.pairs(4 * SENTENCES)
        short = [pair for pair in pairs if max(map(len, pair)) <= 2 * TOKENS] or pairs
        chosen = [(source[: 4 * TOKENS], target[: 4 * TOKENS]) for source, target in short[:SENTENCES]]
        maps = _of_translator(task, *chosen[0])
        body = _alignments(task, chosen) if task.attends else ""
    else:
        maps = _of_language_model(subject)
        body = ""
    if not maps and not body:
        raise InputError(f"{task.name} has no attention: what it knows of the text before is in its state alone")
    if maps:
        body += _overview(maps) + _tables(maps)
    return Section("attention", "Attention", LEAD, body)


def pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text of each token."""
    special = {BOS: "⊢", EOS: "⏎"}
    return [special.get(i) or tokenizer.token_bytes[i].decode("utf-8", errors="replace") for i in ids]


def visible(token: str) -> str:
    """A token with signs for what has none: a space, the end of a line, a tab."""
    return token.replace(" ", "·").replace("\n", "⏎").replace("\t", "→")


@torch.inference_mode()
def _of_language_model(subject: Subject) -> list[Map]:
    model = subject.language_model
    ids = subject.reading(min(TOKENS, model.backbone.max_length or TOKENS))
    inputs = torch.tensor([ids])
    _, _, trace = model.traced(Batch(inputs, inputs))
    texts = pieces(model.tokenizer, ids)
    return [Map(f"layer {name}", texts, texts, found[0].float()) for name, found in trace.attention.items()]


@torch.inference_mode()
def _of_translator(task: Translator, source: str, target: str) -> list[Map]:
    most = min(TOKENS, task.max_length or TOKENS)
    reading = [*task.source_tokenizer.encode(source)[: most - 1], EOS]
    writing = [BOS, *task.tokenizer.encode(target)][:most]
    across, down = pieces(task.source_tokenizer, reading), pieces(task.tokenizer, writing)
    x = torch.tensor([reading])
    _, _, trace = task.encoder.traced(task.source_embedding(x.flip(1) if task.reverse else x))
    seen = across[::-1] if task.reverse else across
    maps = [Map(f"encoder, layer {name}", seen, seen, found[0].float()) for name, found in trace.attention.items()]
    memory = task.encode(x)
    _, _, trace = task.decoder.traced(task.embedding(torch.tensor([writing])), memory=memory)
    maps += [Map(f"decoder, layer {name}", down, down, found[0].float()) for name, found in trace.attention.items()]
    if len(trace.cross) > 1 or any(found.shape[1] > 1 for found in trace.cross.values()):
        maps += [
            Map(f"decoder, layer {name}, to the source", across, down, found[0].float())
            for name, found in trace.cross.items()
        ]
    return maps


def _alignments(task: Translator, pairs: list[tuple[str, str]]) -> str:
    figures = "".join(
        f'<div class="scroll" tabindex="0">{attention_figure(alignment(task, *pair))}</div>' for pair in pairs
    )
    return (
        f"<h3>From source to translation</h3>{figures}"
        f"{note('Held-out sentences with the translations of a person, one token after the other given to the model.')}"
    )


def _overview(maps: list[Map]) -> str:
    """All layers and heads at a glance."""
    rows = [maps[place] for place in some(len(maps), LAYERS)]
    columns = min(HEADS, max(len(found.weights) for found in rows))
    figure = new_figure(0.9 + 1.35 * columns, 0.3 + 1.45 * len(rows))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for found, line in zip(rows, panels, strict=True):
        heads = some(len(found.weights), HEADS)
        for place, axes in enumerate(line):
            axes.set(xticks=[], yticks=[])
            if place >= len(heads):
                axes.set_axis_off()
                continue
            axes.imshow(_ramp(found.weights[heads[place]]), interpolation="none", aspect="auto")
            if found is rows[0] or len(heads) != len(rows[0].weights):
                axes.set_title(f"head {heads[place] + 1}", fontsize=8)
        line[0].set_ylabel(found.name.replace(", ", "\n"), fontsize=8)
    label = f"Attention of {len(rows)} layers with up to {columns} heads, each a map of who looks over what is seen"
    drawing = inline(figure, label, "attention-overview")
    said = note(
        "Rows are tokens that look, from the first at the top to the last; columns are what they look at, and the "
        "diagonal is the token itself. A line beside the diagonal is a head that looks a fixed number of tokens back; "
        "a column is a token that all look at."
    )
    return f"<h3>Layers and heads</h3>{drawing}{said}"


def _ramp(weights: Tensor) -> Tensor:
    """Weights (T, S) as colours (T, S, 4): the more, the less transparent, by the root, to show faint ones."""
    color = torch.tensor(HEAT).expand(*weights.shape, 3)
    return torch.cat([color, weights.clamp(0, 1).sqrt().unsqueeze(-1)], -1).numpy()  # type: ignore[return-value]


def _tables(maps: list[Map]) -> str:
    """Every weight of each head, the most decided one open."""
    heads = [(found, head) for found in maps for head in range(len(found.weights))]
    chosen = [heads[place] for place in some(len(heads), TABLES)]
    decided = max(range(len(chosen)), key=lambda place: _decided(chosen[place][0].weights[chosen[place][1]]))
    tables = []
    for place, (found, head) in enumerate(chosen):
        grid = attention_table(AlignmentMap(found.across, found.down, found.weights[head]))
        name = f"{found.name[:1].upper()}{found.name[1:]}, head {head + 1}"
        tables.append(folded(name, f'<div class="scroll" tabindex="0">{grid}</div>', shown=place == decided))
    fewer = f", {len(chosen)} of {len(heads)}" if len(chosen) < len(heads) else ""
    return f"<h3>Head by head{fewer}</h3>{''.join(tables)}"


def _decided(weights: Tensor) -> float:
    """How much the strongest weight of a row has beyond an even share, on average over rows that have a choice."""
    free = (weights > 0).sum(-1)
    return float((weights.max(-1).values - 1 / free.clamp(min=1))[free > 1].mean().nan_to_num())
