"""What networks show of themselves is what they compute with."""

import pytest
import torch
from networks import NETWORKS
from torch import Tensor
from torch.testing import assert_close

from seqmodels.nn import GRU, LSTM, Attentive, Backbone, Bidirectional, Hybrid, MinGRU, Transformer
from seqmodels.nn.attention_decoder import aligned
from seqmodels.nn.unrolling import unroll

B, T = 3, 9
EVERY = {**NETWORKS, "Bidirectional": lambda: Bidirectional(LSTM(6, 8))}


def lively(network: Backbone) -> Backbone:
    torch.manual_seed(0)
    network = network.double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network


@pytest.fixture(params=EVERY)
def network(request: pytest.FixtureRequest) -> Backbone:
    return lively(EVERY[request.param]())


def inputs(network: Backbone) -> tuple[Tensor, Tensor]:
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :3] = mask[1, 6:] = mask[2, 2] = False
    return torch.randn(B, T, network.input_size, dtype=torch.float64), mask


@pytest.mark.parametrize("padded", [False, True])
def test_outputs_and_state_are_those_of_the_plain_call(network: Backbone, padded: bool) -> None:
    x, real = inputs(network)
    mask = real if padded else None
    y, state = network(x, mask=mask)
    traced, end, trace = network.traced(x, mask=mask)
    assert_close(traced, y)
    if network.causal:
        more = torch.randn_like(x)
        assert_close(network.traced(more, end)[0], network(more, state)[0])
    assert trace.units
    for name, values in trace.units.items():
        assert values.shape[:2] == (B, T), name
        assert padded is False or (values[~real] == 0).all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("network", NETWORKS, indirect=True)
def test_units_are_what_there_is_after_reading_so_far(network: Backbone, padded: bool) -> None:
    """Of a prefix read by itself, the last are those of the whole; and attention is that to what was there."""
    x, real = inputs(network)
    mask = real if padded else None
    trace = network.traced(x, mask=mask)[2]
    for t in (0, 1, 5, T - 1):
        part = network.traced(x[:, : t + 1], mask=None if mask is None else mask[:, : t + 1])[2]
        for mine, whole in ((part.units, trace.units), (part.gates, trace.gates)):
            assert mine.keys() == whole.keys()
            for name, values in mine.items():
                assert_close(values[:, t], whole[name][:, t])
        for name, weights in part.attention.items():
            whole_weights = trace.attention[name][:, :, : t + 1, : t + 1]
            queries = slice(None) if mask is None else mask[:, : t + 1]  # padding sees itself, and nobody looks
            assert_close(weights.transpose(1, 2)[queries], whole_weights.transpose(1, 2)[queries])


def test_states_of_recurrent_layers() -> None:
    network = lively(LSTM(6, 8, num_layers=2))
    x, _ = inputs(network)
    _, _, trace = network.traced(x)
    assert list(trace.units) == ["1.h", "1.c", "2.h", "2.c"]
    ends = [tensor for layer in network(x)[1] for tensor in layer]  # type: ignore[union-attr]
    for values, end in zip(trace.units.values(), ends, strict=True):
        assert_close(values[:, -1], end)
    assert_close(trace.units["2.h"], network(x)[0])


def test_gates_explain_the_states() -> None:
    """Of each gated cell: what its equation makes of gates and states is the next state."""
    lstm = lively(LSTM(6, 8))
    x, _ = inputs(lstm)
    trace = lstm.traced(x)[2]
    assert list(trace.gates) == ["1.i", "1.f", "1.o"]
    assert trace.highways == ["1.f"]
    h, c = trace.units["1.h"], trace.units["1.c"]
    i, f, o = trace.gates.values()
    assert_close(h, o * c.tanh())
    g = (c[:, 1:] - f[:, 1:] * c[:, :-1]) / i[:, 1:]  # between -1 and 1, as a hyperbolic tangent is
    assert 0.5 < g.abs().max() < 1
    gru = lively(GRU(6, 8))
    trace = gru.traced(x)[2]
    assert (list(trace.gates), trace.highways) == (["1.r", "1.z"], ["1.z"])
    h, z = trace.units["1.h"], trace.gates["1.z"]
    n = (h[:, 1:] - z[:, 1:] * h[:, :-1]) / (1 - z[:, 1:])
    assert 0.5 < n.abs().max() < 1
    minimal = lively(MinGRU(6, 8, num_layers=1))
    trace = minimal.traced(x)[2]
    _, n = minimal.layers[0].project(x).chunk(2, -1)  # type: ignore[operator]
    a, h = trace.gates["1.a"], trace.units["1.h"]
    assert_close(h[:, 1:], a[:, 1:] * h[:, :-1] + (1 - a[:, 1:]) * n[:, 1:])


