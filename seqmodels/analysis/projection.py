"""Maps of vectors: projections to two dimensions, by PCA or t-SNE, and their plot."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.analysis.figures import fonts
from seqmodels.errors import InputError
from seqmodels.files import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["pca", "tsne"]
GREY, BLUE, RED = "0.5", "#4a90d9", "#d9664a"
"""Colours that are visible on white and on black."""
SIZE = 9.0
LETTER = 0.62 * SIZE, 1.3 * SIZE
"""Font size, and approximate width and height of a letter, in points."""


def map_of(vectors: Tensor, method: Method = "pca", seed: int = 0) -> Tensor:
    """Points in the plane for vectors.

    PCA keeps differences between vectors, as far as two dimensions can; the largest weight of each axis is positive, so
    that the map is unique. t-SNE (van der Maaten and Hinton 2008) keeps neighbours of vectors scaled to length 1: only
    small distances have a meaning.

    Args:
        vectors: (N, D), N of at least 3, or 5 for t-SNE; the points are float64 (N, 2).
        method: pca or tsne.
        seed: random seed of t-SNE.

    Raises:
        InputError: there are too few vectors, or scikit-learn is missing for t-SNE.
    """
    least = 5 if method == "tsne" else 3
    if vectors.ndim != 2 or len(vectors) < least or vectors.shape[1] < 2:
        raise InputError(f"vectors {tuple(vectors.shape)} were given; a map by {method} needs at least {least} of them")
    if method not in ("pca", "tsne"):
        raise InputError(f"the method {method!r} is not known; choose pca or tsne")
    vectors = vectors.detach().double().cpu()
    if method == "tsne":
        try:
            from sklearn.manifold import TSNE
        except ImportError as error:
            raise InputError(
                "t-SNE needs scikit-learn; pip install 'seqmodels-lightning[maps]', or take pca"
            ) from error
        tsne = TSNE(perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca", random_state=seed)
        return torch.from_numpy(tsne.fit_transform(F.normalize(vectors, dim=1).numpy())).double()
    centred = vectors - vectors.mean(0)
    axes: Tensor = torch.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return centred @ (axes * largest.sign()).T


def draw_map(
    points: Tensor,
    words: Sequence[str],
    pairs: Iterable[tuple[str, str]] = (),
    inches: tuple[float, float] = (9, 7),
) -> "Figure":
    """A plot of a map: a dot for each word, labels where there is room, and an arrow for each pair.

    Words of pairs are labelled first, then the others in their order; a label that would overlap another is left out.

    Args:
        points: of `map_of`, (N, 2).
        words: N words.
        pairs: such as ("sister", "brother").
        inches: width and height of the picture.

    Raises:
        InputError: the numbers of words and points differ, or a word of a pair is missing.
    """
    from matplotlib.figure import Figure

    if len(words) != len(points):
        raise InputError(f"{len(words)} words and {len(points)} points were given; expected as many of each")
    places = {word: place for place, word in enumerate(words)}
    arrows = list(pairs)
    if unknown := [word for pair in arrows for word in pair if word not in places]:
        raise InputError(f"the word {unknown[0]!r} of a pair is not on the map; add it to the words")
    figure = Figure(figsize=inches, dpi=120)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    spots = points.tolist()
    axes.scatter(points[:, 0].numpy(), points[:, 1].numpy(), s=8, color=BLUE, linewidths=0)
    for first, second in arrows:
        axes.annotate(
            "", spots[places[second]], spots[places[first]],
            arrowprops={"arrowstyle": "->", "color": RED, "linewidth": 1.2, "shrinkA": 3, "shrinkB": 3},
        )  # fmt: skip
    axes.margins(0.1, 0.05)
    axes.autoscale_view()  # fixes the positions that are used next
    order = list(dict.fromkeys([*(places[word] for pair in arrows for word in pair), *range(len(words))]))
    at = torch.from_numpy(axes.transData.transform(points.numpy())) * 72 / figure.dpi
    for place in _with_room(at, words, order):
        axes.annotate(
            printable(words[place].replace("\n", "⏎")), spots[place], (3, 3), textcoords="offset points",
            fontsize=SIZE, color=GREY, fontfamily=fonts(), parse_math=False,
        )  # fmt: skip
    return figure


def _with_room(at: Tensor, words: Sequence[str], order: list[int]) -> list[int]:
    """The words whose labels overlap no earlier one; `at` is in points (N, 2)."""
    width = torch.tensor([LETTER[0] * len(word) for word in words], dtype=at.dtype)
    shown: list[int] = []
    for place in order:
        others = torch.tensor(shown, dtype=torch.int64)
        gap = at[others] - at[place]
        beside = (gap[:, 0] > width[place]) | (gap[:, 0] < -width[others])
        if bool((beside | (gap[:, 1].abs() > LETTER[1])).all()):
            shown.append(place)
    return shown
