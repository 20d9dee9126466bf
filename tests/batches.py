"""Batches of an epoch, and whether two are the same."""

import torch

from seqmodels.batch import Batch
from seqmodels.data import Batches


def epoch_of(batches: Batches, epoch: int = 0, start: int = 0) -> list[Batch]:
    return [batches[epoch, k] for k in range(start, len(batches))]


def same(found: list[Batch], wanted: list[Batch]) -> bool:
    return len(found) == len(wanted) and all(
        type(part) is type(other) and (part.equal(other) if isinstance(part, torch.Tensor) else part == other)
        for ours, theirs in zip(found, wanted, strict=True)
        for part, other in zip(ours, theirs, strict=True)
    )


def joined(parts: list[Batch]) -> Batch:
    """Batches of the ranks as the one that a single process reads."""
    first, masks = parts[0], [torch.ones_like(p.inputs, dtype=torch.bool) if p.mask is None else p.mask for p in parts]
    assert all(part[3:] == first[3:] for part in parts)
    mask = torch.cat(masks)
    rows = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "targets")}
    return first._replace(**rows, mask=None if mask.all() else mask)
