"""Every argument of the Transformer beside every other: laws, stepper, trace, optimizer."""

import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from seqmodels.errors import InputError
from seqmodels.nn import Hybrid, Transformer, laws
from seqmodels.nn.key_cache import CACHE_GROWTH
from seqmodels.nn.positions import Relative, Rotary, Sinusoidal
from seqmodels.nn.steppers import CachedStepper, make_stepper
from seqmodels.tasks.optim import Muon, Together, make_optimizer

CHOICES: dict[str, list[Any]] = {
    "positions": ["rotary", "learned", "sinusoidal", "relative", "none"],
    "residual": ["pre-norm", "post-norm", "parallel"],
    "bias": ["none", "qkv", "attention", "all"],
    "activation": ["gelu", "gelu-tanh", "relu", "silu", "geglu", "geglu-tanh", "reglu", "swiglu"],
    "norm": ["layer", "rms", "rms-plus-one"],
    "eps": [None, 0.1],
    "num_kv_heads": [4, 2],
    "head_size": [None, 6],
    "feed_forward_size": [None, 10],
    "attention_gate": [False, True],
    "qk_norm": [False, True],
    "attention_scale": [None, 1.0],
    "window": [None, 4],
    "input_scale": [1.0, 3.0],
    "position_offset": [0, 2],
    "rotary_base": [10_000.0, 7.0],
    "rotary_share": [1.0, 0.5],
    "rotary_scaling": [None, {"factor": 3.0}, {"factor": 3.0, "low": 1.0, "high": 4.0, "context": 20.0}],
}
"""Values of arguments; 4 heads of 4 features, or of 6, of which half, 3, cannot turn."""
CONTEXT = 64


def rows() -> list[dict[str, Any]]:
    """Few combinations in which every pair of values occurs together: of random ones, always the one with most news."""
    rng, names = random.Random(0), list(CHOICES)

    def pairs(row: dict[str, Any]) -> set[tuple[Any, ...]]:
        return {(a, str(row[a]), b, str(row[b])) for a, b in itertools.combinations(names, 2)}

    left = {
        (a, str(x), b, str(y))
        for a, b in itertools.combinations(names, 2)
        for x, y in itertools.product(CHOICES[a], CHOICES[b])
    } - {("head_size", "6", "rotary_share", "0.5")}
    found = []
    while left:
        tries = [{name: rng.choice(values) for name, values in CHOICES.items()} for _ in range(60)]
        tries = [row | {"rotary_share": 1.0} if row["head_size"] == 6 else row for row in tries]
        best = max(tries, key=lambda row: len(pairs(row) & left))
        left -= pairs(best)
        found.append(best)
    return found


ROWS = rows()


def made(row: dict[str, Any], **others: Any) -> Transformer:
    """A lively network in double precision."""
    torch.manual_seed(0)
    sizes = {"input_size": 16, "num_layers": 2, "num_heads": 4, "context": CONTEXT}
    network = Transformer(**sizes | row | others).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network


def test_all_pairs_are_there() -> None:
    assert len(ROWS) < 60
    assert {row["bias"] for row in ROWS} == set(CHOICES["bias"])


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_laws(row: dict[str, Any]) -> None:
    network = made(row)
    x = torch.randn(laws.ROWS, laws.POSITIONS, 16, dtype=torch.float64)
    for law in (laws.chunk, laws.step, laws.reorder, laws.pad_then_go_on):
        assert law(network, x) < 1e-7, law.__name__
    assert laws.causal(network, x) < 1e-12
    assert laws.sees(network, x) == 0
    for side in laws.SIDES:
        assert laws.pad(network, x, side, list(network.parameters())) < 1e-7, side


@torch.inference_mode()
@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_steppers(row: dict[str, Any]) -> None:
    """In place, also as recorded on a GPU; read, then go on, other rows from the middle on."""
    network, inputs = made(row), torch.randn(9, 16, dtype=torch.float64)
    tokens = torch.randint(9, (3, 14))
    _, start = network(inputs[tokens[:, :4]])
    own = make_stepper(network, inputs, start, 3)
    assert (type(own) is CachedStepper) == network.plain
    for stepper in (own, CachedStepper(network, inputs, start, recordable=True)) if network.plain else (own,):
        state, read = start, tokens
        for t in range(4, 14):
            y, state = network(inputs[read[:, t]].unsqueeze(1), state)
            assert_close(stepper(read[:, t]), y.squeeze(1), rtol=1e-9, atol=1e-10)
            if t == 9:
                places = torch.tensor([2, 0, 2])
                stepper.select(places)
                read = read[places]
                _, state = network(inputs[read[:, :10]])


