"""Norms of keys and memories of a trace."""

import torch
from torch.testing import assert_close

from seqmodels.analysis.memory_norms import draw_norms, norms
from seqmodels.nn import GatedDeltaNet, Hybrid, Trace


def test_means_without_padding() -> None:
    values = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [2.0, 4.0]], [[9.0, 9.0], [1.0, 1.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False], [False, True, False]])
    found = norms(Trace(norms={"1.S": values}), mask)["1.S"]
    assert_close(found.by_head.float(), torch.tensor([7 / 3, 11 / 3]))
    assert_close(found.by_position.float(), torch.tensor([2.0, 3.5, torch.nan]), equal_nan=True)
    assert norms(Trace()) == {}


def test_keys_of_length_one_and_a_memory_from_nothing() -> None:
    """The first position stores a value of strength beta under its key, so its norm is at most that of the value."""
    x = torch.randn(3, 9, 8)
    found = norms(GatedDeltaNet(8, 2, 2).traced(x)[2])
    assert found.keys() == {"1.k", "1.S", "2.k", "2.S"}
    assert_close(found["1.k"].by_position, torch.ones(9, dtype=torch.float64), atol=1e-3, rtol=0)
    assert found["1.S"].by_head.shape == (2,)


def test_layers_of_a_hybrid_are_named() -> None:
    trace = Hybrid(8, "GatedDeltaNet,attention,Mamba2", num_heads=2).traced(torch.randn(2, 5, 8))[2]
    figure = draw_norms(norms(trace))
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes] == [["layer 1", "layer 3"]] * 2
    assert [axes.get_legend() is not None for axes in figure.axes] == [True, False]  # one for both
