"""A model as it is used, in the midst of training."""

from torch import nn

from seqmodels.nn.dropout import evaluating


def test_every_part_goes_back_to_its_own_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    model[1].eval()
    modes = [part.training for part in model.modules()]
    with evaluating(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == modes == [True, True, False, False]