@pytest.mark.parametrize("context", [4, 64])
def test_attention_explains_the_layer(context: int) -> None:
    """The values under the weights, of one head and with grouped keys, are what the layer adds to the stream."""
    network = lively(Transformer(8, num_layers=1, num_heads=4, num_kv_heads=2, context=context))
    x, _ = inputs(network)
    trace = network.traced(x)[2]
    weights = trace.attention["1"]
    assert weights.shape == (B, 4, T, T)
    assert_close(weights.sum(-1), torch.ones(B, 4, T, dtype=torch.float64))
    distance = torch.arange(T)[:, None] - torch.arange(T)
    seen = (distance >= 0) & (distance < context)
    assert (weights[:, :, ~seen] == 0).all()
    assert (weights[:, :, seen] > 0).all()
    block = network.blocks[0]
    projected = block.mixer.project(block.norm_mixer(x)).view(B, T, -1, 2).transpose(1, 2)  # type: ignore[union-attr,operator]
    values = projected[:, 6:].repeat_interleave(2, 1)
    stream = x + block.mixer.out((weights @ values).transpose(1, 2).reshape(B, T, 8))  # type: ignore[union-attr,operator]
    stream = stream + block.feed_forward(block.norm_feed_forward(stream))  # type: ignore[operator]
    assert_close(trace.units["1"], stream)


def test_names_in_a_network_of_mixed_layers() -> None:
    network = lively(Hybrid(8, "MinGRU,LSTM,attention", num_heads=2))
    trace = network.traced(torch.randn(B, T, 8, dtype=torch.float64))[2]
    assert list(trace.units) == ["1.h", "1", "2.h", "2.c", "2", "3"]
    assert list(trace.gates) == ["1.a", "2.i", "2.f", "2.o"]
    assert trace.highways == ["1.a", "2.f"]
    assert list(trace.attention) == ["3"]


def test_both_ways_in_the_order_of_the_text() -> None:
    network = Bidirectional(LSTM(6, 8)).double().eval()
    x, _ = inputs(network)
    trace = network.traced(x)[2]
    assert_close(torch.cat((trace.units["1.h"], trace.units["backward 1.h"]), -1), network(x)[0])


@pytest.mark.parametrize("attention", ["none", "additive", "dot", "general"])
@pytest.mark.parametrize("feeding", [False, True])
def test_decoders_show_their_network_and_their_alignment(attention: str, feeding: bool) -> None:
    network = lively(Attentive(LSTM(6, 8), 8, attention, feeding))  # type: ignore[arg-type]
    x, mask = inputs(network)
    source, real = torch.randn(B, 5, 8, dtype=torch.float64), torch.ones(B, 5, dtype=torch.bool)
    real[1, 3:] = False
    memory = network.remember(source, real, source[:, 0])
    y, state = network(x, mask=mask, memory=memory)
    traced, end, trace = network.traced(x, mask=mask, memory=memory)
    assert_close(traced, y)
    assert_close(network(x, end, memory=memory)[0], network(x, state, memory=memory)[0])
    assert list(trace.units) == ["1.h", "1.c"]
    assert trace.units["1.h"].shape == (B, T, 8)
    cross = network.traced(x, memory=memory)[2].cross
    weights = aligned(network, x, memory=memory)[2]
    assert cross.keys() == ({"alignment"} if weights is not None else set())
    assert (weights is None) == (attention == "none")
    if weights is not None:
        assert_close(cross["alignment"][:, 0], weights)


def test_cross_attention_of_beams() -> None:
    """Rows that share a memory show what each would show with one of its own."""
    network = lively(Transformer(8, num_layers=2, num_heads=2, memory_size=6))
    x = torch.randn(4, T, 8, dtype=torch.float64)
    source, real = torch.randn(2, 5, 6, dtype=torch.float64), torch.ones(2, 5, dtype=torch.bool)
    real[1, 3:] = False
    shared = network.traced(x, memory=network.remember(source, real, source[:, 0]))[2]
    twice, their = source.repeat_interleave(2, 0), real.repeat_interleave(2, 0)
    alone = network.traced(x, memory=network.remember(twice, their, twice[:, 0]))[2]
    assert shared.cross.keys() == {"1", "2"}
    for name, weights in shared.cross.items():
        assert weights.shape == (4, 2, T, 5)
        assert_close(weights, alone.cross[name])
        assert_close(weights.sum(-1), torch.ones(4, 2, T, dtype=torch.float64))
        assert (weights[2:, :, :, 3:] == 0).all()


def test_unrolled_states_are_on_the_way_of_the_gradient() -> None:
    network = lively(LSTM(6, 8, num_layers=2))
    x, _ = inputs(network)
    x.requires_grad_()
    y, layers = unroll(network, x)
    (gradient,) = torch.autograd.grad(y[:, -1].sum(), [layers[0].states[2][1]], retain_graph=True)
    assert gradient.abs().sum() > 0
    assert_close(torch.autograd.grad(y[:, -1].sum(), x), torch.autograd.grad(network(x)[0][:, -1].sum(), x))
