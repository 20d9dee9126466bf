"""Spectra of new recurrent maps."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seqmodels import InputError
from seqmodels.analysis.spectra import cell_maps
from seqmodels.nn import GRU, LSTM, RNN, MinLSTM, MultiplicativeLSTM, RecurrentStack
from seqmodels.nn.initialization import initialize_map

H = 64


def new(how: str) -> Tensor:
    torch.manual_seed(0)
    weight = torch.full((H, H), torch.nan)
    initialize_map(weight, how)  # type: ignore[arg-type]
    return weight.double()


def test_orthogonal_and_identity() -> None:
    assert_close(torch.linalg.svdvals(new("orthogonal")), torch.ones(H).double(), atol=1e-5, rtol=0)
    assert_close(new("identity"), torch.eye(H).double())


def test_np_rnn() -> None:
    """The largest eigenvalue is 1, all others are positive and below, and the map is symmetric."""
    weight = new("np-rnn")
    assert_close(weight, weight.T)
    values = torch.linalg.eigvalsh(weight)
    assert_close(values[-1], torch.tensor(1.0).double(), atol=1e-6, rtol=0)
    assert (values[:-1] < 1 - 1e-3).all()
    assert (values > 0).all()


def test_sparse() -> None:
    """Fifteen weights to each unit, and the spectral radius that was published."""
    weight = new("sparse")
    assert ((weight != 0).sum(1) == 15).all()
    assert_close(torch.linalg.eigvals(weight).abs().max(), torch.tensor(0.95).double(), atol=1e-5, rtol=0)


def test_glorot_and_uniform() -> None:
    glorot, uniform = new("glorot"), new("uniform")
    assert_close(glorot.var(), torch.tensor(1 / H).double(), rtol=0.1, atol=0)
    assert glorot.abs().max() <= (6 / (2 * H)) ** 0.5
    assert_close(uniform.var(), torch.tensor(1 / (3 * H)).double(), rtol=0.1, atol=0)
    assert uniform.abs().max() <= H**-0.5
    # A random map of independent entries has its eigenvalues in a disc of this radius (Girko's circular law).
    assert_close(torch.linalg.eigvals(glorot).abs().max(), torch.tensor(1.0).double(), rtol=0.25, atol=0)


@pytest.mark.parametrize("network", [RNN, LSTM, GRU, MultiplicativeLSTM])
def test_every_map_of_every_gate(network: type[RecurrentStack]) -> None:
    for cell in network(5, 8, num_layers=2, recurrent_init="identity").layers:
        maps = list(cell_maps(cell).values())
        assert len(maps) == {RNN: 1, LSTM: 4, GRU: 3, MultiplicativeLSTM: 5}[network]
        for block in maps:
            assert_close(block, torch.eye(8))


def test_forget_gate_starts_open() -> None:
    bias = LSTM(5, 8, forget_bias=3.0).layers[0].kernel.bias_ih_l0
    assert_close(bias, torch.tensor([0.0] * 8 + [3.0] * 8 + [0.0] * 16))
    assert (LSTM(5, 8).layers[0].kernel.bias_ih_l0[8:16] == 1).all()
    assert (MultiplicativeLSTM(5, 8).layers[0].from_input.bias[8:16] == 1).all()
    assert (MinLSTM(5, 8).layers[0].from_input.bias[:8] == 1).all()


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="choose one of orthogonal, identity, np-rnn, sparse, glorot, uniform"):
        RNN(5, 8, recurrent_init="orthonormal")  # type: ignore[arg-type]
