"""Softmax layer and cross-entropy in one are those of torch, one after the other."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.batch import IGNORE
from seqmodels.metrics import summed_nats
from seqmodels.tasks.losses import linear_nats

B, T, D, V = 3, 5, 7, 11


def given(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    y, weight, bias = (torch.randn(size, dtype=dtype, requires_grad=True) for size in ((B, T, D), (V, D), (V,)))
    targets = torch.randint(V, (B, T))
    targets[0, 1] = targets[2] = IGNORE
    return y, weight, bias, targets


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_values_and_gradients(rows: int, smoothing: float) -> None:
    """Whole batches and parts of them, in double precision; the gradient that comes from above is not 1."""
    y, weight, bias, targets = given()
    objective, nats = linear_nats(y, weight, bias, targets, smoothing, logits=rows * V)
    logits = F.linear(y, weight, bias)
    assert_close(nats, summed_nats(logits, targets)[0])
    expected = summed_nats(logits, targets, smoothing)[0]
    assert_close(objective, expected)
    inputs = (y, weight, bias)
    found = torch.autograd.grad(3 * objective, inputs)
    assert_close(found, torch.autograd.grad(3 * expected, inputs))
    assert not nats.requires_grad


def test_nothing_to_score() -> None:
    y, weight, bias, targets = given()
    objective, nats = linear_nats(y, weight, bias, torch.full_like(targets, IGNORE))
    objective.backward()
    assert objective == nats == 0
    assert y.grad is not None
    assert not y.grad.any()


def test_without_gradients() -> None:
    y, weight, bias, targets = given()
    with torch.no_grad():
        objective, nats = linear_nats(y, weight, bias, targets)
    assert_close(objective, nats)
    assert_close(nats, summed_nats(F.linear(y, weight, bias), targets)[0])


def test_far_logits_stay_finite() -> None:
    y, weight, bias, targets = given(torch.float32)
    objective, _ = linear_nats(1e4 * y, weight, bias, targets)
    assert torch.isfinite(objective)
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(objective, (y, weight, bias)))


@pytest.mark.parametrize("rows", [4, 100])
def test_mixed_precision(rows: int) -> None:
    """Products are bfloat16's, all else is not: as torch's own, within the rounding of bfloat16."""
    y, weight, bias, targets = given(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        objective, nats = linear_nats(y, weight, bias, targets, logits=rows * V)
        expected, _ = summed_nats(F.linear(y, weight, bias), targets)
    assert objective.dtype == nats.dtype == torch.float32
    assert_close(nats, expected, rtol=1e-3, atol=1e-3)
    found = torch.autograd.grad(objective, (y, weight, bias))
    assert [part.dtype for part in found] == [torch.float32] * 3
    assert_close(found, torch.autograd.grad(expected, (y, weight, bias)), rtol=2e-2, atol=2e-2)


def test_second_derivatives_are_refused() -> None:
    y, weight, bias, targets = given()
    squared = linear_nats(y, weight, bias, targets)[0].square()
    (first,) = torch.autograd.grad(squared, y, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
