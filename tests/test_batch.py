"""A batch as a whole."""

import torch

from seqmodels.batch import Batch


def whole() -> Batch:
    ids, mask = torch.arange(6).view(2, 3), torch.ones(2, 3, dtype=torch.bool)
    return Batch(ids, ids + 1, mask, continues=True, source=ids + 2, source_mask=mask)


def test_all_of_it_moves() -> None:
    batch = whole().to(torch.device("meta"))
    tensors = [part for part in batch if isinstance(part, torch.Tensor)]
    assert [part.device.type for part in tensors] == ["meta"] * 5
    assert (batch.continues, batch.continued) == (True, False)


def test_nothing_moves_where_it_is_there() -> None:
    batch = whole()
    assert batch.to(torch.device("cpu")) is batch


def test_every_tensor_is_mapped_and_nothing_else() -> None:
    batch = whole()._replace(mask=None).mapped(lambda part: part[:1])
    assert (batch.mask, batch.continues) == (None, True)
    assert [len(part) for part in (batch.inputs, batch.targets, batch.source, batch.source_mask)] == [1] * 4  # type: ignore[arg-type]
