"""Pascanu's regulariser against explicit Jacobians, and finite differences of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seqmodels.batch import IGNORE, Batch
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import GRU, LSTM, RNN, MinGRU, MultiplicativeLSTM, RecurrentStack, Transformer
from seqmodels.nn.unrolling import unroll
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.regularizers import gradient_change

B, T, D, H = 2, 6, 3, 4
NETWORKS: dict[str, Any] = {
    "RNN-tanh": lambda: RNN(D, H),
    "RNN-relu": lambda: RNN(D, H, nonlinearity="relu"),
    "LSTM": lambda: LSTM(D, H),
    "GRU": lambda: GRU(D, H),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(D, H),
    "MinGRU": lambda: MinGRU(D, H, num_layers=1),
}


def lively(name: str, seed: int = 0) -> RecurrentStack:
    torch.manual_seed(seed)
    network: RecurrentStack = NETWORKS[name]().double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return network


def error_of(y: Tensor) -> Tensor:
    """Something to be learned, to which every output matters."""
    torch.manual_seed(1)
    return (torch.randn_like(y) * y.square()).sum()


def by_jacobians(network: RecurrentStack, x: Tensor, slope_fixed: bool = False) -> Tensor:
    """The definition, one row, one step and one derivative at a time.

    Deltas are found by running the rest of the sequence from each state; the Jacobian is that of the step alone. It
    depends on the weights only: states and deltas are plain numbers.
    """
    (cell,) = network.layers
    with torch.no_grad():
        _, layers = unroll(network, x)
    changes = []
    for row in range(len(x)):
        states = [tuple(tensor[row : row + 1] for tensor in state) for state in layers[0].states]

        def rest(*state: Tensor, t: int, row: int = row, states: Any = states) -> Tensor:
            """The error as a function of the state after step t."""
            outputs = [before[0] for before in states[:t]] + [state[0]]
            if t + 1 < T:
                outputs += network(x[row : row + 1, t + 1 :], (state,))[0].unbind(1)
            y = torch.cat([torch.zeros(row, T, H), torch.stack(outputs, 1), torch.zeros(B - row - 1, T, H)])
            return error_of(y)

        for t in range(T - 1):
            deltas = torch.autograd.functional.jacobian(
                lambda *s, t=t: rest(*s, t=t + 1), tuple(tensor.detach() for tensor in states[t + 1])
            )
            delta = torch.cat([d.flatten() for d in deltas])
            z, start = cell.project(x[row : row + 1, t + 1]).detach(), torch.cat(states[t], 1).flatten()

            def step(flat: Tensor, z: Tensor = z) -> Tensor:
                state = tuple(flat.view(1, -1).split(H, 1))
                return torch.cat(cell.advance(z, state, cell.weights()), 1).flatten()

            if slope_fixed:
                a = torch.nn.functional.linear(start, *cell.weights()) + z[0]
                slope = 1 - a.tanh().square() if network.nonlinearity == "tanh" else (a > 0).double()
                back = (delta * slope.detach()) @ cell.weights()[0]
            else:
                back = delta @ torch.autograd.functional.jacobian(step, start, create_graph=True)
            changes.append((back.norm() / delta.norm() - 1).square())
    return torch.stack(changes).mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_against_the_definition(name: str) -> None:
    network = lively(name)
    x = torch.randn(B, T, D, dtype=torch.float64)
    y, layers = unroll(network, x)
    found = gradient_change(error_of(y), layers)
    expected = by_jacobians(network, x, slope_fixed=name.startswith("RNN"))
    assert_close(found, expected.view(1))
    assert found > 0.01
    assert found.requires_grad == (name != "MinGRU")  # whose gates do not see the state: no weights to move
    if name == "MinGRU":
        return
    recurrent = [p for p in network.parameters() if p.requires_grad]
    ours = torch.autograd.grad(found.sum(), recurrent, allow_unused=True, materialize_grads=True)
    theirs = torch.autograd.grad(expected, recurrent, allow_unused=True, materialize_grads=True)
    for mine, other in zip(ours, theirs, strict=True):
        assert_close(mine, other)
    assert max(mine.abs().max() for mine in ours) > 1e-3


def test_a_map_that_keeps_lengths_costs_nothing() -> None:
    """A permutation and a slope of one: every gradient arrives as long as it left."""
    torch.manual_seed(0)
    network = RNN(D, H, nonlinearity="relu", recurrent_init="identity").double()
    with torch.no_grad():
        network.layers[0].kernel.bias_ih_l0 += 99.0  # type: ignore[union-attr,operator]  # nobody is below zero
        network.layers[0].kernel.weight_hh_l0.copy_(torch.eye(H).roll(1, 0))  # type: ignore[union-attr,operator]
    y, layers = unroll(network, torch.randn(B, T, D, dtype=torch.float64))
    assert gradient_change(y[:, -1].sum(), layers) < 1e-20
    with torch.no_grad():
        network.layers[0].kernel.weight_hh_l0 *= 1.1  # type: ignore[union-attr,operator]
    y, layers = unroll(network, torch.randn(B, T, D, dtype=torch.float64))
    found = gradient_change(y[:, -1].sum(), layers)
    assert_close(found, torch.tensor([0.01], dtype=torch.float64))


def test_where_no_gradient_arrives_nothing_is_asked() -> None:
    """Steps after the last that matters, and padding, are left out of the mean."""
    network = lively("RNN-tanh")
    x = torch.randn(B, T, D, dtype=torch.float64)
    y, layers = unroll(network, x)
    part = gradient_change(y[:, 3].square().sum(), layers)
    for gradient in torch.autograd.grad(part.sum(), list(network.parameters()), retain_graph=True, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()
    y, layers = unroll(network, x[:, :4])
    assert_close(part, gradient_change(y[:, 3].square().sum(), layers))
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    y, layers = unroll(network, x, mask=mask)
    both = gradient_change((y[0, 3].square() + y[1, 5].square()).sum(), layers, mask)
    alone = []
    for row, length in ((0, 4), (1, 6)):
        y, layers = unroll(network, x[row : row + 1, :length])
        alone.append(gradient_change(y[:, -1].square().sum(), layers) * (length - 1))
    assert_close(both, sum(alone) / 8)
    y, layers = unroll(network, x[:, :1])
    assert gradient_change(y.sum(), layers) == 0


TEXT = Tokenizer.char(["abcab"])


def test_setting_of_a_language_model() -> None:
    torch.manual_seed(0)
    model = LanguageModel(LSTM(D, H, num_layers=2), TEXT, omega=2.5).double()
    ids = torch.randint(4, 7, (B, T))
    batch = Batch(ids, ids.roll(-1, 1).masked_fill(torch.arange(T) == 2, IGNORE))
    objective, summed, penalty, state = model.losses(batch, None)
    _, end = model(batch)
    assert_close(state, end)
    y, layers = unroll(model.backbone, model.embedding(ids))
    nats = torch.nn.functional.cross_entropy(model.head(y).transpose(1, 2), batch.targets, reduction="sum")
    assert_close((objective, summed), (nats, nats))
    assert_close(penalty, 2.5 * gradient_change(nats, layers).sum())


def test_bad_settings() -> None:
    with pytest.raises(InputError, match="omega=-1 was given"):
        LanguageModel(RNN(D, H), TEXT, omega=-1)
    with pytest.raises(InputError, match="omega=2 was given with Transformer; it is for stacks of recurrent layers"):
        LanguageModel(Transformer(8, num_heads=2), TEXT, omega=2)
    with pytest.raises(InputError, match="leave out weight_dropout or omega"):
        LanguageModel(RNN(D, H, weight_dropout=0.1), TEXT, omega=2)
    with pytest.raises(InputError, match="Transformer is no stack of recurrent layers and cannot"):
        unroll(Transformer(8, num_heads=2), torch.zeros(1, 2, 8))


def test_a_run_with_it(text_file: Path, tmp_path: Path) -> None:
    from seqmodels import TextDataModule, fit

    text = TextDataModule(str(text_file), length=16, batch_size=4)
    model = LanguageModel(RNN(D, H), text.tokenizer, omega=2.0)
    folder = fit(model, text, max_steps=3, validations=1, runs=str(tmp_path))
    assert "omega: 2.0" in (folder / "config.yaml").read_text()
