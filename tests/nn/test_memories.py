"""Networks whose state is a matrix: their traces, their states in other hands, and what they refuse."""

from typing import cast

import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused
from torch import Tensor, nn
from torch.testing import assert_close

from seqmodels import Beam, LanguageModel, Sampling, Tokenizer, Translator
from seqmodels.batch import Batch
from seqmodels.config import construct
from seqmodels.nn import (
    GLA,
    HGRN2,
    MLSTM,
    RGLRU,
    RWKV7,
    SLSTM,
    Attentive,
    Backbone,
    Cell,
    DeltaNet,
    GatedDeltaNet,
    Hybrid,
    KimiDeltaNet,
    Mamba2,
    RecurrentStack,
    RetNet,
    check_network,
)
from seqmodels.nn.delta_net import DeltaCell
from seqmodels.nn.mixer_stack import MixerStack
from seqmodels.nn.steppers import MixerStepper, make_stepper
from seqmodels.state import map_state

B, T = 3, 9
MEMORIES = [name for name, make in NETWORKS.items() if isinstance(make(), MixerStack)]


def lively(network: Backbone, std: float = 0.4) -> Backbone:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=std)
    return network.double().eval()


class OuterCell(Cell):
    """`S_t = S_{t-1} / 2 + x_t x_t^T`, read by the input: a cell of one's own whose state is a matrix."""

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.hidden_size,), (self.hidden_size, self.input_size)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.value = nn.Linear(input_size, hidden_size)

    def advance(self, projected: Tensor, state: tuple[Tensor, ...], weights: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        S = state[1] / 2 + self.value(projected).unsqueeze(-1) * projected.unsqueeze(-2)
        return (S @ projected.unsqueeze(-1)).squeeze(-1), S


class Outer(RecurrentStack):
    def _cell(self, input_size: int, hidden_size: int) -> Cell:
        return OuterCell(input_size, hidden_size)


def test_a_cell_of_ones_own_with_a_matrix() -> None:
    network = Outer(4, 6, num_layers=2)
    assert check_network(network)["pad"] < 1e-10
    shapes: list[tuple[int, ...]] = []
    map_state(lambda tensor: shapes.append(tuple(tensor.shape)) or tensor, network(torch.randn(B, T, 4))[1])  # type: ignore[func-returns-value]
    assert shapes == [(B, 6), (B, 6, 4), (B, 6), (B, 6, 6)]
    assert network.state_size is None
    assert_refused("has matrices as states", network.as_state, torch.zeros(1, 6))
    assert_refused("leave out learn_initial_state", Outer, 4, 6, learn_initial_state=True)
    for attention in ("none", "mean"):
        assert_refused("Outer cannot start from a vector and has matrices", Attentive, network, 8, attention)
    decoder = Attentive(network, 8, "general")  # it attends instead, from its own start
    source, real = torch.randn(B, 5, 8), torch.ones(B, 5, dtype=torch.bool)
    assert decoder(torch.randn(B, T, 4), memory=decoder.remember(source, real, source[:, 0]))[0].shape == (B, T, 6)


@pytest.mark.parametrize("name", MEMORIES)
def test_what_a_trace_shows(name: str) -> None:
    network = lively(NETWORKS[name]())
    x = torch.randn(B, T, network.input_size, dtype=torch.float64)
    mask = torch.ones(B, T, dtype=torch.bool)
    mask[0, :4] = False
    wanted, end = network(x, mask=mask)
    found, own, trace = network.traced(x, mask=mask)
    assert_close(found, wanted)
    map_state(lambda a, b: assert_close(a, b) or a, end, own)  # type: ignore[func-returns-value]
    layer = end[2][0]  # type: ignore[index]
    assert_close(trace.units["1.h"][:, -1], layer[0])  # type: ignore[index,arg-type]
    for gate in trace.gates.values():
        assert gate.shape[:2] == (B, T)
        assert 0 <= gate.min() <= gate.max() <= 1 + 1e-12
    assert set(trace.highways) <= set(trace.gates)
    if "1.S" in trace.norms:
        assert_close(trace.norms["1.S"][:, -1], layer[1].flatten(2).norm(dim=-1))  # type: ignore[index,union-attr,arg-type]
        assert (trace.norms["1.k"][0, :4] == 0).all()


def test_key_norms_are_those_of_what_is_written() -> None:
    delta, linear = lively(GatedDeltaNet(8, 1, 2)), lively(GLA(8, 1, 2))
    x = torch.randn(B, T, 8, dtype=torch.float64)
    assert_close(delta.traced(x)[2].norms["1.k"], torch.ones(B, T, 2, dtype=torch.float64), rtol=1e-2, atol=1e-2)
    assert linear.traced(x)[2].norms["1.k"].std() > 0.1


def test_writing_strengths_beyond_one() -> None:
    """They turn a stored value around, and are shown as fractions of 2."""
    plain, negative = (lively(GatedDeltaNet(8, 1, 2, convolution=0, negative=negative)) for negative in (False, True))
    x = torch.randn(B, T, 8, dtype=torch.float64)
    assert_close(plain.traced(x)[2].gates["1.beta"], negative.traced(x)[2].gates["1.beta"])
    assert not torch.allclose(plain(x)[0], negative(x)[0])


def test_without_decays_only_what_is_replaced_is_forgotten() -> None:
    """Layer by hand: read under the key, write the difference, normalise what the query reads."""
    network = lively(DeltaNet(8, 1, 2, convolution=0, negative=True, feed_forward_size=0))
    cell = cast(DeltaCell, network.cells[0])
    x = torch.randn(1, T, 8, dtype=torch.float64)
    _, k, v, strength = cell.project(x)[0].split([8, 8, 8, 2], -1)
    for head, part in enumerate(torch.arange(8).chunk(2)):
        S = torch.zeros(4, 4, dtype=torch.float64)
        for t in range(T):
            key = k[t, part] / (k[t, part].square().sum() + 1e-6).sqrt()
            S = S + torch.outer(key, 2 * strength[t, head].sigmoid() * (v[t, part] - S.T @ key))
        _, state = cell.sequence(x, cell.initial_state(1, x))
        assert_close(state[1][0, head], S)
    assert network.traced(x)[2].gates.keys() == {"1.beta"}


@torch.inference_mode()
@pytest.mark.parametrize("name", MEMORIES)
def test_steppers_overwrite_their_memory(name: str) -> None:
    network = lively(NETWORKS[name]())
    inputs = torch.randn(5, network.input_size, dtype=torch.float64)
    _, state = network(inputs[torch.tensor([[1, 2, 3], [4, 0, 1]])])
    kept = map_state(torch.clone, state)
    stepper = make_stepper(network, inputs, state, 2)
    assert isinstance(stepper, MixerStepper) == network.in_place  # type: ignore[union-attr]
    if not isinstance(stepper, MixerStepper):
        return
    if not isinstance(network, RGLRU | RWKV7):  # a vector; and two steps at once
        steps = stepper._layers[0].steps  # type: ignore[attr-defined]
        memory = steps.memory[0]
        before = memory.clone()
        stepper(torch.tensor([1, 2]))
        assert steps.memory[0] is memory
        assert not torch.equal(memory, before)
    map_state(lambda a, b: assert_close(a, b, rtol=0, atol=0) or a, state, kept)  # type: ignore[func-returns-value]


@torch.inference_mode()
@pytest.mark.parametrize("make", [GatedDeltaNet, MLSTM, Mamba2])
def test_steps_that_can_be_recorded(make: type[MixerStack]) -> None:
    """As on a GPU: all results of a step are written into the same memory."""
    network = lively(make(8, 2, 2))
    inputs = torch.randn(5, 8, dtype=torch.float64)
    steppers = [MixerStepper(network, inputs, network.initial_state(2), recordable) for recordable in (False, True)]
    places = [tensor.data_ptr() for layer in steppers[1]._layers for tensor in layer.state]
    for tokens in torch.randint(5, (6, 2)):
        one, other = (stepper(tokens) for stepper in steppers)
        assert_close(other, one)
    assert places == [tensor.data_ptr() for layer in steppers[1]._layers for tensor in layer.state]


@pytest.mark.parametrize("make", [GatedDeltaNet, RGLRU, MLSTM])
def test_translators(make: type[MixerStack]) -> None:
    """As an encoder at both ends and as a decoder, under beam search."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.char("abcdefgh")
    attends = Translator(make(8, 1, 2), make(8, 1, 2, memory_size=16), tokenizer, tie_embeddings="none")
    aligned = Translator(make(8, 1, 2), Attentive(make(8, 1, 2), 16, "general"), tokenizer)
    for task in (attends.eval(), aligned.eval()):
        texts = ["abc", "hgfedcba"]
        alone = [task.translate([text], Beam(3))[0][0].text for text in texts]
        assert [found[0].text for found in task.translate(texts, Beam(3))] == alone


@pytest.mark.parametrize("name", [*MEMORIES, "SLSTM-2-heads", "Hybrid-of-memories"])
def test_texts_of_unequal_prompts(name: str) -> None:
    torch.manual_seed(0)
    task = LanguageModel(NETWORKS[name](), Tokenizer.char("abcdefgh")).eval()
    prompts = ["a", "abcdefgh", "cde"]
    together = list(task.generate_batch(prompts, max_tokens=8, seed=1))
    assert len(together) == 3
    scores = list(task.score(prompts))
    alone = [next(iter(task.score([prompt]))) for prompt in prompts]
    assert_close([score.nats for score in scores], [score.nats for score in alone], rtol=1e-4, atol=1e-4)


def test_layers_of_a_hybrid_with_settings_of_their_own() -> None:
    settings = {"GatedDeltaNet": {"negative": True, "num_heads": 4}, "LSTM": {"learn_initial_state": True}}
    network = Hybrid(8, "GatedDeltaNet,LSTM,attention,GatedDeltaNet,GLA", num_heads=2, layer_settings=settings)
    cells = [block.mixer.cell for block in network.blocks if hasattr(block.mixer, "cell")]
    assert [getattr(cell, "strongest", None) for cell in cells] == [2.0, 2.0, None]
    assert [cell.heads for cell in cells] == [4, 4, 2]  # type: ignore[union-attr]
    assert isinstance(network.blocks[1].mixer.network.start, nn.Parameter)  # type: ignore[union-attr]
    again = construct(network.constructor_call, Hybrid)
    assert again.state_dict().keys() == network.state_dict().keys()


def test_logits_of_a_cap_are_bounded_in_training_and_in_generation() -> None:
    torch.manual_seed(0)
    network, tokenizer = lively(GatedDeltaNet(8, 1, 2)).float(), Tokenizer.char("abcdefgh")
    free, capped = (LanguageModel(network, tokenizer, logit_cap=cap).eval() for cap in (None, 0.5))
    capped.load_state_dict(free.state_dict())
    ids = torch.tensor([tokenizer.encode("abcdefgh")])
    wanted = 0.5 * (free(ids)[0] / 0.5).tanh()
    assert_close(capped(ids)[0], wanted)
    batch = Batch(ids[:, :-1], ids[:, 1:])
    nats = wanted[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).sum()
    assert_close(capped.losses(batch, None).nats, -nats)
    found = "".join(capped.generate("abc", max_tokens=5, sampling=Sampling(temperature=0)))
    assert found == "".join(free.generate("abc", max_tokens=5, sampling=Sampling(temperature=0)))


@pytest.mark.parametrize("name", [*MEMORIES, "SLSTM-2-heads", "Hybrid-of-memories"])
def test_a_piece_without_a_real_position_changes_nothing(name: str) -> None:
    network = lively(NETWORKS[name]())
    x = torch.randn(B, T, network.input_size, dtype=torch.float64)
    _, state = network(x)
    for length in (1, T):
        y, end = network(x[:, :length], state, mask=torch.zeros(B, length, dtype=torch.bool))
        assert (y == 0).all()
        more = torch.randn_like(x)
        assert_close(network(more, end)[0], network(more, state)[0])


def test_rates_of_forgetting_at_the_start() -> None:
    """A hundredth of the rate keeps for one step what a hundred steps keep, and changes nothing else."""
    torch.manual_seed(0)
    usual = GatedDeltaNet(16, 1, 4)
    torch.manual_seed(0)
    slow = GatedDeltaNet(16, 1, 4, largest_rate=0.16)
    pairs = list(zip(usual.state_dict().items(), slow.state_dict().values(), strict=True))
    assert [name for (name, mine), theirs in pairs if not torch.equal(mine, theirs)] == ["blocks.0.mixer.cell.rate"]
    x = torch.randn(2, 9, 16)
    fast, kept = (network.traced(x)[2].gates["1.a"] for network in (usual, slow))
    assert_close(kept**100, fast, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: GatedDeltaNet(10, 1, 4), "GatedDeltaNet expects input_size divisible by num_heads, got 10 and 4"),
        (lambda: GatedDeltaNet(8, 1, 2, head_size=0), r"GatedDeltaNet\(head_size=0\)"),
        (lambda: GatedDeltaNet(8, 1, 2, value_size=0), r"GatedDeltaNet\(value_size=0\)"),
        (lambda: GatedDeltaNet(8, 1, 4, groups=3), "GatedDeltaNet expects num_heads divisible by groups, got 4 and 3"),
        (lambda: GatedDeltaNet(8, 1, 2, largest_rate=0.0), r"GatedDeltaNet\(largest_rate=0.0\)"),
        (
            lambda: GatedDeltaNet(8, 1, 2, feed_forward_size=-1),
            r"feed_forward_size=-1\) was given; expected at least 0",
        ),
        (lambda: Hybrid(8, "GRU", feed_forward_size=0, residual="parallel"), "feed_forward_size=0 leaves one"),
        (
            lambda: Hybrid(8, "RGLRU,attention", layer_settings={"GatedDeltaNet": {}}),
            "settings for 'GatedDeltaNet'; expected names of recurrent layers, here RGLRU",
        ),
        (
            lambda: Hybrid(8, "RGLRU", layer_settings={"RGLRU": {"negative": True}}),
            "has 'negative' for RGLRU; expected values for num_heads, width, convolution, scale_first, eps",
        ),
        (lambda: LanguageModel(SLSTM(8, 8), Tokenizer.char("ab"), logit_cap=0.0), r"logit_cap=0\.0 was given"),
        (lambda: GatedDeltaNet(8, 1, 2, convolution=1), "convolution of at least 2 positions, or 0 for none"),
        (lambda: Mamba2(10, 1, 4), "expand x input_size divisible by num_heads and num_heads by groups"),
        (lambda: Mamba2(8, 1, 4, groups=3), "num_heads by groups"),
        (lambda: RetNet(8, 1, 2, shortest=1.0), "expected more than one step, since the decay is"),
        (lambda: RetNet(8, 1, 2, shortest=64, longest=32), "the longest not below the shortest"),
        (lambda: HGRN2(8, 1, 2, lowest=1.0), "expected a decay from 0 to below 1"),
        (lambda: RGLRU(8, 1, 3), "RGLRU expects a width divisible by num_heads"),
        (lambda: SLSTM(8, 9, num_heads=2), "SLSTM expects hidden_size divisible by num_heads, got 9 and 2"),
        (lambda: KimiDeltaNet(8, 1, 2, rank=0), r"KimiDeltaNet\(rank=0\)"),
        (lambda: RWKV7(8, 1, 2, gate_rank=0), r"RWKV7\(gate_rank=0\)"),
        (lambda: RWKV7(8, 1, 2, feed_forward_size=0), "expected a width, or channel_mixing=False"),
        (lambda: Attentive(GatedDeltaNet(8, 1, 2), 8, "none"), "GatedDeltaNet cannot start from a vector"),
        (lambda: Hybrid(8, "GatedDelta"), "expected names of attention, .*GatedDeltaNet"),
    ],
)
def test_what_is_refused(make, says: str) -> None:  # type: ignore[no-untyped-def]
    assert_refused(says, make)


@pytest.mark.parametrize("name", [*MEMORIES, "SLSTM-2-heads", "Hybrid-of-memories"])
def test_memories_keep_their_precision_under_autocast(name: str) -> None:
    """Inputs of gates are rounded, not what they make of a long text."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    x = torch.randn(B, 200, network.input_size)
    wanted, _ = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, state = network(x)
        step, _ = network(x[:, :1], state)
    assert step.isfinite().all()
    cell = state[2][0] if len(state) == 3 else state[0]  # type: ignore[index]
    assert cell[1].dtype == torch.float32  # type: ignore[index,union-attr]
    # A sum near zero, which is normalised, may be rounded to another: one number in a hundred.
    assert (found.float() - wanted).abs().quantile(0.99) < 0.1 * wanted.abs().max()
    found.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
