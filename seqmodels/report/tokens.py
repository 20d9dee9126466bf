"""The sections on attention between tokens and on their embeddings."""

from collections import Counter
from typing import NamedTuple

import torch
from markupsafe import Markup
from torch import Tensor

from seqmodels.analysis.attention import AlignmentMap, alignment, attention_figure, attention_table, pieces, visible
from seqmodels.analysis.figures import new_figure
from seqmodels.analysis.projection import draw_map, map_of
from seqmodels.batch import BOS, EOS, Batch
from seqmodels.data import TextDataModule
from seqmodels.errors import InputError
from seqmodels.interop.word_vectors.vectors import WordVectors
from seqmodels.report.figures import HEAT, NARROW, inline
from seqmodels.report.page import Section, evenly_spaced, macro
from seqmodels.report.run import Run
from seqmodels.tasks import LanguageModel, Translator

MAX_TOKENS, MAX_PAIRS = 48, 3
"""Most tokens of the text that attention is shown for, and most translations with an alignment."""
MAX_LAYERS, MAX_HEADS, MAX_TABLES = 6, 8, 16
"""Most layers and heads in the overview, and most maps with all weights; of more, an even selection."""
FREQUENT_CHARACTERS, FREQUENT_PAIRS = 60_000, 300
"""Held-out text in which frequent tokens are counted."""
MAX_VECTORS, ON_MAP, WITH_NEIGHBOURS, NEIGHBOURS = 5_000, 100, 12, 6
"""Most vectors without such text, tokens on the map, tokens whose neighbours are listed, and how many neighbours."""


class AttentionMap(NamedTuple):
    """Attention weights (H, T, S) of a layer: T queries attend to S keys, given as texts of tokens."""

    name: str
    keys: list[str]
    queries: list[str]
    weights: Tensor


def attention_section(run: Run) -> Section:
    """Self-attention by layer and head on held-out text, and alignments of translators."""
    body = Markup()
    if isinstance(task := run.task, Translator):
        pairs = run.pairs(4 * MAX_PAIRS)
        pairs = [pair for pair in pairs if max(map(len, pair)) <= 2 * MAX_TOKENS] or pairs
        pairs = [(source[: 4 * MAX_TOKENS], target[: 4 * MAX_TOKENS]) for source, target in pairs[:MAX_PAIRS]]
        maps = _of_translator(task, *pairs[0])
        if task.attends:
            body = _alignments(task, pairs)
    else:
        maps = _of_language_model(run)
    if not maps and not body:
        raise InputError(f"{task.name} has no attention: its state is all that it knows of earlier tokens")
    if maps:
        body += _overview(maps) + _tables(maps)
    lead = (
        "Each row is a token that was read or written; the stronger the colour of a cell, the more the model attended "
        "to the token of its column. Point at a cell for both tokens and the weight; the weights of a row sum to one."
    )
    return Section(lead, body)


@torch.inference_mode()
def _of_language_model(run: Run) -> list[AttentionMap]:
    model = run.language_model
    ids = run.token_ids(min(MAX_TOKENS, model.backbone.max_length or MAX_TOKENS))
    inputs = torch.tensor([ids])
    _, _, trace = model.traced(Batch(inputs, inputs))
    texts = pieces(model.tokenizer, ids)
    return [AttentionMap(f"layer {name}", texts, texts, found[0].float()) for name, found in trace.attention.items()]


@torch.inference_mode()
def _of_translator(task: Translator, source: str, target: str) -> list[AttentionMap]:
    most = min(MAX_TOKENS, task.max_length or MAX_TOKENS)
    source_ids = [*task.source_tokenizer.encode(source)[: most - 1], EOS]
    target_ids = [BOS, *task.tokenizer.encode(target)][:most]
    sources, targets = pieces(task.source_tokenizer, source_ids), pieces(task.tokenizer, target_ids)
    x = torch.tensor([source_ids])
    _, _, encoder = task.encoder.traced(task.source_embedding(x.flip(1) if task.reverse else x))
    _, _, decoder = task.decoder.traced(task.embedding(torch.tensor([target_ids])), memory=task.encode(x))
    read = sources[::-1] if task.reverse else sources
    groups = [
        ("encoder, layer {}", read, read, encoder.attention),
        ("decoder, layer {}", targets, targets, decoder.attention),
    ]
    if len(decoder.cross) > 1 or any(found.shape[1] > 1 for found in decoder.cross.values()):
        groups.append(("decoder, layer {}, to the source", sources, targets, decoder.cross))
    return [
        AttentionMap(title.format(name), keys, queries, found[0].float())
        for title, keys, queries, maps in groups
        for name, found in maps.items()
    ]


def _alignments(task: Translator, pairs: list[tuple[str, str]]) -> Markup:
    body = macro("heading", "From source to translation")
    for pair in pairs:
        body += macro("scroll", Markup(attention_figure(alignment(task, *pair))))
    return body + macro("note", "Held-out sentences; the decoder reads the reference translation.")