@torch.inference_mode()
def test_without_positions_an_encoder_reads_a_bag() -> None:
    """Where all see all, outputs are those of the same tokens in another order; causal attention knows the order."""
    torch.manual_seed(0)
    x, order = torch.randn(2, 7, 16, dtype=torch.float64), torch.tensor([3, 0, 6, 2, 5, 1, 4])
    both = Transformer(16, 2, 2, positions="none", causal=False).double()
    torch.testing.assert_close(both(x[:, order])[0], both(x)[0][:, order], rtol=0, atol=1e-12)
    causal = Transformer(16, 2, 2, positions="none").double()
    swapped = torch.cat((x[:, [1, 0]], x[:, 2:]), 1)
    assert (causal(swapped)[0][:, -1] - causal(x)[0][:, -1]).abs().max() > 1e-8


@pytest.mark.parametrize("positions", CHOICES["positions"])
def test_steppers_whose_cache_grows(positions: str) -> None:
    steps = CACHE_GROWTH + 9
    kind: dict[str, Any] = {"positions": positions, "context": steps + 5, "position_offset": 2, "bias": "all"}
    network, inputs = made(kind, window=steps - 4), torch.randn(9, 16, dtype=torch.float64)
    tokens = torch.randint(9, (2, steps))
    whole, _ = network(inputs[tokens])
    for recordable in (False, True):
        stepper = CachedStepper(network, inputs, network.initial_state(2), recordable)
        found = torch.stack([stepper(tokens[:, t]) for t in range(steps)], 1)
        assert_close(found, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_traces_and_steps_of_muon(row: dict[str, Any]) -> None:
    """The trace changes no output, and its maps are weights; of parameters, all maps between layers are Muon's."""
    network = made(row, memory_size=5)
    x, source = torch.randn(2, 7, 16).double(), torch.randn(2, 3, 5).double()
    memory = network.remember(source, torch.tensor([[1, 1, 0], [1, 1, 1]]).bool(), source[:, 0])
    y, _ = network(x, memory=memory)
    traced, _, trace = network.traced(x, memory=memory)
    assert_close(traced, y)
    for maps in (*trace.attention.values(), *trace.cross.values()):
        assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]))
    optimizer = make_optimizer(network, network, name="muon", lr=1e-3, weight_decay=0.1, beta2=0.9, fused=False)
    assert isinstance(optimizer, Together)
    muon = next(part for part in optimizer.parts if isinstance(part, Muon))
    taken = {p for group in muon.param_groups for p in group["params"]}
    assert taken == {layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)}
    before = [p.detach().clone() for p in network.parameters()]
    y.square().sum().backward()
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert all(moved), [name for (name, _), m in zip(network.named_parameters(), moved, strict=True) if not m]


@pytest.mark.parametrize("row", ROWS[::4], ids=range(len(ROWS[::4])))
def test_encoders_and_their_padding(row: dict[str, Any]) -> None:
    network = made(row, causal=False)
    x, mask = torch.randn(2, 9, 16).double(), torch.ones(2, 9, dtype=torch.bool)
    mask[0, 5:] = False
    assert_close(network(x, mask=mask)[0][0, :5], network(x[:1, :5])[0][0])


@pytest.mark.parametrize("residual", CHOICES["residual"])
@pytest.mark.parametrize("bias", CHOICES["bias"])
def test_hybrids(residual: Any, bias: Any) -> None:
    torch.manual_seed(0)
    more: dict[str, Any] = {"eps": 0.1, "head_size": 6, "qk_norm": True, "input_scale": 2.0, "rotary_base": 9.0}
    network = Hybrid(8, "GRU,attention", 2, residual=residual, bias=bias, feed_forward_size=5, **more).double().eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    x = torch.randn(laws.ROWS, laws.POSITIONS, 8, dtype=torch.float64)
    assert laws.step(network, x) < 1e-7
    assert laws.pad(network, x, "left", list(network.parameters())) < 1e-7
    found = {name for name, _ in network.blocks.named_parameters() if name.endswith(("out.bias", "up.bias"))}
    assert len(found) == {"none": 0, "qkv": 0, "attention": 2, "all": 6}[bias]
    new = Hybrid(8, "GRU,attention", 2, bias="all")
    assert not new.blocks[1].mixer.project.bias.any()  # type: ignore[union-attr]


