"""Gradients by distance are those of explicit Jacobians, and measuring them leaves no trace in a training."""

import pytest
import torch
from networks import NETWORKS
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels import LanguageModel, Tokenizer
from seqmodels.batch import IGNORE, Batch
from seqmodels.diagnostics.horizon import gradient_norms

B, T = 3, 9
TOKENIZER = Tokenizer.char("abcdefgh")


def model(name: str) -> LanguageModel:
    torch.manual_seed(0)
    task = LanguageModel(NETWORKS[name](), TOKENIZER, dropout=0.5).double()
    for parameter in task.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return task


def batch(padded: bool) -> Batch:
    """Some targets do not count; where it is padded, at the front, at the end and inside."""
    torch.manual_seed(1)
    inputs = torch.randint(4, TOKENIZER.vocab_size, (B, T))
    targets = torch.randint(4, TOKENIZER.vocab_size, (B, T))
    targets[0, 3] = targets[2, 8] = IGNORE
    if not padded:
        return Batch(inputs, targets, continues=True, goes_on=True)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :3] = mask[1, 6:] = mask[2, 2] = False
    return Batch(inputs, targets.where(mask, IGNORE), mask)


def losses(task: LanguageModel, given: Batch, x: Tensor) -> Tensor:
    """Of every position, (B, T), zero where nothing counts."""
    y, _ = task.backbone(x, mask=given.mask)
    return F.cross_entropy(task.head(y).transpose(1, 2), given.targets, reduction="none", ignore_index=IGNORE)


def by_distance(jacobians: Tensor, given: Batch) -> Tensor:
    """Mean norm of dL_t/dx_s by how many real positions lie between, from (B, T, B, S, D)."""
    sums, counts = [0.0] * T, [0] * T
    for row in range(B):
        real = list(range(T)) if given.mask is None else [t for t in range(T) if given.mask[row, t]]
        for at, t in enumerate(real):
            if given.targets[row, t] == IGNORE:
                continue
            for before, s in enumerate(real[: at + 1]):
                sums[at - before] += float(jacobians[row, t, row, s].norm())
                counts[at - before] += 1
    return torch.tensor([s / n for s, n in zip(sums, counts, strict=True) if n], dtype=torch.float64)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_norms_are_those_of_jacobians(name: str, padded: bool) -> None:
    task, given = model(name), batch(padded)
    x = task.embedding(given.inputs).detach()
    wanted = by_distance(jacobian(lambda x: losses(task.eval(), given, x), x), given)
    task.train()
    assert_close(gradient_norms(task, given), {"x": wanted})
    assert len(wanted) > 5
    assert task.training
    assert task.backbone.training
    assert all(parameter.grad is None for parameter in task.parameters())
