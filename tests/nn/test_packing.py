"""Products with one matrix again and again, in whatever layout they are computed."""

import pytest
import torch

from seqmodels.nn.packing import packs, product


@pytest.mark.parametrize(("dtype", "precision"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("rows", [1, 16])
def test_products_of_both_precisions(dtype: torch.dtype, precision: float, rows: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(1024, 256).to(dtype), torch.randn(rows, 256).to(dtype)
    found, wanted = product(weight, rows)(x), x.double() @ weight.double().mT
    assert found.dtype == dtype
    assert float((found.double() - wanted).norm() / wanted.norm()) < precision


def test_which_are_laid_out() -> None:
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        pytest.skip("this build of torch has no oneDNN")
    large = torch.zeros(512, 512)
    assert packs(large, 16)
    assert packs(large.bfloat16(), 16) == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    for other in (torch.zeros(8, 8), torch.zeros(8, 8).bfloat16(), large.double(), large.half()):
        assert not packs(other, 16)
    assert not packs(large, 1)
