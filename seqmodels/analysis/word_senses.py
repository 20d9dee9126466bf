"""Vectors of words in their context, and whether they tell the senses of a word apart.

The vector of a word in context is what a layer of a trained model holds when it has read the word (Peters et al. 2018).
A causal network knows only what stands before; put what tells the sense in front of the word. A model that was trained
on one long stream has hardly seen a beginning; some sentences in front bring its state to where it was trained.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import BOS, IGNORE, Batch
from seqmodels.errors import InputError
from seqmodels.nn.dropout import evaluating
from seqmodels.tasks import LanguageModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pooling = Literal["last", "mean"]


class Occurrence(NamedTuple):
    """A word at one place in a text."""

    first: int
    """Place of its first character."""
    tokens: tuple[str, ...]
    """The tokens it is made of, as the vocabulary spells them."""
    layer: str
    """Whose vector it is."""
    vector: Tensor
    """What the layer held there, float32 (D,)."""


@torch.inference_mode()
def contextual(
    task: LanguageModel, text: str, word: str, layer: str | None = None, pooling: Pooling = "last"
) -> list[Occurrence]:
    """The vectors of a word wherever it stands in a text, which is read as a document from its start.

    Args:
        task: a trained model.
        text: what is read.
        word: what is looked for, between characters that belong to no word; upper and lower case differ.
        layer: a name of the network's trace, such as "1.h" or "2"; the last layer's where not given.
        pooling: of several tokens that the word is made of, take the vector at the last, when all of it was read, or
            the mean.

    Returns:
        One for each occurrence, in their order; none where the word is not there.

    Raises:
        InputError: there is no such layer, or the text is longer than what the network can read.
    """
    if pooling not in ("last", "mean"):
        raise InputError(f"pooling={pooling!r} was given; choose last or mean")
    ids, limit = task.tokenizer.encode(text), task.backbone.max_length
    if limit is not None and len(ids) >= limit:
        raise InputError(f"the text has {len(ids)} tokens, and this network has room for {limit - 1}; give less of it")
    inputs = torch.tensor([[BOS, *ids]], device=task.embedding.weight.device)
    with evaluating(task):
        _, _, trace = task.traced(Batch(inputs, torch.full_like(inputs, IGNORE)))
    layer = chosen_layer(list(trace.units), layer)
    units = trace.units[layer][0, 1:].float().cpu()
    spans, written = task.tokenizer.spans(text), task.tokenizer.token_bytes
    found = []
    for match in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", text):
        places = [i for i, (first, last) in enumerate(spans) if first < match.end() and last > match.start()]
        if places:
            vector = units[places].mean(0) if pooling == "mean" else units[places[-1]]
            tokens = tuple(written[ids[place]].decode(errors="replace") for place in places)
            found.append(Occurrence(match.start(), tokens, layer, vector.clone()))
    return found


def chosen_layer(names: Sequence[str], layer: str | None) -> str:
    """A name of a trace: the one that is asked for, or the first that the last layer has.

    Raises:
        InputError: there is no such layer.
    """
    if layer is None:
        last = names[-1].split(".")[0]
        return next(name for name in names if name.split(".")[0] == last)
    if layer not in names:
        raise InputError(f"the layer {layer!r} is not there; choose one of {', '.join(names)}")
    return layer


@dataclass(frozen=True)
class Senses:
    """Occurrences of a word, of several senses, compared with each other.

    Attributes:
        word: the word.
        layer: whose vectors were compared.
        senses: of each of N occurrences the sense.
        sentences: what it stands in.
        cosines: of each with each, (N, N).
    """

    word: str
    layer: str
    senses: list[str]
    sentences: list[str]
    cosines: Tensor

    @property
    def _alike(self) -> Tensor:
        return torch.tensor([[a == b for b in self.senses] for a in self.senses])

    @property
    def within(self) -> float:
        """Mean cosine of two occurrences of the same sense; not a number where no sense has two."""
        return float(self.cosines[self._alike & ~torch.eye(len(self.senses), dtype=torch.bool)].mean())

    @property
    def between(self) -> float:
        """Mean cosine of two occurrences of different senses."""
        return float(self.cosines[~self._alike].mean())

    @property
    def nearest(self) -> float:
        """Share of occurrences whose nearest other is of the same sense, of those that have such another."""
        others = self.cosines.clone().fill_diagonal_(-torch.inf).argmax(1)
        shared = [place for place, sense in enumerate(self.senses) if self.senses.count(sense) > 1]
        right = sum(self.senses[int(others[place])] == self.senses[place] for place in shared)
        return right / len(shared) if shared else float("nan")


def compare_senses(
    task: LanguageModel,
    sentences: Mapping[str, Sequence[str]],
    word: str,
    layer: str | None = None,
    pooling: Pooling = "last",
    centred: bool = False,
) -> Senses:
    """Compare a word in sentences where it has one sense with those where it has another.

    Args:
        task: a trained model.
        sentences: for each sense, sentences with the word; each is read by itself.
        word: the word.
        layer: see `contextual`.
        pooling: see there.
        centred: take the mean over all occurrences away first: what the states of a network have in common makes all
            cosines large (Ethayarajh 2019).

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
    """Cosines of each occurrence with each as a picture, with lines between the senses."""
    from matplotlib.figure import Figure

    count = len(found.senses)
    figure = Figure(figsize=(5.5 + 0.28 * count, 1.5 + 0.28 * count), dpi=120, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    image = axes.imshow(found.cosines.numpy(), cmap="viridis", vmax=1, aspect="auto")
    axes.tick_params(colors="0.5")
    axes.spines[:].set_visible(False)
    labels = [
        f"{sense}: {_around(text, found.word)}" for sense, text in zip(found.senses, found.sentences, strict=True)
    ]
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
    """A text, or so many of its characters, most of them before the word."""
    if len(text) <= most:
        return text
    last = min(len(text), text.find(word) + len(word) + most // 4)
    first = max(0, last - most)
    return "…" * (first > 0) + text[first : first + most] + "…" * (first + most < len(text))
