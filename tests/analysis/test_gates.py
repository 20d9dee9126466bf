"""What gates do, over a text: means, saturation, and how long units remember."""

import math

import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused
from torch.testing import assert_close

from seqmodels import LSTM, LanguageModel, Tokenizer
from seqmodels.analysis.gates import draw_gates, gates, of_trace
from seqmodels.batch import Batch
from seqmodels.nn import GRU, MinGRU, Trace

TOKENIZER = Tokenizer.char("abcdefgh")


def batch(rows: int = 3, length: int = 9) -> Batch:
    torch.manual_seed(1)
    tokens = torch.randint(4, TOKENIZER.vocab_size, (rows, length))
    return Batch(tokens, tokens)


def test_by_hand() -> None:
    """Two units at four positions in two rows, one of them padding."""
    values = torch.tensor([[[0.5, 0.96], [0.5, 0.05]], [[0.5, 0.96], [9.0, 9.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    found = of_trace(Trace(gates={"1.f": values, "1.i": values}, highways=["1.f"]), mask)
    gate = found["1.f"]
    assert_close(gate.mean, torch.tensor([0.5, 1.97 / 3], dtype=torch.float64))
    assert_close(gate.closed, torch.tensor([0.0, 1 / 3], dtype=torch.float64))
    assert_close(gate.open, torch.tensor([0.0, 2 / 3], dtype=torch.float64))
    assert gate.histogram.sum() == pytest.approx(1)
    assert gate.histogram[[2, 20, 38]].tolist() == pytest.approx([1 / 6, 3 / 6, 2 / 6])
    kept = 0.96 * 0.96 * 0.05  # of a value after three steps
    assert gate.memory is not None
    assert gate.memory.tolist() == pytest.approx([1 / math.log(2), 3 / -math.log(kept)])
    assert found["1.i"].memory is None


def test_units_that_never_forget_and_that_never_remember() -> None:
    values = torch.tensor([[[1.0, 0.0, math.exp(-0.01)]] * 2])
    memory = of_trace(Trace(gates={"1.f": values}, highways=["1.f"]))["1.f"].memory
    assert memory is not None
    assert memory.tolist() == pytest.approx([math.inf, 0.0, 100.0], rel=1e-4)
    draw_gates(of_trace(Trace(gates={"1.f": values}, highways=["1.f"])))  # endless memory has a place, too


def test_gates_that_biases_hold() -> None:
    """Without weights, gates are what their biases say, and units remember for as long as that."""
    task = LanguageModel(LSTM(6, 8), TOKENIZER, dropout=0.5).double()
    kernel = task.backbone.layers[0].kernel
    with torch.no_grad():
        for parameter in kernel.parameters():  # type: ignore[union-attr]
            parameter.zero_()
        kernel.bias_ih_l0[8:16] = math.log(0.95 / 0.05)  # type: ignore[union-attr,index]
    found = gates(task, batch())
    assert list(found) == ["1.i", "1.f", "1.o"]
    assert_close(found["1.f"].mean, torch.full((8,), 0.95, dtype=torch.float64))
    assert_close(found["1.f"].open, torch.ones(8, dtype=torch.float64))
    assert_close(found["1.i"].mean, torch.full((8,), 0.5, dtype=torch.float64))
    assert_close(found["1.f"].memory, torch.full((8,), -1 / math.log(0.95), dtype=torch.float64))
    assert task.training


@pytest.mark.parametrize(
    ("network", "names", "highways"),
    [
        (lambda: GRU(6, 8, num_layers=2), ["1.r", "1.z", "2.r", "2.z"], ["1.z", "2.z"]),
        (lambda: MinGRU(6, 8), ["1.a", "2.a"], ["1.a", "2.a"]),
        (NETWORKS["Hybrid"], ["1.a", "2.i", "2.f", "2.o", "4.r", "4.z"], ["1.a", "2.f", "4.z"]),
    ],
    ids=["GRU", "MinGRU", "Hybrid"],
)
def test_networks_with_gates(network, names, highways) -> None:  # type: ignore[no-untyped-def]
    task = LanguageModel(network(), TOKENIZER)
    found = gates(task, batch())
    assert list(found) == names
    assert [name for name, gate in found.items() if gate.memory is not None] == highways
    figure = draw_gates(found)
    assert sum(axes.get_visible() for axes in figure.axes) == 2 * len(names) + len(highways)


def test_from_a_state() -> None:
    task = LanguageModel(LSTM(6, 8), TOKENIZER).double()
    whole = batch(length=8)
    first, second = (Batch(part, part) for part in whole.inputs.split(4, 1))
    _, state = task.eval()(first)
    halves = [gates(task, first), gates(task, second, state)]
    for name, gate in gates(task, whole).items():
        assert_close(sum(half[name].mean for half in halves) / 2, gate.mean)


@pytest.mark.parametrize("name", ["RNN-tanh", "Transformer", "MultiplicativeRNN"])
def test_networks_without_gates(name: str) -> None:
    assert_refused("has no gates", gates, LanguageModel(NETWORKS[name](), TOKENIZER), batch())


def test_nothing_but_padding() -> None:
    empty = batch()._replace(mask=torch.zeros(3, 9, dtype=torch.bool))
    assert_refused("nothing but padding", gates, LanguageModel(LSTM(6, 8), TOKENIZER), empty)
