"""Turned pairs of features, and the way of the gradient through them."""

import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from seqmodels.nn.attention import rotary_angles, rotate


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
