"""Rotary positions, and attention in bfloat16 training on a CPU."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.nn.attention import attend, rotate
from seqmodels.nn.positions import rotary_angles


@pytest.mark.parametrize("kind", ["all", "causal", "masked"])
def test_single_precision_where_gradients_are_taken_in_bf16(kind: str) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 7, 8).bfloat16().requires_grad_() for heads in (4, 2, 2))
    visible = torch.rand(2, 1, 7, 7) > 0.3 if kind == "masked" else None
    if visible is not None:
        visible = visible | torch.eye(7, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(q, k, v, visible, causal=kind == "causal")
    single = [part.detach().float().requires_grad_() for part in (q, k, v)]
    expected = F.scaled_dot_product_attention(*single, visible, 0.0, kind == "causal", enable_gqa=True)
    assert_close(found, expected)  # in its type, too
    slope = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(found, (q, k, v), slope), torch.autograd.grad(expected, single, slope), strict=True
    ):
        assert_close(ours, theirs.bfloat16())


def test_bf16_where_none_are_taken() -> None:
    q = torch.randn(2, 4, 7, 8).bfloat16()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert attend(q, q, q, None).dtype == torch.bfloat16


def test_rotation_is_a_product_of_complex_numbers() -> None:
    """Values and gradients are those of `(a + ib) * exp(i angle)`, which torch differentiates by itself."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64).transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    angles = rotary_angles(torch.arange(7, 12).expand(2, 5), 8)
    weights = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    turned = torch.complex(*x.chunk(2, -1)) * torch.polar(torch.ones_like(angles), angles)
    wanted = torch.cat((turned.real, turned.imag), -1)
    found = rotate(x, angles.cos(), angles.sin())
    assert_close(found, wanted)
    assert_close(*(torch.autograd.grad((each * weights).sum(), x)[0] for each in (found, wanted)))


def test_gradients_by_finite_differences() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    angles = torch.randn(1, 1, 3, 2, dtype=torch.float64)
    for check in (gradcheck, gradgradcheck):
        assert check(lambda x: rotate(x, angles.cos(), angles.sin()), (x,))
