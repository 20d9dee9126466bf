"""An ensemble computes what each network computes alone."""

import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused
from torch import Tensor
from torch.testing import assert_close

from seqmodels.experiments.ensemble import Ensemble
from seqmodels.nn import RecurrentStack
from seqmodels.nn.unrolling import unroll
from seqmodels.tasks.regularizers import gradient_change

N, B, T = 3, 2, 7
RECURRENT = [name for name, make in NETWORKS.items() if isinstance(make(), RecurrentStack)]


def made(name: str) -> tuple[list[RecurrentStack], Ensemble, Tensor]:
    """Networks with large weights, their ensemble, and inputs for it."""
    torch.manual_seed(0)
    nets = [NETWORKS[name]().double() for _ in range(N)]
    for parameter in (parameter for net in nets for parameter in net.parameters()):
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(N * B, T, nets[0].input_size, dtype=torch.float64)
    return nets, Ensemble(nets), x  # type: ignore[return-value,arg-type]


def gradients(loss: Tensor, nets: list[RecurrentStack]) -> list[Tensor]:
    parameters = [p for net in nets for p in net.parameters()]
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_each_is_as_if_alone(name: str, padded: bool) -> None:
    nets, together, x = made(name)
    mask = torch.rand(N * B, T) > 0.3 if padded else None
    parts = [None] * N if mask is None else list(mask.chunk(N))
    alone = [net(part, mask=m)[0] for net, part, m in zip(nets, x.chunk(N), parts, strict=True)]
    y, state = together(x, mask=mask)
    assert_close(y, torch.cat(alone))
    weights = torch.randn_like(y)
    assert_close(gradients((y * weights).sum(), nets), gradients((torch.cat(alone) * weights).sum(), nets))
    more = torch.randn_like(x)
    ends = [net(part, mask=m)[1] for net, part, m in zip(nets, x.chunk(N), parts, strict=True)]
    later = [net(part, end)[0] for net, part, end in zip(nets, more.chunk(N), ends, strict=True)]
    assert_close(together(more, state)[0], torch.cat(later))
    assert len(list(together.parameters())) == sum(len(list(net.parameters())) for net in nets)


@pytest.mark.parametrize("name", RECURRENT)
def test_penalties_are_those_of_each(name: str) -> None:
    nets, together, x = made(name)
    y, layers = unroll(together, x)
    found = gradient_change(y[:, -1].sum(), layers, groups=N)
    single = []
    for net, part in zip(nets, x.chunk(N), strict=True):
        y, layers = unroll(net, part)
        single.append(gradient_change(y[:, -1].sum(), layers))
    assert_close(found, torch.cat(single))
    if found.requires_grad:
        assert_close(gradients(found.sum(), nets), gradients(torch.cat(single).sum(), nets))


def test_what_does_not_go_together() -> None:
    assert_refused("same class and sizes", Ensemble, [NETWORKS["LSTM"](), NETWORKS["GRU"]()])
    assert_refused("cannot divide 4 rows", made("LSTM")[1], torch.zeros(4, T, 6, dtype=torch.float64))


@pytest.mark.parametrize("name", ["RNN-tanh", "RNN-relu", "LSTM-2-learned-start"])
def test_the_fused_layers_are_the_same(name: str) -> None:
    """In outputs, gradients, gradients of states, and the penalty."""
    nets, together, x = made(name)
    start = tuple(tuple(torch.randn_like(part) for part in layer) for layer in together.initial_state(N * B))
    found = []
    for fused in (False, True):
        y, layers = unroll(together, x, start, fused=fused)
        torch.manual_seed(1)
        error = (torch.randn(y.shape, dtype=torch.float64) * y.square()).sum()
        deltas = [tensor for layer in layers for tensor in layer.deltas(error)]
        penalty = gradient_change(error, layers, groups=N)
        found.append([y, *deltas, penalty, *gradients(error + penalty.sum(), nets)])
    assert_close(found[1], found[0])
