"""Mixtures of a network, counts and a neural cache, against a loop over what was read."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from seqmodels import GRU, InputError, Mixture, NGram
from seqmodels.batch import BOS
from seqmodels.nn import laws
from seqmodels.state import State

V, CACHE = 12, 5


def mixture(cache: int = CACHE, counts: bool = True, **settings: float) -> Mixture:
    torch.manual_seed(0)
    grams = NGram(3)
    made = Mixture(GRU(6, 8), V, grams if counts else None, cache=cache, **settings).double().eval()
    if counts:
        grams.count(torch.tensor([BOS, *range(4, V), *range(4, V), 5, 7, 9, 11]))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    return made


@torch.no_grad()
def slow(made: Mixture, ids: list[int]) -> Tensor:
    """Probabilities (T, V) of one row, position by position."""
    x = torch.tensor(ids)[None]
    h, _ = made.network(made.embedding(x))
    model = made.head(h).softmax(-1)[0]
    assert made.counts is not None
    counted = made.counts(x.unsqueeze(-1))[0].exp()[0]
    a, b = made.weights
    rows = []
    for t in range(len(ids)):
        cached, share = torch.zeros(V).double(), b
        pairs = [(h[0, i], ids[i + 1]) for i in range(t)][-CACHE:]  # BOS is never first here
        alike = torch.stack([(made.cache_sharpness * h[0, t] @ key).exp() for key, _ in pairs]) if pairs else None
        if alike is None:
            share = 0.0
        else:
            for weight, (_, token) in zip(alike / alike.sum(), pairs, strict=True):
                cached[token] += weight
        rows.append((1 - a - share) * model[t] + a * counted[t] + share * cached)
    return torch.stack(rows)


def test_as_a_loop_mixes() -> None:
    made, ids = mixture(counts_weight=0.3, cache_weight=0.25, cache_sharpness=0.7), [4, 7, 5, 7, 9, 7, 5, 11, 10, 7, 5]
    logs, _ = made(torch.tensor(ids)[None, :, None])
    torch.testing.assert_close(logs[0].exp(), slow(made, ids))
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(1, len(ids)).double())


def tokens_in(network: Mixture) -> Callable[..., tuple[Tensor, State]]:
    def read(x: Tensor, state: State | None = None, *, mask: Tensor | None = None) -> tuple[Tensor, State]:
        return network(4 + (x * 1e6).long().remainder(V - 4), state, mask=mask)

    return read


@pytest.mark.parametrize(("cache", "counts"), [(CACHE, True), (0, True), (CACHE, False)])
def test_laws(cache: int, counts: bool) -> None:
    network = mixture(cache, counts)
    read, x = tokens_in(network), torch.randn(laws.ROWS, laws.POSITIONS, 1).double()
    with torch.no_grad():
        for law in (laws.chunk, laws.step, laws.causal, laws.reorder, laws.pad_then_go_on):
            assert law(read, x) < 1e-10
        inside = torch.tensor([[True, False, True, True, False, True, False, True, True]])
        y, state = read(x[:1], mask=inside)
        alone, wanted = read(x[:1][inside][None])
        torch.testing.assert_close(y[inside][None], alone)
        assert laws.state_deviation(state, wanted) < 1e-10


def test_it_learns() -> None:
    """Gradients are finite where the cache has not seen a token, and reach the network."""
    made = mixture()
    logs, _ = made(torch.tensor([[4, 5, 6, 4, 5]]).unsqueeze(-1))
    logs[0, :, 6].sum().backward()
    weights = [p for name, p in made.named_parameters() if not name.startswith("counts")]
    assert all(bool(p.grad is not None and p.grad.isfinite().all() and p.grad.any()) for p in weights)


def test_shares() -> None:
    for settings in ({"counts_weight": 0.7, "cache_weight": 0.3}, {"cache_weight": -0.1}):
        with pytest.raises(InputError, match="expected shares of at least 0"):
            mixture(**settings)
    with pytest.raises(InputError, match="cache=-1"):
        mixture(-1)
