"""The laws that every network keeps, in double precision.

1 chunk, 2 step, 3 causal, 4 reorder, 5 pad and 6 twin stand here; 7 shard in `training/test_shard.py`, 8 resume in
`training/test_resume.py`, 9 round trip in `checkpoints/test_load.py`.
"""

import pytest
import torch
from networks import NETWORKS
from torch import Tensor
from torch.testing import assert_close

from seqmodels.nn import Backbone, Cell
from seqmodels.state import map_state, select

B, T = 3, 9


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
    whole, end = network(x)
    pieces, state = [], None
    for piece in x.split([2, 1, 4, 2], 1):
        y, state = network(piece, state)
        pieces.append(y)
    assert_close(torch.cat(pieces, 1), whole)
    more = torch.randn_like(x)
    assert_close(network(more, state)[0], network(more, end)[0])


def test_step(network: Backbone, x: Tensor) -> None:
    whole, _ = network(x)
    state, steps = None, []
    for t in range(T):
        y, state = network(x[:, t : t + 1], state)
        steps.append(y)
    assert_close(torch.cat(steps, 1), whole)


def test_causal(network: Backbone, x: Tensor) -> None:
    whole, _ = network(x)
    for t in range(T - 1):
        changed = x.clone()
        changed[:, t + 1 :] += torch.randn_like(changed[:, t + 1 :])
        y, _ = network(changed)
        assert_close(y[:, : t + 1], whole[:, : t + 1], rtol=0, atol=1e-12)
        assert not torch.allclose(y[:, t + 1], whole[:, t + 1])  # and the change was seen


def test_reorder(network: Backbone, x: Tensor) -> None:
    rows = torch.tensor([2, 0, 2, 1])
    _, state = network(x)
    more = torch.randn_like(x)
    y, end = network(more, state)
    selected, selected_end = network(more[rows], select(state, rows))
    assert_close(selected, y[rows])
    map_state(lambda a, b: assert_close(a, b) or a, selected_end, select(end, rows))


@pytest.mark.parametrize("side", ["left", "right", "inside"])
def test_pad(network: Backbone, side: str) -> None:
    """Rows of 5, 0 and 2 positions padded to 7, twice in a row: as if each had been alone."""
    places = {"left": lambda n: range(7 - n, 7), "right": lambda n: range(n), "inside": lambda n: range(1, 2 * n, 2)}
    counts = [(3, 0, 2), (2, 3, 0)]
    alone: list[Tensor] = []
    parts = [[torch.randn(n, network.input_size, dtype=torch.float64) for n in chunk] for chunk in counts]
    for row in range(B):
        whole = torch.cat([parts[0][row], parts[1][row]])
        alone.append(network(whole[None])[0][0])
    state, together, inputs = None, [[], [], []], []  # type: ignore[var-annotated]
    for chunk, tensors in zip(counts, parts, strict=True):
        x = torch.full((B, 7, network.input_size), 9.0, dtype=torch.float64)
        mask = torch.zeros(B, 7, dtype=torch.bool)
        for row, n in enumerate(chunk):
            where = list(places[side](n))
            x[row, where], mask[row, where] = tensors[row], True
        x.requires_grad_()
        inputs.append((x, mask))
        y, state = network(x, state, mask=mask)
        assert (y[~mask] == 0).all()
        for row in range(B):
            together[row].append(y[row][mask[row]])
    joined = [torch.cat(row) for row in together]
    for row in range(B):
        assert_close(joined[row], alone[row])

    weights = [torch.randn_like(row) for row in alone]
    parameters = [p for p in network.parameters() if p.requires_grad]
    wanted = torch.autograd.grad(sum((a * w).sum() for a, w in zip(alone, weights, strict=True)), parameters)
    loss = sum((a * w).sum() for a, w in zip(joined, weights, strict=True))
    found = torch.autograd.grad(loss, parameters + [x for x, _ in inputs])
    for ours, theirs in zip(found, wanted, strict=False):
        assert_close(ours, theirs)
    for gradient, (_, mask) in zip(found[len(parameters) :], inputs, strict=True):
        assert (gradient[~mask] == 0).all()


def test_pad_then_go_on(network: Backbone, x: Tensor) -> None:
    """After left padding, single steps without a mask continue each row alone: how prompts are completed."""
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :4] = mask[1, :7] = False
    _, state = network(x, mask=mask)
    more = torch.randn(B, 1, network.input_size, dtype=torch.float64)
    for _ in range(3):
        y, state = network(more, state)
    for row in range(B):
        own = torch.cat([x[row][mask[row]], more[row], more[row], more[row]])
        assert_close(y[row, -1], network(own[None])[0][0, -1])


def fast_cells(network: Backbone) -> list[Cell]:
    """Cells that compute a sequence in another way than by their equation."""
    cells = [module for module in network.modules() if isinstance(module, Cell)]
    return [cell for cell in cells if type(cell).sequence is not Cell.sequence]


FAST = [name for name, make in NETWORKS.items() if fast_cells(make())]


@pytest.mark.parametrize("network", FAST, indirect=True)
@pytest.mark.parametrize("lengths", [None, [9, 0, 4]])
def test_twin(network: Backbone, lengths: list[int] | None) -> None:
    """The kernel or the scan against the cell's own equation, in values and in gradients."""
    counts = None if lengths is None else torch.tensor(lengths)
    for cell in fast_cells(network):
        x = torch.randn(B, T, cell.input_size, dtype=torch.float64, requires_grad=True)
        state = tuple(
            torch.randn(B, cell.hidden_size, dtype=torch.float64, requires_grad=True) for _ in range(cell.state_tensors)
        )
        real = torch.ones(B, T) if counts is None else (torch.arange(T) < counts[:, None])
        results = []
        for path in (cell.sequence, lambda *args, cell=cell: Cell.sequence(cell, *args)):
            y, end = path(x, state, counts)
            y = y * real.unsqueeze(-1)
            torch.manual_seed(1)
            loss = sum((torch.randn(tensor.shape, dtype=torch.float64) * tensor).sum() for tensor in (y, *end))
            results.append([y, *end, *torch.autograd.grad(loss, [x, *state, *cell.parameters()])])
        for fused, equation in zip(*results, strict=True):
            assert_close(fused, equation)
