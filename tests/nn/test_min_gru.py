"""The linear recurrence in parallel over time, against the loop that defines it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from seqmodels.nn import MinGRU, MinLSTM, RecurrentStack, scan


def loop(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    h, states = start, []
    for t in range(b.shape[1]):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    return torch.stack(states, 1)


def example(T: int, B: int = 2, D: int = 3) -> list[Tensor]:
    torch.manual_seed(T)
    shapes = (torch.rand(B, T, D), torch.randn(B, T, D), torch.randn(B, D))
    return [tensor.double().requires_grad_() for tensor in shapes]


@given(T=st.integers(1, 40), pieces=st.integers(1, 45))
def test_scan_is_the_loop(T: int, pieces: int) -> None:
    inputs = example(T)
    weights = torch.randn(2, T, 3, dtype=torch.float64)
    results = []
    for h in (scan(*inputs, pieces=min(pieces, T)), loop(*inputs)):
        results.append([h, *torch.autograd.grad((h * weights).sum(), inputs)])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("pieces", [1, 3])
def test_derivatives_of_first_and_second_order(pieces: int) -> None:
    inputs = example(7)
    assert gradcheck(lambda *x: scan(*x, pieces=pieces), inputs)
    assert gradgradcheck(lambda *x: scan(*x, pieces=pieces), inputs)


def test_long_memory_in_half_precision() -> None:
    """Small summands over many steps are not lost: the sum is kept in single precision."""
    T = 4096
    a, b, start = torch.ones(1, T, 1), torch.full((1, T, 1), 2.0**-10), torch.zeros(1, 1)
    h = scan(a.bfloat16(), b.bfloat16(), start.bfloat16())
    assert_close(h[0, -1], torch.tensor([4.0]))


def test_factors_of_zero_and_forgetting() -> None:
    """A factor of zero cuts off what came before; products of many small factors do no harm."""
    a, b, start = (tensor.detach() for tensor in example(1000))
    a[:, 500] = 0.0
    a[:, 600:] = 1e-3
    assert_close(scan(a, b, start, pieces=31), loop(a, b, start))
    b[:, :500] = 1e6
    assert_close(scan(a, b, start, pieces=31)[:, 500:], loop(a, b, start)[:, 500:])


@pytest.mark.parametrize("network", [MinGRU, MinLSTM])
def test_gates_keep_their_precision_under_autocast(network: type[RecurrentStack]) -> None:
    """A gate that is nearly shut stays open a little: in half precision its remainder would round to 1, and sum up."""
    net = network(4, 4, num_layers=1)
    cell = net.layers[0]
    with torch.no_grad():
        cell.from_input.weight.zero_()
        bias = cell.from_input.bias.view(-1, 4)
        bias.zero_()
        bias[0] = -7.0 if network is MinGRU else 7.0  # z = 0.0009; f = 0.9991
        if network is MinLSTM:
            bias[1] = -7.0
        bias[-1] = 1.0  # n or g
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = net(torch.zeros(1, 4000, 4))
    assert_close(y[0, -1], torch.ones(4), rtol=0.05, atol=0)  # of n = 1, not of the number of steps
    far = torch.full((1, 3, 4), 0.0)
    with torch.no_grad():
        cell.from_input.bias.view(-1, 4)[:-1] = -200.0
    assert torch.isfinite(net(far)[0]).all()
