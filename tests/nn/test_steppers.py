"""Networks that keep their state to themselves step as those that return it."""

import pytest
import torch
from networks import NETWORKS
from torch.testing import assert_close

from seqmodels.batch import NEVER
from seqmodels.data import Tokenizer
from seqmodels.nn import LSTM, Backbone, Transformer, packing
from seqmodels.nn.key_cache import CACHE_GROWTH
from seqmodels.nn.steppers import PAYS, CachedStepper, RecurrentStepper, Stepper, make_stepper
from seqmodels.state import map_state, select
from seqmodels.tasks import LanguageModel

V = 9


def steps(
    network: Backbone, inputs: torch.Tensor, count: int, *, read: int = 0, rows: int = 3, recordable: bool = False
) -> None:
    """Compare so many steps of three rows, the last and the first of which go on after half of them."""
    network = network.double().eval()
    tokens = torch.randint(V, (rows, read + count))
    state = None
    if read:
        _, state = network(inputs[tokens[:, :read]])
    kept = None if state is None else map_state(torch.clone, state)
    stepper = make_stepper(network, inputs, state, rows)
    if recordable:
        assert isinstance(network, Transformer)
        stepper = CachedStepper(network, inputs, state or network.initial_state(rows), recordable=True)
    start = state
    for t in range(read, read + count):
        y, state = network(inputs[tokens[:, t]].unsqueeze(1), state)
        assert_close(stepper(tokens[:, t]), y.squeeze(1), rtol=1e-9, atol=1e-10)
        if t == read + count // 2:
            places = torch.tensor([rows - 1, 0])
            stepper.select(places)
            tokens, state = tokens[places], select(state, places)
    if start is not None:
        assert_close(start, kept, rtol=0, atol=0)  # what was given stays as it was


@torch.inference_mode()
@pytest.mark.parametrize("read", [0, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_networks(name: str, read: int) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    steps(network, torch.randn(V, network.input_size, dtype=torch.float64), 6, read=read)


@torch.inference_mode()
@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_transformers(positions: str, activation: str, norm: str, kv_heads: int) -> None:
    """Of all kinds, and long enough for their caches to grow."""
    torch.manual_seed(0)
    network = Transformer(16, 2, 4, kv_heads, CACHE_GROWTH + 9, positions, norm, activation)  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = torch.randn(V, 16, dtype=torch.float64)
    assert isinstance(make_stepper(network, inputs, None, 1), CachedStepper)
    steps(network, inputs, CACHE_GROWTH + 5, read=3)


@torch.inference_mode()
@pytest.mark.parametrize("context", [7, 2 * CACHE_GROWTH + 60])
@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_recordable(positions: str, context: int) -> None:
    """By what a tensor on the device knows, through two growths."""
    if positions == "learned" and context < 3 * CACHE_GROWTH:
        context = 3 * CACHE_GROWTH  # where they end
    torch.manual_seed(0)
    network = Transformer(16, 2, 4, 2, context, positions)  # type: ignore[arg-type]
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = torch.randn(V, 16, dtype=torch.float64)
    steps(network, inputs, 2 * CACHE_GROWTH + 40, read=3, recordable=True)


@torch.inference_mode()
def test_prepare_tells_when_memory_is_another() -> None:
    network, inputs = Transformer(8, 1, 2, context=1000).eval(), torch.randn(V, 8)
    stepper = CachedStepper(network, inputs, network.initial_state(1), recordable=True)
    moved = []
    for number in range(3 * CACHE_GROWTH):
        if stepper.prepare():
            moved.append(number)
        stepper.step(torch.tensor([1]))
    assert moved == [0, CACHE_GROWTH, 2 * CACHE_GROWTH]


@torch.inference_mode()
def test_what_is_out_of_sight_is_forgotten() -> None:
    torch.manual_seed(0)
    network = Transformer(8, 1, 2, context=5)
    inputs = torch.randn(V, 8, dtype=torch.float64)
    steps(network, inputs, 2 * CACHE_GROWTH + 7)
    stepper = make_stepper(network, inputs, None, 1)
    for _ in range(3 * CACHE_GROWTH):
        stepper(torch.tensor([1]))
    assert stepper._cache.layers[0].shape[2] < CACHE_GROWTH + 5  # type: ignore[attr-defined]


def test_padding_and_mixed_precision_take_the_long_way() -> None:
    network, inputs = Transformer(8, 1, 2).eval(), torch.randn(V, 8)
    mask = torch.tensor([[False, True], [True, True]])
    with torch.inference_mode():
        _, state = network(inputs[torch.ones(2, 2, dtype=torch.int64)], mask=mask)
        assert type(make_stepper(network, inputs, state, 2)) is Stepper
        with torch.autocast("cpu", torch.bfloat16):
            assert type(make_stepper(network, inputs, None, 2)) is Stepper


@torch.inference_mode()
@pytest.mark.parametrize("tokens", [V, 100_000])
def test_recurrent_layers_with_and_without_a_table(tokens: int) -> None:
    torch.manual_seed(0)
    network, inputs = LSTM(6, 8, num_layers=2), torch.randn(tokens, 6, dtype=torch.float64)
    stepper = make_stepper(network.double(), inputs, None, 1)
    assert isinstance(stepper, RecurrentStepper)
    assert stepper._are_projected is (tokens == V)
    steps(network, inputs, 4)


@torch.inference_mode()
def test_of_a_language_model() -> None:
    """Logits are those of `step`, but for tokens that are never written."""
    torch.manual_seed(0)
    model = LanguageModel(LSTM(6, 8), Tokenizer.char(["abcdef"])).eval()
    stepping, state = model.steps(None, 2), None
    for tokens in (torch.tensor([1, 4]), torch.tensor([5, 6])):
        logits, state = model.step(tokens, state)
        found = stepping(tokens)
        never = found.isneginf().all(0)
        assert never.sum() == 3
        assert_close(found[:, ~never], logits[:, ~never])


@torch.inference_mode()
@pytest.mark.parametrize("activation", ["gelu", "swiglu"])
def test_weights_are_laid_out_after_some_steps(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For several rows in single precision, of the network and of the softmax layer."""
    monkeypatch.setattr(packing, "PACKED", {torch.float32: 1})
    torch.manual_seed(0)
    network = Transformer(16, 2, 4, activation=activation, bias="all")  # type: ignore[arg-type]
    model = LanguageModel(network, Tokenizer.char(["abcdef"])).eval()
    tokens = torch.randint(4, 10, (3, PAYS + 6))
    stepping, state, products = model.steps(None, 3), None, []
    for t in range(tokens.shape[1]):
        logits, state = model.step(tokens[:, t], state)
        logits = logits.index_fill(1, torch.tensor(NEVER), -torch.inf)
        assert_close(stepping(tokens[:, t]), logits, rtol=1e-4, atol=1e-5)
        products.append(stepping._stepper._layers[0].project)  # type: ignore[union-attr]
        if t == PAYS + 2:
            places = torch.tensor([2, 0])
            stepping.select(places)
            tokens, state = tokens[places], select(state, places)
    assert products[0] != products[-1]
    alone = model.steps(None, 1)
    for _ in range(PAYS + 2):
        alone(tokens[:1, 0])
    assert alone._stepper._layers[0].project == network.blocks[0].mixer.project.forward  # type: ignore
