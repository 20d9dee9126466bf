"""Dropout with one mask for all positions."""

import torch
from torch.testing import assert_close

from seqmodels.nn.dropout import variational_dropout


def test_same_features_at_every_position() -> None:
    torch.manual_seed(0)
    x = torch.rand(40, 6, 50) + 1
    y = variational_dropout(x, 0.3, training=True)
    dropped = y == 0
    assert (dropped == dropped[:, :1]).all()
    assert not (dropped[0] == dropped[1]).all()
    assert_close(dropped.float().mean(), torch.tensor(0.3), rtol=0, atol=0.04)
    assert_close(y[~dropped], x[~dropped] / 0.7)


def test_nothing_outside_of_training() -> None:
    x = torch.rand(2, 3, 4)
    assert variational_dropout(x, 0.5, training=False) is x
    assert variational_dropout(x, 0.0, training=True) is x
