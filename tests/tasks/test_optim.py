"""Optimizers against their definitions, and the schedule."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from seqmodels.nn import LSTM
from seqmodels.tasks.optim import Muon, Schedule, Together, learning_rate_factor, make_optimizer, orthogonalized


def test_orthogonalized_keeps_the_singular_vectors() -> None:
    """Against the singular value decomposition: U V^T, each singular value about 1."""
    torch.manual_seed(0)
    for shape in ((3, 16, 16), (2, 24, 8), (2, 8, 24)):
        matrices = torch.randn(shape)
        u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
        values = (u.mT @ orthogonalized(matrices, 6).float() @ vt.mT).diagonal(dim1=1, dim2=2)
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_muon_is_torchs_on_single_maps() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(12, 8, bias=False), nn.Linear(12, 8, bias=False)
    theirs.load_state_dict(ours.state_dict())
    muon = Muon([{"params": [ours.weight]}], lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon(
        theirs.parameters(), lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", ns_steps=3
    )
    for _ in range(3):
        x = torch.randn(5, 12)
        for layer, optimizer in ((ours, muon), (theirs, reference)):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    assert_close(ours.weight, theirs.weight, rtol=0.02, atol=2e-3)  # theirs always in bfloat16


def test_muon_treats_stacked_maps_each_by_itself() -> None:
    torch.manual_seed(0)
    whole = nn.Parameter(torch.randn(12, 4))
    parts = [nn.Parameter(part.clone()) for part in whole.detach().chunk(3)]
    gradient = torch.randn(12, 4)
    whole.grad = gradient.clone()
    for part, g in zip(parts, gradient.chunk(3), strict=True):
        part.grad = g.clone()
    Muon([{"params": [whole], "maps": 3}]).step()
    Muon([{"params": parts}]).step()
    assert_close(whole, torch.cat(parts))


def test_gates_are_stacked_maps() -> None:
    net = LSTM(4, 6, learn_initial_state=True)
    optimizer = make_optimizer(net, net, name="muon", lr=1e-3, weight_decay=0.1, beta2=0.99, fused=True)
    assert isinstance(optimizer, Together)
    muon, adamw = optimizer.parts
    assert [(group["maps"], len(group["params"])) for group in muon.param_groups] == [(4, 2)]
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.0]  # only vectors are left


def test_adamw_decays_matrices_alone() -> None:
    net = LSTM(4, 6, learn_initial_state=True)
    optimizer = make_optimizer(net, net, name="adamw", lr=1e-3, weight_decay=0.1, beta2=0.99, fused=True)
    decays = {p.ndim: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {2: 0.1, 1: 0.0}


def test_schedule_rises_and_falls() -> None:
    points: dict[Schedule, dict[float, float]] = {
        "cosine": {0.0: 0.01, 0.05: 0.5, 0.1: 1, 0.55: 0.5, 1.0: 0, 1.7: 0},
        "linear": {0.3: 1 - 0.2 / 0.9, 1.0: 0},
        "constant": {0.05: 0.5, 0.9: 1},
        "inverse-sqrt": {0.1: 1, 0.4: 0.5},
    }
    for schedule, factors in points.items():
        for fraction, factor in factors.items():
            assert learning_rate_factor(fraction, 0.1, schedule) == pytest.approx(factor)
    assert learning_rate_factor(0.0, 0.0) == 1


def test_sgd_is_plain() -> None:
    net = LSTM(4, 6)
    optimizer = make_optimizer(net, net, name="sgd", lr=0.5, weight_decay=0.0, beta2=0.99, fused=True)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(torch.randn(2, 3, 4))[0].square().sum().backward()
    optimizer.step()
    for name, p in net.named_parameters():
        assert_close(p, before[name] - 0.5 * p.grad)


def test_adafactor_keeps_next_to_nothing() -> None:
    """Of matrices, a number for each row and column; the first step is that of the paper, of unit root mean square."""
    torch.manual_seed(0)
    net = LSTM(40, 40, learn_initial_state=True)
    optimizer = make_optimizer(net, net, name="adafactor", lr=0.01, weight_decay=0.0, beta2=0.99, fused=True)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(torch.randn(2, 3, 40))[0].square().sum().backward()
    optimizer.step()
    kept = sum(value.numel() for state in optimizer.state.values() for value in state.values() if value.numel() > 1)
    matrices = [p for p in net.parameters() if p.ndim == 2]
    assert kept == sum(p.numel() if p.ndim == 1 else sum(p.shape) for p in net.parameters())
    assert kept < 0.1 * sum(p.numel() for p in net.parameters())
    for name, p in net.named_parameters():
        if any(p is one for one in matrices):
            squares = p.grad.square()
            factored = squares.mean(1, keepdim=True) * squares.mean(0, keepdim=True) / squares.mean()
            update = p.grad / factored.sqrt()
            update /= max(1.0, update.square().mean().sqrt())
            assert_close(p, before[name] - 0.01 * before[name].square().mean().sqrt() * update)
