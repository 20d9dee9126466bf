"""Norms against torch's, with gradients of all orders."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.nn.norms import make_norm, rms_norm, unit_length


@pytest.mark.parametrize("eps", [None, 1e-2])
def test_rms_norm_is_that_of_torch(eps: float | None) -> None:
    x, weight = torch.randn(4, 3, 6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    given = [x.requires_grad_(), weight.requires_grad_()]
    toward = torch.randn_like(x)
    both = rms_norm(x, weight, eps), F.rms_norm(x, (6,), weight, eps)
    found, wanted = ([y, *torch.autograd.grad(y, given, toward)] for y in both)
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_unit_vectors_have_gradients_of_any_order() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: unit_length(x, 0.1), x)
    assert torch.autograd.gradgradcheck(lambda x: unit_length(x, 0.1), x)
    assert_close(unit_length(x, 0.0), F.normalize(x, dim=-1))
    with torch.no_grad():
        assert_close(unit_length(x, 0.0), F.normalize(x, dim=-1))


@pytest.mark.parametrize("name", ["rms", "rms-plus-one"])
def test_norms_in_half_precision_are_torchs(name: str) -> None:
    """Whose sums are in single precision."""
    norm = make_norm(name, 6).to(torch.bfloat16)  # type: ignore[arg-type]
    x = torch.randn(2, 6, dtype=torch.bfloat16)
    assert torch.equal(norm(x), F.rms_norm(x, (6,), torch.ones(6, dtype=torch.bfloat16)))
