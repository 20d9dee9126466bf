"""Runs that differ in their random seed alone: which they are, their mean and their spread, beside NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmodels.report.run import Run
from seqmodels.report.seeds import group_by_seed, mean_line, spread, spread_of


def made(name: str, corpus: Any = None, **settings: Any) -> Run:
    run = Run(Path(name), name, settings=settings)
    run.environment = {"corpus": corpus}
    return run


def test_only_the_seed_may_differ() -> None:
    runs = [
        made("a", lr=1, seed=1), made("b", lr=2, seed=1), made("c", lr=1, seed=2), made("d", lr=1, seed=2),
        made("e", lr=1, seed=3, runs="elsewhere"), made("f", {"characters": 7}, lr=1, seed=4), made("g", lr=1),
        made("h"),
    ]  # fmt: skip
    groups = group_by_seed(runs)
    assert [[run.name for run in group.runs] for group in groups] == [
        ["a", "c", "e"],
        ["b"],
        ["d"],
        ["f"],
        ["g"],
        ["h"],
    ]
    assert groups[0].seeds == ["1", "2", "3"]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_mean_and_deviation_are_those_of_numpy(count: int) -> None:
    values = np.random.default_rng(count).normal(3, 2, count)
    found = spread(values.tolist())
    assert found.count == count
    np.testing.assert_allclose(found.mean, np.mean(values))
    np.testing.assert_allclose(found.deviation, np.std(values, ddof=1) if count > 1 else 0)
    assert (found.low, found.high) == (values.min(), values.max())
    assert ("±" in str(found)) == (count > 1)


def test_figures_that_some_runs_lack() -> None:
    figures = [{"x": 1.0}, {}, {"x": 3.0}]
    assert spread_of(figures, "x") == spread([1.0, 3.0])
    assert spread_of(figures, "y") is None


def test_lines_validated_at_the_same_tokens() -> None:
    lines = np.random.default_rng(0).normal(size=(4, 6))
    grid = [1.0, 2.0, 3.0, 5.0, 8.0, 13.0]
    x, mean, low, high = mean_line([(grid, line.tolist()) for line in lines])
    assert x == grid
    np.testing.assert_allclose(mean, lines.mean(0))
    np.testing.assert_array_equal(low, lines.min(0))
    np.testing.assert_array_equal(high, lines.max(0))


def test_lines_validated_elsewhere_are_interpolated_where_all_have_values() -> None:
    x, mean, low, high = mean_line([([0, 2, 4], [0, 2, 4]), ([1, 3], [11, 13]), ([], [])])
    assert x == [1, 2, 3]
    np.testing.assert_allclose(mean, [6, 7, 8])
    np.testing.assert_allclose(low, [1, 2, 3])
    np.testing.assert_allclose(high, [11, 12, 13])
    assert mean_line([([0, 1], [0, 1]), ([2, 3], [0, 1])]) == ([], [], [], [])
    assert mean_line([]) == ([], [], [], [])
