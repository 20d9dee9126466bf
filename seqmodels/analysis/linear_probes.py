"""Linear probes: how well all units of a layer together predict a label, beside the best single unit.

A probe (Alain and Bengio 2016) is a linear classifier or regression on the units. It is fitted on the half of the texts
on which single units are chosen, and scored on the other. A probe finds much in a random network, too, which is its
control (Zhang and Bowman 2018).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.analysis.activations import Activations
from seqmodels.analysis.character_labels import Labels
from seqmodels.analysis.unit_probes import auc, halves, r_squared

ALL = "all"
"""The name of all layers together."""
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Strengths of the penalty that are tried."""
USUAL = 1e-2
"""The strength where a label is constant on a part of the half, so that none can be chosen."""
ITERATIONS = 100
"""Of L-BFGS at most, as in scikit-learn."""


@dataclass(frozen=True)
class Probe:
    """A linear probe of one label.

    Attributes:
        score: on the half where it was not fitted: AUC for a binary label, otherwise R²; see `Neuron`.
        strength: of the penalty, half of its product with the squares of the weights for standardised units; chosen
            within the half where the probe was fitted.
        binary: whether the score is an AUC.
    """

    score: float
    strength: float
    binary: bool


def layer_of(unit: str) -> str:
    """The layer of a unit: "1" for "1.c.123", "2" for "2.7"."""
    return ".".join(itertools.takewhile(str.isdecimal, unit.split(".")[:-1]))


def linear_probes(
    found: Activations, labels: Mapping[str, Labels], here: Tensor | None = None
) -> dict[str, dict[str, Probe]]:
    """Probes of each label on the units of each layer, and of all layers together.

    Units are standardised. A binary label has a logistic regression, a number a ridge regression. The strength of the
    penalty is the one that does best on a half of the texts of the fit after a fit on their other half.

    Args:
        found: activations of all units.
        labels: of the same texts.
        here: the positions of the fit, bool (N,); by default those of `halves`.

    Returns:
        For each label, probes by the name of the layer, and by `ALL`; none for a label that is constant on a half. A
        network of one layer has `ALL` only.
    """
    here = halves(found.texts) if here is None else here
    begun = here.clone()
    begun[here] = halves(found.texts[here])
    targets = {name: found.labelled(label) for name, label in labels.items()}
    told = {name: bool(_varies(target, here) and _varies(target, ~here)) for name, target in targets.items()}
    kinds = [[name for name in targets if told[name] and labels[name].binary is binary] for binary in (True, False)]
    layers: dict[str, list[int]] = {}
    for place, unit in enumerate(found.units):
        layers.setdefault(layer_of(unit), []).append(place)
    parts = {**(layers if len(layers) > 1 else {}), ALL: list(range(len(found.units)))}
    probes: dict[str, dict[str, Probe]] = {name: {} for name in labels}
    x = _standardised(found.values, here)
    for layer, columns in parts.items():
        for names, binary in zip(kinds, (True, False), strict=True):
            if names:
                y = torch.stack([targets[name] for name in names], 1)
                for name, probe in zip(names, _probes(x[:, columns], y, begun, here, binary), strict=True):
                    probes[name][layer] = probe
    return probes


def _probes(x: Tensor, y: Tensor, begun: Tensor, here: Tensor, binary: bool) -> list[Probe]:
    """A probe of each label (N, L), its strength chosen on the positions `here` that are not `begun`."""
    fit = logistic if binary else ridge
    tried = len(STRENGTHS)
    weights = fit(x[begun], y[begun].repeat_interleave(tried, 1), STRENGTHS * y.shape[1])
    rest = here & ~begun
    chosen = []
    for number, target in enumerate(y.T):
        some = weights[:, number * tried : (number + 1) * tried]
        scores = [_score(x, some[:, [place]], target, begun, rest, binary) for place in range(tried)]
        chosen.append(USUAL if any(map(math.isnan, scores)) else STRENGTHS[scores.index(max(scores))])
    weights = fit(x[here], y[here], chosen)
    return [
        Probe(_score(x, weights[:, [number]], target, here, ~here, binary), chosen[number], binary)
        for number, target in enumerate(y.T)
    ]


def _score(x: Tensor, weights: Tensor, target: Tensor, fitted: Tensor, scored: Tensor, binary: bool) -> float:
    """AUC or R² of one vector of weights (U, 1) at some positions; NaN if the target is constant where it is needed.

    R² is that of the line from the prediction, fitted where the weights were.
    """
    if not (_varies(target, fitted) and _varies(target, scored)):
        return math.nan
    fitted, scored = fitted & ~target.isnan(), scored & ~target.isnan()
    weights = weights.to(x.dtype)
    predicted = x[scored] @ weights
    if binary:
        return float(auc(predicted, target[scored] > 0))
    return float(r_squared(x[fitted] @ weights, target[fitted], predicted, target[scored]))


def _varies(target: Tensor, here: Tensor) -> bool:
    """Whether a label has two values at some positions."""
    known = target[here & ~target.isnan()]
    return len(known) > 0 and bool((known != known[0]).any())


def _standardised(values: Tensor, here: Tensor) -> Tensor:
    """Values (N, U) less their mean and over their standard deviation at some positions; 0 for units that are constant
    there.
    """
    deviation, mean = torch.std_mean(values[here], 0, correction=0)
    return torch.where(deviation > 1e-6 * mean.abs(), (values - mean) / deviation, 0)


def logistic(x: Tensor, targets: Tensor, strengths: Sequence[float]) -> Tensor:
    """Weights of logistic regressions, each with an intercept, which is not returned: it orders nothing.

    Minimises the mean cross-entropy plus `strength / 2` times the squares of the weights, all regressions at once.

    Args:
        x: standardised units, (N, U).
        targets: 0, 1 or NaN, which is left out, (N, L).
        strengths: of the penalty, L of them.

    Returns:
        Weights (U, L).
    """
    known = ~targets.isnan()
    share = known / known.sum(0).clamp(min=1)
    truth, penalty = targets.nan_to_num(), torch.tensor(strengths, dtype=x.dtype) / 2
    weights = torch.zeros(x.shape[1], targets.shape[1], dtype=x.dtype, requires_grad=True)
    intercepts = torch.zeros(targets.shape[1], dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, intercepts], max_iter=ITERATIONS, tolerance_grad=1e-6, tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimizer.zero_grad()
        nats = F.binary_cross_entropy_with_logits(x @ weights + intercepts, truth, share, reduction="sum")
        total = nats + (penalty * weights.square()).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def ridge(x: Tensor, targets: Tensor, strengths: Sequence[float]) -> Tensor:
    """Weights of ridge regressions, which minimise half of the mean squared error plus the penalty of `logistic`.

    Arguments and result are as there, with numbers as targets, each of which counts in its own variance. There are
    always as many equations as the smaller of units and positions.
    """
    found = []
    for target, strength in zip(targets.T, strengths, strict=True):
        known = ~target.isnan()
        if not bool(known.any()):
            found.append(x.new_zeros(x.shape[1]).double())
            continue
        centred = x[known].double()
        centred -= centred.mean(0)
        wanted = target[known].double()
        wanted -= wanted.mean()
        few = centred.shape[1] <= len(centred)
        products = (centred.T @ centred if few else centred @ centred.T) / len(centred)
        products.diagonal().add_(strength)
        aim = (centred.T @ wanted if few else wanted) / len(centred)
        solved = torch.linalg.solve(products, aim)
        found.append(solved if few else centred.T @ solved)
    return torch.stack(found, 1)