def _overview(maps: list[AttentionMap]) -> Markup:
    """All layers and heads in one figure."""
    rows = [maps[place] for place in evenly_spaced(len(maps), MAX_LAYERS)]
    columns = min(MAX_HEADS, max(len(found.weights) for found in rows))
    figure = new_figure(0.9 + 1.35 * columns, 0.3 + 1.45 * len(rows))
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for found, line in zip(rows, panels, strict=True):
        heads = evenly_spaced(len(found.weights), MAX_HEADS)
        for place, axes in enumerate(line):
            axes.set(xticks=[], yticks=[])
            if place >= len(heads):
                axes.set_axis_off()
                continue
            axes.imshow(_colors(found.weights[heads[place]]), interpolation="none", aspect="auto")
            if found is rows[0] or len(heads) != len(rows[0].weights):
                axes.set_title(f"head {heads[place] + 1}", fontsize=8)
        line[0].set_ylabel(found.name.replace(", ", "\n"), fontsize=8)
    label = f"Attention weights of {len(rows)} layers with up to {columns} heads, a map for each head"
    remark = (
        "Rows are queries, from the first token at the top to the last; columns are keys, and the diagonal is the "
        "token itself. A line beside the diagonal: a head that attends a fixed number of tokens back. A column: a "
        "token that all attend to."
    )
    overview = inline(figure, label, "attention-overview")
    return macro("heading", "Layers and heads") + overview + macro("note", remark)


def _colors(weights: Tensor) -> Tensor:
    """Weights (T, S) as colours (T, S, 4), with their square root as opacity, so that small ones are visible."""
    color = torch.tensor(HEAT).expand(*weights.shape, 3)
    return torch.cat([color, weights.clamp(0, 1).sqrt().unsqueeze(-1)], -1).numpy()  # type: ignore[return-value]


def _tables(maps: list[AttentionMap]) -> Markup:
    """All weights of each head, with the table of the sharpest head open."""
    heads = [(found, head) for found in maps for head in range(len(found.weights))]
    chosen = [heads[place] for place in evenly_spaced(len(heads), MAX_TABLES)]
    sharpest = max(range(len(chosen)), key=lambda place: _sharpness(chosen[place][0].weights[chosen[place][1]]))
    fewer = f", {len(chosen)} of {len(heads)}" if len(chosen) < len(heads) else ""
    body = macro("heading", f"Head by head{fewer}")
    for place, (found, head) in enumerate(chosen):
        table = Markup(attention_table(AlignmentMap(found.keys, found.queries, found.weights[head])))
        name = f"{found.name[:1].upper()}{found.name[1:]}, head {head + 1}"
        body += macro("details", name, macro("scroll", table), place == sharpest)
    return body


def _sharpness(weights: Tensor) -> float:
    """The largest weight of a row minus a uniform weight, averaged over rows with a choice; weights (T, S)."""
    choices = (weights > 0).sum(-1)
    return float((weights.max(-1).values - 1 / choices.clamp(min=1))[choices > 1].mean().nan_to_num())


def embeddings_section(run: Run) -> Section:
    """A map of the embeddings of frequent tokens, and their nearest neighbours."""
    task = run.task
    if not isinstance(task, LanguageModel | Translator):
        raise InputError(f"{type(task).__name__} has no embeddings that are known here")
    learned = WordVectors.of(task)
    words = [word for word in _frequent(run) if word in learned] or learned.words[:MAX_VECTORS]
    if len(words) < 3:
        raise InputError(f"{len(words)} tokens are too few for a map; expected at least 3")
    vectors = WordVectors(words, learned.vectors(words))
    on_map = words[:ON_MAP]
    points, seen = map_of(vectors.vectors(on_map)), [visible(word) for word in on_map]
    figure, narrow = draw_map(points, seen, inches=(6.6, 5)), draw_map(points, seen, inches=(NARROW, 4.6))
    body = inline(figure, f"Map of the embeddings of {len(on_map)} frequent tokens", "embeddings", narrow)
    telling = [word for word in words if len(word) > 2 and word.isalpha()] or [word for word in words if word.isalnum()]
    rows = [
        [visible(word), ", ".join(f"{visible(other)} {cos:.2f}" for other, cos in vectors.neighbours(word, NEIGHBOURS))]
        for word in (telling or words)[:WITH_NEIGHBOURS]
    ]
    lead = (
        "Each token that the network reads has a learned vector, its embedding. The map shows the most frequent tokens "
        "by the first two principal components; tokens that are used alike tend to lie close together. Below, the "
        "nearest tokens by cosine similarity."
    )
    return Section(lead, body + macro("table", ("token", "nearest"), rows))


def _frequent(run: Run) -> list[str]:
    """Texts of the tokens of held-out text, the most frequent first; empty without such text."""
    try:
        if isinstance(run.data, TextDataModule):
            text = run.held_out(FREQUENT_CHARACTERS)
        else:
            text = "\n".join(target for _, target in run.pairs(FREQUENT_PAIRS))
    except InputError:
        return []
    tokenizer = run.task.tokenizer
    pieces = []
    for token, _ in Counter(tokenizer.encode(text)).most_common():
        piece = tokenizer.token_bytes[token].decode("utf-8", errors="ignore")
        pieces += [piece, piece.removeprefix(" ")]
    return list(dict.fromkeys(piece for piece in pieces if piece))