@pytest.mark.parametrize("residual", CHOICES["residual"])
def test_orders_of_a_block_written_out(residual: str) -> None:
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    network = made({"residual": residual, "bias": "all", "activation": "gelu-tanh"}, num_layers=1)
    block: Any = network.blocks[0]
    _, _, span = network._read(x, None, torch.zeros(2, dtype=torch.int64), (), 0)

    def mix(h: Tensor) -> Tensor:
        return block.mixer(h, block.mixer.initial_state(2), span)[0]  # type: ignore[no-any-return]

    def feed(h: Tensor) -> Tensor:
        up, out = block.feed_forward.up, block.feed_forward.out
        return F.gelu(h @ up.weight.T + up.bias, approximate="tanh") @ out.weight.T + out.bias  # type: ignore[no-any-return]

    if residual == "pre-norm":
        y = x + mix(block.norm_mixer(x))
        y = network.norm(y + feed(block.norm_feed_forward(y)))
    elif residual == "post-norm":
        y = block.norm_mixer(x + mix(x))
        y = block.norm_feed_forward(y + feed(y))
    else:
        y = network.norm(x + mix(block.norm_mixer(x)) + feed(block.norm_feed_forward(x)))
    assert_close(network(x)[0], y)


def test_buckets_of_distances() -> None:
    """Of 32, single distances first, the last one from 128 on; later keys have the upper half."""

    def bucket(causal: bool, *distances: int) -> list[int]:
        table = Relative(1, 32, 128, causal)
        with torch.no_grad():
            table.weight.copy_(torch.arange(32.0)[:, None])
        return [int(number) for number in table.bias(torch.tensor([distances]))[0, 0]]

    assert bucket(True, 0, 1, 15, 16, 127, 128, 5000, -3) == [0, 1, 15, 16, 31, 31, 31, 0]
    assert bucket(False, 0, 7, 8, 127, 500, -1, -7, -500) == [0, 7, 8, 15, 15, 17, 23, 31]


def test_angles_are_scaled() -> None:
    positions = torch.arange(50)[None]
    plain = Rotary(8).rotation(positions)[0].acos()
    slow = Rotary(8, scaling={"factor": 4.0}).rotation(4 * positions)[0].acos()
    assert_close(slow, plain)
    angles = lambda scaling: Rotary(64, 10_000.0, scaling).rotation(torch.tensor([[1]]))[1].asin()  # noqa: E731
    ratio = angles(None) / angles({"factor": 8.0, "low": 1.0, "high": 4.0, "context": 8192.0})
    assert ratio.max() == pytest.approx(8)
    assert ratio.min() == pytest.approx(1)
    assert len({round(float(each), 6) for each in ratio.flatten()}) > 3  # those between


def test_sines_in_halves() -> None:
    found = Sinusoidal(6, 1).vectors(torch.arange(3))
    wanted = [[fn(p / 10_000 ** (k / 3)) for fn in (torch.sin, torch.cos) for k in range(3)] for p in Tensor([1, 2, 3])]
    assert_close(found.float(), torch.tensor(wanted))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"bias": "some"}, "bias='some' is not known"),
        ({"residual": "none"}, "residual='none' is not known"),
        ({"activation": "tanh"}, "the activation 'tanh' is not known"),
        ({"positions": "alibi"}, "the positions 'alibi' are not known"),
        ({"head_size": 0}, "head_size=0"),
        ({"window": 0}, "window=0"),
        ({"rotary_share": 0.0}, "rotary_share=0.0"),
        ({"rotary_share": 0.1}, "expected an even number"),
        ({"rotary_scaling": {"by": 2.0}}, "expected the key factor"),
        ({"rotary_scaling": {"factor": 0.0}}, "expected positive"),
        ({"positions": "relative", "position_buckets": 1}, "position_buckets=1"),
        ({"positions": "relative", "farthest_bucket": 9}, "farthest_bucket=9"),
        ({"positions": "sinusoidal", "input_size": 7, "head_size": 4}, "input_size=7 must be even"),
        ({"eps": -1.0}, "eps=-1.0"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as found:
        Transformer(**{"input_size": 16, "num_heads": 4} | wrong)
    assert said in str(found.value)
