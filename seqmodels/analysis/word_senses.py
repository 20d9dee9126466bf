"""Contextual vectors of words, and how well they separate the senses of a word.

The contextual vector of a word is the output of a layer after the model has read the word (Peters et al. 2018). A
causal network knows only the text before, so put the context that decides the sense in front of the word. A model that
was trained on one long stream has hardly seen a beginning; put some sentences in front.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.analysis.figures import new_figure
from seqmodels.batch import BOS, EOS, IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.files import printable
from seqmodels.nn.dropout import evaluating
from seqmodels.tasks import LanguageModel, Translator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pooling = Literal["last", "mean"]


class Occurrence(NamedTuple):
    """A word at a place in a text, and its vector."""

    first: int
    """Index of its first character."""
    tokens: tuple[str, ...]
    """Its tokens, as spelled in the vocabulary."""
    layer: str
    """The layer of the vector."""
    vector: Tensor
    """Float32 (D,)."""


@torch.inference_mode()
def contextual(
    task: LanguageModel | Translator, text: str, word: str, layer: str | None = None, pooling: Pooling = "last"
) -> list[Occurrence]:
    """The vectors of all occurrences of a word in a text, which is read as a document from its start.

    Args:
        task: a trained model; of a translator, its encoder reads the text as a source.
        text: the text.
        word: a whole word; upper and lower case differ.
        layer: a name of the network's trace, such as "1.h" or "2"; by default the last layer.
        pooling: for a word of several tokens, the vector of the last token or the mean.

    Returns:
        The occurrences in their order.

    Raises:
        InputError: there is no such layer, or the text is too long for the network.
    """
    if pooling not in ("last", "mean"):
        raise InputError(f"pooling={pooling!r} was given; choose last or mean")
    source = isinstance(task, Translator)
    tokenizer = task.source_tokenizer if isinstance(task, Translator) else task.tokenizer
    network = task.encoder if isinstance(task, Translator) else task.backbone
    ids, limit = tokenizer.encode(text), network.max_length
    if limit is not None and len(ids) >= limit:
        raise InputError(f"the text has {len(ids)} tokens, and this network has room for {limit - 1}; give less of it")
    inputs = torch.tensor([[*ids, EOS] if source else [BOS, *ids]], device=task.embedding.weight.device)
    with evaluating(task):
        if isinstance(task, Translator):
            trace = task.read(inputs)
        else:
            _, _, trace = task.traced(Batch(inputs, torch.full_like(inputs, IGNORE)))
    layer = chosen_layer(list(trace.units), layer)
    units = trace.units[layer][0, not source :].float().cpu()
    spans, written = tokenizer.spans(text), tokenizer.token_bytes
    found = []
    for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text):
        places = [i for i, (first, last) in enumerate(spans) if first < match.end() and last > match.start()]
        if places:
            vector = units[places].mean(0) if pooling == "mean" else units[places[-1]]
            tokens = tuple(written[ids[place]].decode(errors="replace") for place in places)
            found.append(Occurrence(match.start(), tokens, layer, vector.clone()))
    return found


def chosen_layer(names: Sequence[str], layer: str | None) -> str:
    """A name of a trace, by default the first of the last layer; an `InputError` if there is no such layer."""
    if layer is None:
        last = names[-1].split(".")[0]
        return next(name for name in names if name.split(".")[0] == last)
    if layer not in names:
        raise InputError(f"the layer {layer!r} is not there; choose one of {', '.join(names)}")
    return layer


@dataclass(frozen=True)
class Senses:
    """Cosines between occurrences of a word in several senses."""

    word: str
    layer: str
    senses: list[str]
    """Of the N occurrences."""
    sentences: list[str]
    """Of the N occurrences."""
    cosines: Tensor
    """Of all pairs, (N, N)."""

    @property
    def _same(self) -> Tensor:
        """Whether two different occurrences have the same sense, (N, N)."""
        return torch.tensor([[a == b for b in self.senses] for a in self.senses]).fill_diagonal_(False)

    @property
    def within(self) -> float:
        """Mean cosine of two occurrences of the same sense; NaN if no sense has two."""
        return float(self.cosines[self._same].mean())

    @property
    def between(self) -> float:
        """Mean cosine of two occurrences of different senses."""
        return float(self.cosines[~self._same.fill_diagonal_(True)].mean())

    @property
    def nearest(self) -> float:
        """Fraction of occurrences whose nearest neighbour has the same sense, among senses with several occurrences."""
        others = self.cosines.clone().fill_diagonal_(-torch.inf).argmax(1, keepdim=True)
        return float(self._same.gather(1, others)[self._same.any(1)].double().mean())


def compare_senses(
    task: LanguageModel | Translator,
    sentences: Mapping[str, Sequence[str]],
    word: str,
    layer: str | None = None,
    pooling: Pooling = "last",
    centred: bool = False,
) -> Senses:
    """Compare the vectors of a word in sentences with different senses.

    Args:
        task: a trained model.
        sentences: by sense; each is read by itself.
        word: the word.
        layer: see `contextual`.
        pooling: see there.
        centred: subtract the mean of all occurrences, since the common part of states makes all cosines large
            (Ethayarajh 2019).

    Raises:
        InputError: there are fewer than two senses, or a sentence lacks the word; and see `contextual`.
    """
    if len(sentences) < 2:
        raise InputError(f"{len(sentences)} senses were given; expected at least two to compare")
    if empty := [sense for sense, texts in sentences.items() if not texts]:
        raise InputError(f"the sense {empty[0]!r} has no sentences; expected some for each")
    senses, places, found = list[str](), list[str](), list[Occurrence]()
    for sense, texts in sentences.items():
        for text in texts:
            here = contextual(task, text, word, layer, pooling)
            if not here:
                raise InputError(f"the sentence {text[:60]!r} lacks the word {word!r}; expected it in each")
            senses += [sense] * len(here)
            places += [text] * len(here)
            found += here
    stacked = torch.stack([one.vector for one in found])
    scaled = F.normalize(stacked - stacked.mean(0) if centred else stacked, dim=1)
    return Senses(word, found[0].layer, senses, places, scaled @ scaled.T)


def draw_senses(found: Senses) -> "Figure":
    """The cosines of all pairs as a plot, with lines between the senses."""
    count = len(found.senses)
    figure = new_figure(5.5 + 0.28 * count, 1.5 + 0.28 * count)
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    image = axes.imshow(found.cosines.numpy(), cmap="viridis", vmax=1, aspect="auto")
    axes.tick_params(colors="0.5")
    axes.spines[:].set_visible(False)
    pairs = zip(found.senses, found.sentences, strict=True)
    labels = [printable(f"{sense}: {_around(text, found.word)}") for sense, text in pairs]
    axes.set_yticks(range(count), labels, fontsize=8, color="0.5", parse_math=False)
    axes.set_xticks([])
    for place in range(1, count):
        if found.senses[place] != found.senses[place - 1]:
            axes.axhline(place - 0.5, color="white", linewidth=1.5)
            axes.axvline(place - 0.5, color="white", linewidth=1.5)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.ax.tick_params(colors="0.5", labelsize=8)
    axes.set_title(
        f"{found.word}: cosine {found.within:.2f} within a sense, {found.between:.2f} between", fontsize=9, color="0.5",
        parse_math=False,
    )  # fmt: skip
    return figure


def _around(text: str, word: str, most: int = 40) -> str:
    """At most so many characters of a text, most of them before the word."""
    if len(text) <= most:
        return text
    last = min(len(text), text.find(word) + len(word) + most // 4)
    first = max(0, last - most)
    return "…" * (first > 0) + text[first : first + most] + "…" * (first + most < len(text))
