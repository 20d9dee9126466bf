"""Regressions on all units."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from seqmodels.analysis.activations import Activations
from seqmodels.analysis.character_labels import Labels
from seqmodels.analysis.linear_probes import ALL, layer_of, linear_probes, logistic, ridge
from seqmodels.cli.neurons import table_of_layers


@pytest.mark.parametrize("strength", [1e-2, 1e-1])
def test_regressions_are_those_of_scikit_learn(strength: float) -> None:
    chance = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=chance)
    number = x @ torch.tensor([1.0, -2, 0, 0, 0.5, 0]) + torch.randn(200, generator=chance)
    truth = (number > 0.5).float()
    other = torch.rand(200, generator=chance).round()  # fitted beside it
    truth[:20] = number[:20] = other[:20] = torch.nan
    x[:20] = 1000  # is not looked at where the label is undefined
    real = x[20:].double().numpy()
    expected = LogisticRegression(C=1 / (180 * strength), tol=1e-8).fit(real, truth[20:].numpy()).coef_[0]
    found = logistic(x, torch.stack([truth, other], 1), [strength, 1.0])[:, 0]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)
    line = Ridge(alpha=180 * strength).fit(real, number[20:].double().numpy()).coef_
    np.testing.assert_allclose(ridge(x, number[:, None], [strength])[:, 0].numpy(), line, atol=1e-6)


def test_more_units_than_positions() -> None:
    x, y = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)), torch.arange(20.0)
    line = Ridge(alpha=20 * 0.1).fit(x.double().numpy(), y.double().numpy()).coef_
    np.testing.assert_allclose(ridge(x, y[:, None], [0.1])[:, 0].numpy(), line, atol=1e-6)


def many(values: torch.Tensor, target: torch.Tensor, units: tuple[str, ...], binary: bool = True) -> tuple[
    Activations, dict[str, Labels]
]:  # fmt: skip
    """Four texts with activations and a label."""
    size = len(values) // 4
    found = Activations(units, values, torch.arange(4).repeat_interleave(size), torch.arange(size).repeat(4))
    return found, {"it": Labels(list(target.split(size)), binary)}


@pytest.mark.parametrize("binary", [True, False])
def test_units_tell_together_what_none_tells_alone(binary: bool) -> None:
    """A label that is a sum of twenty units of the second layer; the first has nothing of it."""
    values = torch.randn(2000, 40, generator=torch.Generator().manual_seed(1)) * 3 + 2
    total = values[:, 20:].sum(1)
    units = tuple(f"{layer}.h.{number}" for layer in (1, 2) for number in range(20))
    found, labels = many(values, (total > 40).float() if binary else total, units, binary)
    probes = linear_probes(found, labels)["it"]
    assert set(probes) == {"1", "2", ALL}
    assert probes[ALL].score > 0.99
    assert probes["2"].score > 0.99
    assert abs(probes["1"].score - 0.5 * binary) < 0.1
    assert probes["2"].binary is binary
    rows = [list(column.cells) for column in table_of_layers({"it": probes, "never": {}}).columns]
    assert rows == [["it"], *([f"{probes[layer].score:.3f}"] for layer in "12")]


def test_what_was_fitted_is_scored_elsewhere() -> None:
    """More units than positions fit any coin, and predict none."""
    chance = torch.Generator().manual_seed(0)
    values, coin = torch.randn(400, 300, generator=chance), (torch.rand(400, generator=chance) < 0.5).float()
    found, labels = many(values, coin, tuple(f"1.h.{number}" for number in range(300)))
    (probe,) = linear_probes(found, labels)["it"].values()
    assert abs(probe.score - 0.5) < 0.12
    assert linear_probes(found, {"never": Labels([torch.zeros(100)] * 4, True)}) == {"never": {}}


def test_layers_of_units() -> None:
    assert [layer_of(unit) for unit in ("1.c.12", "2.7", "1.2.h.3", "3.S.1")] == ["1", "2", "1.2", "3"]
