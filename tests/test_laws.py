"""The laws that every network keeps, in double precision; `seqmodels.nn.laws` measures them.

1 chunk, 2 step, 3 causal, 4 reorder, 5 pad and 6 twin stand here; 7 shard in `training/test_shard.py`, 8 resume in
`training/test_resume.py`, 9 round trip in `checkpoints/test_load.py`.
"""

import pytest
import torch
from networks import NETWORKS
from torch import Tensor

from seqmodels.nn import Backbone, check_network, laws

B, T = laws.ROWS, laws.POSITIONS


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    net = NETWORKS[request.param]().double().eval()
    for parameter in net.parameters():  # away from zeros and special spectra, where mistakes could hide
        torch.nn.init.normal_(parameter, std=0.4)
    return net


@pytest.fixture
def x(network: Backbone) -> Tensor:
    return torch.randn(B, T, network.input_size, dtype=torch.float64)


def test_chunk(network: Backbone, x: Tensor) -> None:
    assert laws.chunk(network, x) < 1e-10


def test_step(network: Backbone, x: Tensor) -> None:
    assert laws.step(network, x) < 1e-10


def test_causal(network: Backbone, x: Tensor) -> None:
    assert laws.causal(network, x) < 1e-12
    assert laws.sees(network, x) == 0  # and the changes were seen


def test_reorder(network: Backbone, x: Tensor) -> None:
    assert laws.reorder(network, x) < 1e-10


@pytest.mark.parametrize("side", laws.SIDES)
def test_pad(network: Backbone, x: Tensor, side: str) -> None:
    """Rows of 5, 0 and 2 positions padded to 7, twice in a row: as if each had been alone."""
    assert laws.pad(network, x, side, list(network.parameters())) < 1e-10


def test_pad_then_go_on(network: Backbone, x: Tensor) -> None:
    """After left padding, single steps without a mask continue each row alone: how prompts are completed."""
    assert laws.pad_then_go_on(network, x) < 1e-10


FAST = [name for name, make in NETWORKS.items() if laws.fast_cells(make())]


@pytest.mark.parametrize("network", FAST, indirect=True)
@pytest.mark.parametrize("lengths", [None, [9, 0, 4]])
def test_twin(network: Backbone, lengths: list[int] | None) -> None:
    """The kernel or the scan against the cell's own equation, in values and in gradients."""
    for cell in laws.fast_cells(network):
        assert laws.twin(cell, lengths=lengths) < 1e-10


@pytest.mark.parametrize("name", NETWORKS)
def test_the_check_for_networks_of_ones_own(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    if network.max_length is None or network.max_length >= 2 * T:
        assert set(check_network(network)) >= {"state", "chunk", "step", "causal", "sees", "reorder", "pad"}
