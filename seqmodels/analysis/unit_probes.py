"""Single units that can be read: how well each alone predicts what a person knows of a text.

A unit is chosen on one half of the texts and scored on the other, so that the best of a thousand is no luck. A network
of the same shape with random weights says how much of the score needs no learning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.analysis.activations import Activations
from seqmodels.analysis.character_labels import Labels

AT_A_TIME = 64
"""Units whose values are sorted together, which bounds the memory."""

SHOWN = 700
"""About how many characters of a text are coloured."""


@dataclass(frozen=True)
class Neuron:
    """One unit as a predictor of one label.

    Attributes:
        unit: its name.
        score: on the half where it was not chosen: the area under the curve (AUC, 0.5 for chance) where the label says
            yes or no, and otherwise the share of the variance that is explained (R²; 0 for a constant guess, and less
            for a worse one).
        chosen_by: the same on the half where it was.
        binary: whether the score is an AUC.
    """

    unit: str
    score: float
    chosen_by: float
    binary: bool

    @property
    def measure(self) -> str:
        """What the score is."""
        return "AUC" if self.binary else "R²"

    @property
    def beyond_chance(self) -> float:
        """The score on one scale for all labels: 0 for chance, 1 for a perfect predictor."""
        return 2 * self.score - 1 if self.binary else self.score


def rank(found: Activations, labels: Mapping[str, Labels], best: int = 5) -> dict[str, list[Neuron]]:
    """The units that alone predict each label best, best first, by one half of the texts; see `halves`.

    Either sign of a unit is as good; which one it is, is found on the first half, as is the line from its value to a
    number. All is used on the second half as it was found on the first.

    Args:
        found: what the units did.
        labels: what to predict, of the same texts.
        best: how many units to give for each.

    Returns:
        By label; nothing for one that says the same at all positions of a half.
    """
    ranking: dict[str, list[Neuron]] = {}
    here = halves(found.texts)
    targets = {name: found.labelled(label) for name, label in labels.items()}
    curves = _curves(found.values, here, {name: targets[name] for name, label in labels.items() if label.binary})
    for name, label in labels.items():
        target = targets[name]
        said = ~target.isnan()
        (first, known), (second, unknown) = [(found.values[part], target[part]) for part in (said & here, said & ~here)]
        if any(len(side) == 0 or bool((side == side[0]).all()) for side in (known, unknown)):
            ranking[name] = []
            continue
        if label.binary:
            direct = curves[name]
            turned = direct < 0.5
            chosen_by = torch.where(turned, 1 - direct, direct)
        else:
            chosen_by = r_squared(first, known, first, known)
        order = chosen_by.argsort(descending=True, stable=True)[:best]
        if label.binary:
            score = auc(second[:, order], unknown > 0)
            score = torch.where(turned[order], 1 - score, score)
        else:
            score = r_squared(first[:, order], known, second[:, order], unknown)
        ranking[name] = [
            Neuron(found.units[unit], held_out, seen, label.binary)
            for unit, held_out, seen in zip(order.tolist(), score.tolist(), chosen_by[order].tolist(), strict=True)
        ]
    return ranking


def _curves(values: Tensor, here: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The area under the curve of all units for each of some labels, by the positions `here` where it says something.

    Labels that say something at the same positions are done together, for sorting is what takes time.
    """
    together: list[tuple[Tensor, list[str]]] = []
    for name, target in targets.items():
        part = here & ~target.isnan()
        same = next((names for other, names in together if torch.equal(other, part)), None)
        if same is None:
            together.append((part, [name]))
        else:
            same.append(name)
    found: dict[str, Tensor] = {}
    for part, names in together:
        positive = torch.stack([targets[name][part] > 0 for name in names])
        found.update(zip(names, auc(values[part], positive), strict=True))
    return found


