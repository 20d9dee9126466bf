"""The laws of networks that attend to a memory, and of those that look both ways, in double precision."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from seqmodels.errors import InputError
from seqmodels.nn import GRU, LSTM, RNN, Attentive, Backbone, Bidirectional, Hybrid, MinGRU, Transformer
from seqmodels.nn.attention_decoder import Alignment, aligned
from seqmodels.nn.trace import Trace
from seqmodels.state import State, repeat, select

B, T, S, M = 3, 6, 5, 8

DECODERS = {
    "none": lambda: Attentive(LSTM(6, 8, num_layers=2), M, "none"),
    "none-at-each-step": lambda: Attentive(GRU(6, 8), M, "none", input_feeding=True),
    "mean": lambda: Attentive(RNN(6, 8), M, "mean"),
    "mean-at-each-step": lambda: Attentive(Transformer(6, 1, 1, context=64), M, "mean", input_feeding=True),
    "additive": lambda: Attentive(GRU(6, 8), M, "additive"),
    "additive-LSTM-learned-start": lambda: Attentive(LSTM(6, 8, learn_initial_state=True), M, "additive"),
    "dot": lambda: Attentive(MinGRU(6, 8), M, "dot"),
    "dot-fed": lambda: Attentive(LSTM(6, 8), M, "dot", input_feeding=True),
    "general": lambda: Attentive(GRU(6, 4), M, "general"),
    "general-fed": lambda: Attentive(GRU(6, 4), M, "general", input_feeding=True),
    "general-Transformer": lambda: Attentive(Transformer(6, 1, 1, context=64), M, "general"),
    "Transformer": lambda: Transformer(6, 2, 3, context=64, memory_size=M),
    "Transformer-learned": lambda: Transformer(6, 2, 1, context=64, positions="learned", memory_size=M),
    "Hybrid": lambda: Hybrid(6, "GRU,attention", 3, context=64, memory_size=M),
}

READERS = {
    "Bidirectional-LSTM": lambda: Bidirectional(LSTM(6, 4, num_layers=2)),
    "Bidirectional-Transformer": lambda: Bidirectional(Transformer(6, 1, 3, context=4)),
    "Transformer": lambda: Transformer(6, 2, 3, context=64, causal=False),
    "Transformer-narrow-context": lambda: Transformer(6, 2, 3, context=3, causal=False),
    "Transformer-learned": lambda: Transformer(6, 2, 3, context=64, causal=False, positions="learned"),
}


def ready(network: Backbone) -> Backbone:
    network = network.double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return ready(DECODERS[request.param]())


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return ready(READERS[request.param]())


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def memory_of(decoder: Backbone, source: Tensor, mask: Tensor | None = None) -> State:
    real = torch.ones(source.shape[:2], dtype=torch.bool) if mask is None else mask
    return decoder.remember(source, real, (source * real.unsqueeze(-1)).amax(1))


def test_chunk_and_step(decoder: Backbone) -> None:
    x, memory = randn(B, T, 6), memory_of(decoder, randn(B, S, M))
    whole, _ = decoder(x, memory=memory)
    for sizes in ([2, 1, 3], [1] * T):
        state, pieces = None, []
        for piece in x.split(sizes, 1):
            y, state = decoder(piece, state, memory=memory)
            pieces.append(y)
        assert_close(torch.cat(pieces, 1), whole)


def test_causal(decoder: Backbone) -> None:
    x, memory = randn(B, T, 6), memory_of(decoder, randn(B, S, M))
    whole, _ = decoder(x, memory=memory)
    for t in range(T - 1):
        changed = x.clone()
        changed[:, t + 1 :] += randn(B, T - t - 1, 6)
        y, _ = decoder(changed, memory=memory)
        assert_close(y[:, : t + 1], whole[:, : t + 1], rtol=0, atol=1e-12)
        assert not torch.allclose(y[:, t + 1], whole[:, t + 1])


def test_the_memory_is_seen(decoder: Backbone) -> None:
    x, source = randn(B, T, 6), randn(B, S, M)
    assert not torch.allclose(
        decoder(x, memory=memory_of(decoder, source))[0], decoder(x, memory=memory_of(decoder, source + 1))[0]
    )


def test_reorder(decoder: Backbone) -> None:
    rows = torch.tensor([2, 0, 2, 1])
    memory = memory_of(decoder, randn(B, S, M))
    _, state = decoder(randn(B, T, 6), memory=memory)
    more = randn(B, 2, 6)
    y, _ = decoder(more, state, memory=memory)
    selected, _ = decoder(more[rows], select(state, rows), memory=select(memory, rows))
    assert_close(selected, y[rows])


def test_rows_share_a_memory(decoder: Backbone) -> None:
    """Four rows for each row of the memory, side by side, as if each had a memory of its own."""
    source = randn(B, S, M)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).bool()
    memory = memory_of(decoder, source, mask)
    x = randn(4 * B, T, 6)
    shared, state = decoder(x, memory=memory)
    alone, _ = decoder(x, memory=repeat(memory, 4))
    assert_close(shared, alone)
    more = randn(4 * B, 1, 6)
    assert_close(decoder(more, state, memory=memory)[0], decoder(more, state, memory=repeat(memory, 4))[0])


def test_padding_of_the_source_changes_nothing(decoder: Backbone) -> None:
    """Values and gradients are those of each source alone."""
    x = randn(B, T, 6)
    sources = [randn(1, n, M).requires_grad_() for n in (5, 2, 3)]
    weights = randn(B, T, decoder.output_size)
    together = torch.full((B, S + 1, M), 7.0, dtype=torch.float64)
    mask = torch.zeros(B, S + 1, dtype=torch.bool)
    for row, (source, first) in enumerate(zip(sources, (1, 0, 2), strict=True)):
        places = slice(first, first + source.shape[1])
        together[row, places], mask[row, places] = source.detach()[0], True
    together.requires_grad_()
    real = mask.unsqueeze(-1)
    summary = torch.where(real, together, -torch.inf).amax(1)
    padded, _ = decoder(x, memory=decoder.remember(together, mask, summary))
    wanted = [decoder(x[i : i + 1], memory=decoder.remember(s, torch.ones(1, s.shape[1]).bool(), s.amax(1)))[0]
              for i, s in enumerate(sources)]  # fmt: skip
    assert_close(padded, torch.cat(wanted))
    parameters = list(decoder.parameters())
    ours = torch.autograd.grad((padded * weights).sum(), [together, *parameters], allow_unused=True)
    theirs = torch.autograd.grad((torch.cat(wanted) * weights).sum(), [*sources, *parameters], allow_unused=True)
    assert ours[0] is not None
    assert (ours[0][~mask] == 0).all()
    assert_close(ours[0][mask], torch.cat([g[0] for g in theirs[: len(sources)]]))  # type: ignore[index]
    for mine, other in zip(ours[1:], theirs[len(sources) :], strict=True):
        assert (mine is None) == (other is None)
        if mine is not None and other is not None:
            assert_close(mine, other)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_the_target_changes_nothing(decoder: Backbone, side: str) -> None:
    memory = memory_of(decoder, randn(B, S, M))
    lengths = (6, 2, 0)
    x, mask = torch.full((B, T, 6), 9.0, dtype=torch.float64), torch.zeros(B, T, dtype=torch.bool)
    for row, n in enumerate(lengths):
        places = slice(0, n) if side == "right" else slice(T - n, T)
        x[row, places], mask[row, places] = randn(n, 6), True
    y, state = decoder(x, mask=mask, memory=memory)
    assert (y[~mask] == 0).all()
    more = randn(B, 1, 6)
    following, _ = decoder(more, state, memory=memory)
    for row in range(B):
        own = torch.cat([x[row][mask[row]], more[row]])[None]
        alone, _ = decoder(own, memory=select(memory, torch.tensor([row])))
        assert_close(torch.cat([y[row][mask[row]], following[row]]), alone[0])


def test_aligned_is_forward_with_weights(decoder: Backbone) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).bool()
    memory = memory_of(decoder, randn(B, S, M), mask)
    x = randn(B, T, 6)
    y, _, weights = aligned(decoder, x, memory=memory)
    assert_close(y, decoder(x, memory=memory)[0])
    if isinstance(decoder, Attentive) and decoder.attention in ("none", "mean"):
        assert weights is None
        return
    assert weights is not None
    assert weights.shape == (B, T, S)
    assert_close(weights.sum(-1), torch.ones(B, T, dtype=torch.float64))
    assert (weights[~mask.unsqueeze(1).expand_as(weights)] == 0).all()


@pytest.mark.parametrize("kind", ["additive", "dot", "general"])
def test_alignment_against_the_equations(kind: str) -> None:
    """Position by position, in plain Python loops: values and gradients."""
    torch.manual_seed(0)
    align = Alignment(kind, M, M).double()  # type: ignore[arg-type]
    query, source = randn(2, 3, M).requires_grad_(), randn(2, S, M).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    found, weights = align(query, (mask, align.key(source), source))
    wanted = []
    for b in range(2):
        for t in range(3):
            scores = []
            for s in range(S):
                q, h = query[b, t], source[b, s]
                if kind == "additive":
                    score = align.score @ torch.tanh(align.query.weight @ q + align.key.weight @ h)
                else:
                    score = q @ (h if kind == "dot" else align.key.weight @ h)
                scores.append(score.exp() if mask[b, s] else torch.zeros((), dtype=torch.float64))
            total = torch.stack(scores).sum()
            wanted.append(sum(score / total * source[b, s] for s, score in enumerate(scores)))
    reference = torch.stack(wanted).view(2, 3, M)
    assert_close(found, reference)
    assert_close(weights.sum(-1), torch.ones(2, 3, dtype=torch.float64))
    cotangent = randn(2, 3, M)
    leaves = [query, source, *align.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad((found * cotangent).sum(), leaves),
        torch.autograd.grad((reference * cotangent).sum(), leaves),
        strict=True,
    ):
        assert_close(ours, theirs)


def test_cross_attention_against_torch() -> None:
    torch.manual_seed(0)
    from seqmodels.nn.attention import CrossAttention, Heads

    ours = CrossAttention(8, M, Heads(2, 2, 4)).double()
    theirs = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.project.weight]))
        theirs.out_proj.weight.copy_(ours.out.weight)
    x, source = randn(B, T, 8), randn(B, S, M)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]).bool()
    y, weights = theirs(x, source, source, key_padding_mask=~mask)
    assert_close(ours(x, ours.remember(source), mask[:, None, None]), y)
    trace = Trace()
    assert_close(ours(x, ours.remember(source), mask[:, None, None], trace), y)
    assert_close(trace.cross[""].mean(1), weights)


def test_a_reader_sees_both_ways(reader: Backbone) -> None:
    x = randn(B, T, 6)
    whole, state = reader(x)
    assert state == ()
    changed = x.clone()
    changed[:, -1] += randn(B, 6)
    assert not torch.allclose(reader(changed)[0][:, -2], whole[:, -2])
    with pytest.raises(InputError, match="as a whole"):
        reader(x, ())


def test_padding_changes_nothing_for_a_reader(reader: Backbone) -> None:
    rows = [randn(n, 6) for n in (6, 2, 3)]
    x, mask = torch.full((B, T + 1, 6), 9.0, dtype=torch.float64), torch.zeros(B, T + 1, dtype=torch.bool)
    for row, (content, first) in enumerate(zip(rows, (1, 0, 2), strict=True)):
        places = slice(first, first + len(content))
        x[row, places], mask[row, places] = content, True
    y, _ = reader(x, mask=mask)
    assert (y[~mask] == 0).all()
    summary = reader.summary(y, mask)
    for row, content in enumerate(rows):
        alone, _ = reader(content[None])
        assert_close(y[row][mask[row]], alone[0])
        assert_close(summary[row], reader.summary(alone, torch.ones(1, len(content), dtype=torch.bool))[0])


def test_the_summary_of_both_ways_is_what_each_ended_with() -> None:
    torch.manual_seed(0)
    network = ready(Bidirectional(GRU(6, 4)))
    x = randn(1, T, 6)
    y, _ = network(x)
    forwards, backwards = network.directions  # type: ignore[attr-defined]
    summary = network.summary(y, torch.ones(1, T, dtype=torch.bool))
    assert_close(summary, torch.cat([forwards(x)[0][:, -1], backwards(x.flip(1))[0][:, -1]], -1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attentive(GRU(6, 8), M, "bahdanau"), "choose one of none, mean, additive, dot, general"),
        (lambda: Attentive(GRU(6, 4), M, "dot"), "4 and 8 features; give both the same size, or choose general"),
        (lambda: Attentive(Transformer(6, 1, 1), M, "none"), "cannot start from a vector"),
        (lambda: Attentive(Transformer(6, 1, 1, memory_size=M), M, "dot"), "without a memory of its own"),
        (lambda: Bidirectional(Transformer(6, 1, 1, causal=False)), "expects a causal network"),
        (lambda: GRU(6, 8)(torch.zeros(1, 1, 6), memory=torch.zeros(1, 1)), "attends to no memory"),
        (lambda: Transformer(6, 1, 1, memory_size=M)(torch.zeros(1, 1, 6)), "attends to a memory; give it"),
        (
            lambda: Transformer(6, 1, 1, memory_size=M)(
                torch.zeros(3, 1, 6), memory=(torch.ones(2, 1, 1, 2, dtype=torch.bool), ())
            ),
            "a multiple of the 2 rows of the memory, got 3 rows",
        ),
        (lambda: Transformer(6, 1, 1).remember(torch.zeros(1, 1, 6), torch.ones(1, 1), torch.zeros(1, 6)), "no memory"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
