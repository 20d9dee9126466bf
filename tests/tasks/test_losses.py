"""What a step minimises is the same, whether all logits are held or not."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqmodels.batch import IGNORE
from seqmodels.tasks import losses
from seqmodels.tasks.losses import scored, scored_logits


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("most", [0, 10**6])
def test_with_and_without_all_logits(monkeypatch: pytest.MonkeyPatch, smoothing: float, most: int) -> None:
    monkeypatch.setattr(losses, "LOGITS", most)
    torch.manual_seed(0)
    head, y = nn.Linear(4, 9).double(), torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, 8, IGNORE], [0, 3, 3]])
    inputs = (y, head.weight, head.bias)
    found, nats = scored(y, head, targets, smoothing)
    wanted, summed = scored_logits(head(y), targets, smoothing)
    assert_close((found, nats), (wanted, summed))
    assert_close(*(torch.autograd.grad(each, inputs) for each in (found, wanted)))
    assert bool(smoothing) is not torch.equal(found.detach(), nats.detach())
