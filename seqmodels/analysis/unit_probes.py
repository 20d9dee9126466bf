"""Probes of single units: how well each of them predicts a label of the text.

Units are chosen on one half of the texts and scored on the other, so that the best of a thousand is not chance. An
untrained network of the same shape shows how much of the score needs no learning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.analysis.activations import Activations
from seqmodels.analysis.character_labels import Labels

AT_A_TIME = 64
"""Units that are sorted together, which bounds the memory."""

EXCERPT_LENGTH = 700
"""Characters of a coloured text, about."""


@dataclass(frozen=True)
class Neuron:
    """One unit as a predictor of one label.

    Attributes:
        unit: its name.
        score: on the half where it was not chosen: the area under the curve (AUC, 0.5 is chance) for a binary label,
            otherwise the fraction of explained variance (R², 0 for a constant prediction, negative for worse ones).
        chosen_by: the score on the half where it was chosen.
        binary: whether the score is an AUC.
    """

    unit: str
    score: float
    chosen_by: float
    binary: bool

    @property
    def measure(self) -> str:
        """The name of the score."""
        return "AUC" if self.binary else "R²"

    @property
    def beyond_chance(self) -> float:
        """The score on one scale for all labels: 0 for chance, 1 for a perfect predictor."""
        return 2 * self.score - 1 if self.binary else self.score


def rank(
    found: Activations, labels: Mapping[str, Labels], best: int = 5, here: Tensor | None = None
) -> dict[str, list[Neuron]]:
    """The best units for each label, best first, chosen on one half of the texts and scored on the other.

    The sign of a unit, and the line from its value to a number, are fitted on the first half.

    Args:
        found: activations of the units.
        labels: of the same texts.
        best: units for each label.
        here: the positions on which units are chosen, bool (N,); by default those of `halves`.

    Returns:
        Units by label; none for a label that is constant on a half.
    """
    ranking: dict[str, list[Neuron]] = {}
    here = halves(found.texts) if here is None else here
    targets = {name: found.labelled(label) for name, label in labels.items()}
    curves = _curves(found.values, here, {name: targets[name] for name, label in labels.items() if label.binary})
    for name, label in labels.items():
        target = targets[name]
        defined = ~target.isnan()
        (first, known), (second, unknown) = (
            (found.values[part], target[part]) for part in (defined & here, defined & ~here)
        )
        if any(len(side) == 0 or bool((side == side[0]).all()) for side in (known, unknown)):
            ranking[name] = []
            continue
        chosen_by = (
            torch.maximum(curves[name], 1 - curves[name]) if label.binary else r_squared(first, known, first, known)
        )
        order = chosen_by.argsort(descending=True, stable=True)[:best]
        if label.binary:
            score = auc(second[:, order], unknown > 0)
            score = torch.where(curves[name][order] < 0.5, 1 - score, score)
        else:
            score = r_squared(first[:, order], known, second[:, order], unknown)
        ranking[name] = [
            Neuron(found.units[unit], held_out, seen, label.binary)
            for unit, held_out, seen in zip(order.tolist(), score.tolist(), chosen_by[order].tolist(), strict=True)
        ]
    return ranking


def _curves(values: Tensor, here: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AUC of all units for each label at the positions `here` where it is defined.

    Labels that are defined at the same positions share the sorting, which takes most of the time.
    """
    parts = {name: here & ~target.isnan() for name, target in targets.items()}
    together, found = dict[bytes, list[str]](), dict[str, Tensor]()
    for name, part in parts.items():
        together.setdefault(part.numpy().tobytes(), []).append(name)
    for names in together.values():
        part = parts[names[0]]
        positive = torch.stack([targets[name][part] > 0 for name in names])
        found.update(zip(names, auc(values[part], positive), strict=True))
    return found


def halves(texts: Tensor) -> Tensor:
    """Positions of the first half, on which units are chosen: whole texts with about half of all positions.

    Texts are assigned from the longest to the shortest, each to the smaller half. If most positions are of one text,
    all positions are split in the middle. Takes the number of the text of each position, int64 (N,); returns bool (N,).
    """
    sizes = texts.bincount()
    if 4 * int(sizes.max()) > 3 * len(texts):
        return torch.arange(len(texts)) < len(texts) // 2
    first, sizes_of_halves = torch.zeros(len(sizes), dtype=torch.bool), [0, 0]
    for number in sizes.argsort(descending=True, stable=True).tolist():
        side = int(sizes_of_halves[1] < sizes_of_halves[0])
        sizes_of_halves[side] += int(sizes[number])
        first[number] = side == 0
    return first[texts]


def first_characters(found: Activations, scored: Tensor) -> dict[int, int]:
    """The first of some positions, bool (N,), in each text that has one: its character by the number of the text."""
    numbers, characters = found.texts[scored], found.characters[scored]
    return {number: int(characters[numbers == number].min()) for number in sorted(set(numbers.tolist()))}


def auc(values: Tensor, positive: Tensor) -> Tensor:
    """Area under the receiver operating characteristic of many predictors.

    The probability that a position with a true label has a higher value than one with a false label; ties count as one
    half (Mann and Whitney 1947). Takes values (N, U), and bool (N,), or (L, N) for several labels; returns float64
    (U,), or (L, U), NaN for a constant label.
    """
    positive = positive.double()
    sums = torch.cat([positive @ midranks(part) for part in torch.split(values, AT_A_TIME, 1)], -1)
    yes = positive.sum(-1, keepdim=True)
    return (sums - yes * (yes + 1) / 2) / (yes * (len(values) - yes))


def midranks(values: Tensor) -> Tensor:
    """Ranks of values (N, U) in their columns, from 1, float64 (N, U); equal values have the mean of their ranks."""
    ordered, order = values.T.contiguous().sort()
    below, through = (torch.searchsorted(ordered, ordered, right=right) for right in (False, True))
    return torch.empty(ordered.shape, dtype=torch.float64).scatter(1, order, (below + 1 + through).double() / 2).T


def r_squared(values: Tensor, target: Tensor, scored: Tensor, scored_target: Tensor) -> Tensor:
    """R² of the line of least squares from each predictor, fitted to some positions and scored at others.

    R² = 1 - (sum of squared errors) / (sum of squares about the mean); a constant predictor predicts the mean. Takes
    values (N, U) and target (N,) of the fit, and those of M positions for the score, with a target that is not
    constant; returns float64 (U,).
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


def typical(
    label: Labels, begins: Mapping[int, int], texts: Sequence[str], size: int = EXCERPT_LENGTH
) -> tuple[int, int, int]:
    """Whole lines in which a label varies as much as in all texts: number of the text, first character, and behind.

    They have about `size` characters, and are not before the character that `begins` has for the number of their text.
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
