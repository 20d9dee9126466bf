"""How attention is computed where a CPU trains in bfloat16."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.nn.attention import attend


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