def halves(texts: Tensor) -> Tensor:
    """Which positions are in the first half, where units are chosen: whole texts, about half of all positions.

    The longest are dealt first, each to the half that has less. Where most of it is a single text, all is cut in its
    middle.

    Args:
        texts: the number of its text for each position, int64 (N,).

    Returns:
        Bool (N,).
    """
    sizes = texts.bincount()
    if 4 * int(sizes.max()) > 3 * len(texts):
        return torch.arange(len(texts)) < len(texts) // 2
    mine, shares = torch.zeros(len(sizes), dtype=torch.bool), [0, 0]
    for number in sizes.argsort(descending=True, stable=True).tolist():
        side = int(shares[1] < shares[0])
        shares[side] += int(sizes[number])
        mine[number] = side == 0
    return mine[texts]


def auc(values: Tensor, positive: Tensor) -> Tensor:
    """Area under the receiver operating characteristic, for many predictors at once.

    It is the probability that a position where the label is true has the higher value than one where it is false, with
    a half for equal values (Mann and Whitney 1947).

    Args:
        values: (N, U).
        positive: bool (N,), or (L, N) for several labels.

    Returns:
        Float64 (U,), or (L, U); NaN where a label says the same everywhere.
    """
    positive = positive.double()
    sums = torch.cat([positive @ midranks(part) for part in torch.split(values, AT_A_TIME, 1)], -1)
    yes = positive.sum(-1, keepdim=True)
    return (sums - yes * (yes + 1) / 2) / (yes * (len(values) - yes))


def midranks(values: Tensor) -> Tensor:
    """The place of each value in its column, counted from 1, and for equal values the mean of their places.

    Args:
        values: (N, U).

    Returns:
        Float64 (N, U).
    """
    ordered, order = values.T.contiguous().sort()
    places = torch.arange(values.shape[0]).expand_as(ordered)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = torch.where(new, places, 0).cummax(1).values
    closes = new.roll(-1, 1)  # the next one is another, or there is none
    last = torch.where(closes, places, places.shape[1]).flip(1).cummin(1).values.flip(1)
    return torch.empty(ordered.shape, dtype=torch.float64).scatter(1, order, (first + last).double() / 2 + 1).T


def r_squared(values: Tensor, target: Tensor, scored: Tensor, scored_target: Tensor) -> Tensor:
    """Share of the variance of a number that a line from each predictor explains.

    The line of least squares is that of the first values, R² = 1 - (sum of squared errors) / (sum of squares about the
    mean) that of the scored ones; a predictor that never changes predicts the mean.

    Args:
        values: (N, U), to which the lines are fitted.
        target: (N,).
        scored: (M, U), which may be the same.
        scored_target: (M,), not all alike.

    Returns:
        Float64 (U,).
    """
    found, target, scored_target = [], target.double(), scored_target.double()
    centred = target - target.mean()
    around = (scored_target - scored_target.mean()).square().sum()
    for part, other in zip(torch.split(values, AT_A_TIME, 1), torch.split(scored, AT_A_TIME, 1), strict=True):
        mean = part.double().mean(0)
        x = part.double() - mean
        spread = x.square().sum(0)
        slope = torch.where(spread > 0, centred @ x / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0)
        errors = scored_target[:, None] - target.mean() - slope * (other.double() - mean)
        found.append(1 - errors.square().sum(0) / around)
    return torch.cat(found)


def typical(label: Labels, begins: Mapping[int, int], texts: Sequence[str], size: int = SHOWN) -> tuple[int, int, int]:
    """Whole lines in which a label varies as much as everywhere: the text's number, where they begin and end.

    Args:
        label: of all texts.
        begins: numbers of the texts from which to take, and from which character on.
        texts: all of them.
        size: about how many characters.
    """
    usual = torch.cat(label.values)
    usual = usual[~usual.isnan()].var(correction=0)
    number, first = next(iter(begins.items()))
    best, farthest = (number, first, min(first + size, len(texts[number]))), float("inf")
    for number, first in begins.items():
        text = texts[number]
        while first < len(text):
            behind = text.find("\n", first + size) + 1 or len(text)
            values = label.values[number][first:behind]
            values = values[~values.isnan()]
            distance = float((values.var(correction=0) - usual).abs()) if 2 * len(values) > size else float("inf")
            if distance < farthest:
                best, farthest = (number, first, behind), distance
            first = behind
    return best
