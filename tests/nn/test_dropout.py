"""Dropout with one mask for all positions, and of recurrent weights."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqmodels.nn import GRU, LSTM, RNN, Cell, RecurrentStack
from seqmodels.nn.dropout import dropout, evaluating, variational_dropout, weight_dropout


def test_same_features_at_every_position() -> None:
    torch.manual_seed(0)
    x = torch.rand(40, 6, 50) + 1
    y = variational_dropout(x, 0.3, training=True)
    dropped = y == 0
    assert (dropped == dropped[:, :1]).all()
    assert not (dropped[0] == dropped[1]).all()
    assert_close(dropped.float().mean(), torch.tensor(0.3), rtol=0, atol=0.04)
    assert_close(y[~dropped], x[~dropped] / 0.7)


def test_nothing_outside_of_training() -> None:
    x = torch.rand(2, 3, 4)
    assert variational_dropout(x, 0.5, training=False) is x
    assert variational_dropout(x, 0.0, training=True) is x
    assert weight_dropout(x, 0.5, training=False) is x
    assert weight_dropout(x, 0.0, training=True) is x
    assert dropout(x, 0.5, training=False) is x


def test_weights_are_dropped_one_by_one() -> None:
    torch.manual_seed(0)
    weight = torch.rand(301, 101) + 1  # not a multiple of eight
    for p in (0.1, 0.5, 0.9):
        y = weight_dropout(weight, p, training=True)
        dropped, share = y == 0, round(256 * p) / 256
        assert_close(dropped.float().mean(), torch.tensor(share), rtol=0, atol=0.01)
        assert_close(y[~dropped], weight[~dropped] / (1 - share))
        for axis in (0, 1):  # neither rows nor columns as a whole, and neighbours independently
            assert dropped.float().mean(axis).std() < 0.06
        pairs = (dropped[:, 1:] & dropped[:, :-1]).float().mean()
        assert_close(pairs, torch.tensor(share**2), rtol=0, atol=0.01)


@pytest.mark.parametrize("network", [RNN, LSTM, GRU])
@pytest.mark.parametrize("lengths", [None, [9, 0, 4]])
def test_recurrent_weights_are_dropped_alike_at_every_step(network: type[RecurrentStack], lengths) -> None:  # type: ignore[no-untyped-def]
    """In training too the kernel agrees with the equation, and input weights are kept."""
    torch.manual_seed(0)
    cell = network(5, 16, weight_dropout=0.5).double().layers[0]
    x = torch.randn(3, 9, 5, dtype=torch.float64)
    start = tuple(torch.randn(3, 16, dtype=torch.float64) for _ in range(cell.state_tensors))
    counts = None if lengths is None else torch.tensor(lengths)
    results = []
    for path in (cell.sequence, lambda *args: Cell.sequence(cell, *args)):
        torch.manual_seed(1)
        y, end = path(x, start, counts)
        y = y if counts is None else y * (torch.arange(9) < counts[:, None]).unsqueeze(-1)
        results.append([y, *end, *torch.autograd.grad(y.sum() + end[0].sum(), list(cell.parameters()))])
    for fused, equation in zip(*results, strict=True):
        assert_close(fused, equation)
    gradient = results[0][-3]  # of the recurrent matrix: w_in, w_rec and two biases stand in this order
    assert (gradient == 0).double().mean() > 0.3  # what was dropped learns nothing
    kept, _ = cell.eval().sequence(x, start, None)
    assert not torch.allclose(kept, Cell.sequence(cell.train(), x, start)[0])


def test_single_numbers_are_dropped_and_the_mean_stays() -> None:
    torch.manual_seed(0)
    x = (torch.rand(3, 301, 101) + 1).requires_grad_()  # not a multiple of four
    for p in (0.1, 0.5, 0.9):
        y = dropout(x, p, training=True)
        dropped = y == 0
        assert_close(dropped.float().mean(), torch.tensor(p), rtol=0, atol=0.01)
        assert_close(y[~dropped], x[~dropped] / (1 - p))
        for axis in (1, 2):  # neighbours are independent
            near = dropped.transpose(axis, -1)
            assert_close((near[..., 1:] & near[..., :-1]).float().mean(), torch.tensor(p * p), rtol=0, atol=0.01)
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert_close(slope, (~dropped).float() / (1 - p))


def test_every_part_goes_back_to_its_own_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    model[1].eval()
    modes = [part.training for part in model.modules()]
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == modes == [True, True, False, False]
