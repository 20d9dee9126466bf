"""Weights of other programs are mapped from their file, which stays as it is, and trained as those of a checkpoint."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seqmodels.interop.families.shards import WEIGHTS, Shards
from seqmodels.nn.packing import ALIGNMENT, lay_out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_below_zeros(dtype: torch.dtype, tmp_path: Path) -> None:
    """Zeros lie over what the file has before a table, or where it has too little, all is copied."""
    first, table = torch.randn(6, 3).to(dtype), torch.randn(5, 3).to(dtype)
    save_file({"a": first, "b": table}, tmp_path / WEIGHTS)
    before = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()
    shards = Shards(tmp_path)
    for name, rows, below in (("b", table, 2), ("b", table, 200), ("a", first, 4), ("b", table, 0)):
        count = len(rows) - 1  # the last one is left out
        found = shards.read_rows(name, [below + count, 3], below)
        assert torch.equal(found[:below], torch.zeros(below, 3))
        assert torch.equal(found[below:], rows[:count].float())
        found.fill_(7.0)
    again = Shards(tmp_path)
    assert torch.equal(again.read("a"), first.float())
    assert torch.equal(again.read("b"), table.float())
    assert hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest() == before


def test_a_table_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """Two models of one file share its pages; only the rows above are written."""
    save_file({"a": torch.zeros(64, 64), "b": torch.randn(64, 64)}, tmp_path / WEIGHTS)
    shards = Shards(tmp_path)
    whole, below = shards.read("b"), shards.read_rows("b", [68, 64], 4)
    places = [tensor.data_ptr() % 4096 for tensor in (whole, below[4:])]
    assert places[0] == places[1]  # each at its place in a page of the file
    assert torch.equal(whole, below[4:])


def test_weights_are_laid_out_as_torch_makes_them() -> None:
    layer = nn.Linear(24, 24)
    room = torch.zeros(24 * 24 + 16)
    room = room[-(room.data_ptr() // 4) % 16 + 1 :]  # begins one number behind a multiple of 64 bytes
    transposed, apart = room[: 24 * 24].view(24, 24).normal_(), layer.bias
    layer.weight = nn.Parameter(transposed.mT)
    expected, same = layer.weight.detach().clone(), layer.weight
    lay_out(layer)
    assert layer.weight is same  # an optimizer has it already
    assert layer.weight.is_contiguous()
    assert layer.weight.data_ptr() % ALIGNMENT == 0
    assert torch.equal(layer.weight, expected)
    assert layer.bias is apart
