"""What `benchmarks.plan` computes, beside real models."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks import plan
from benchmarks.plan import GPUS, SIZES, Machines, Size
from seqmodels.batch import Batch
from seqmodels.environment import has_bf16_lstm
from seqmodels.metrics import summed_nats
from seqmodels.nn import LSTM, Transformer
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.fsdp import sharded_units
from seqmodels.tasks.optim import make_optimizer

SMALL = [Size("small", "Transformer", 3, 128, 100, rows=4, length=64), Size("small", "LSTM", 3, 64, 100, 4, 64)]
IDS = [size.network for size in SMALL]


def real(size: Size) -> LanguageModel:
    network = (
        LSTM(size.width, size.width, size.layers)
        if size.network == "LSTM"
        else Transformer(size.width, size.layers, size.heads, context=size.length)
    )
    return LanguageModel(network, plan.characters(size.vocab_size), tie_embeddings=True)


def loss(model: LanguageModel, size: Size) -> Tensor:
    tokens = torch.randint(4, size.vocab_size, (size.rows, size.length))
    logits, _ = model(Batch(tokens, tokens))
    assert logits.shape[-1] == size.vocab_size
    return summed_nats(logits, tokens)[0]


def kept(size: Size, mixed: bool) -> int:
    """Bytes that autograd keeps beside the weights, each piece of memory counted once."""
    model, pieces = real(size), dict[int, Any]()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        piece = tensor.untyped_storage()
        if piece.data_ptr() not in weights:
            pieces[piece.data_ptr()] = piece
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        total = loss(model, size)
    assert total.requires_grad
    return sum(piece.nbytes() for piece in pieces.values())


@pytest.mark.parametrize("size", SMALL, ids=IDS)
def test_activations(size: Size) -> None:
    around = 4 * size.vocab_size * size.tokens + 4 * size.width * size.tokens  # log-probabilities, and the last output
    assert kept(size, False) - around == pytest.approx(size.activations(mixed=False), rel=0.1)


@pytest.mark.parametrize("size", SMALL, ids=IDS)
def test_activations_in_mixed_precision(size: Size) -> None:
    """A CPU attends in single precision: 4 bytes of 4 D there, where a GPU keeps 2 bytes of 6 D."""
    if size.network == "LSTM" and not has_bf16_lstm():
        pytest.skip("this processor has no LSTM in bf16, and runs it in single precision")
    around = 4 * size.vocab_size * size.tokens + 2 * size.width * size.tokens + 2 * real_matrices(size)
    more = (4 * 4 - 6 * 2) * size.width * size.layers * size.tokens if size.network == "Transformer" else 0
    assert kept(size, True) - around == pytest.approx(size.activations() + more, rel=0.1)


def real_matrices(size: Size) -> int:
    return sum(p.numel() for p in real(size).parameters() if p.ndim > 1)


@pytest.mark.parametrize("size", SMALL, ids=IDS)
def test_weights_gradients_and_moments(size: Size) -> None:
    model = real(size)
    optimizer = make_optimizer(model, model.network, name="adamw", lr=1e-3, weight_decay=0.0, beta2=0.99, fused=True)
    loss(model, size).backward()
    optimizer.step()
    parameters = list(model.parameters())
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    tensors = [*parameters, *(p.grad for p in parameters if p.grad is not None), *moments]
    copies = 2 * size.parameters  # of autocast
    assert sum(t.numel() * t.element_size() for t in tensors) == size.states() - copies
    assert sum(p.numel() for p in parameters) == size.parameters


def test_sizes_are_what_they_are_called() -> None:
    for size in SIZES:
        number, unit = size.name.split()
        assert size.parameters == pytest.approx(float(number) * {"M": 1e6, "B": 1e9}[unit], rel=0.13)
        assert size.parameters == size.rest + sum(
            p.numel() for part in sharded_units(size.model.network) for p in part.parameters()
        )


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.name} {size.network}")
def test_laws_of_sharing(size: Size) -> None:
    shared = [size.memory(gpus, sharded=True) for gpus in GPUS]
    assert shared == sorted(shared, reverse=True)
    assert size.memory(64, sharded=True) < size.memory(64)
    assert size.sent(1) == 0
    machines = Machines(989, 0.4, 450, 50, 80)
    low, high = machines.rate(size, 64, sharded=True)
    assert 0 < low <= high <= 64 * machines.rate(size, 1, sharded=False)[0] * 1.001


def test_program(capsys: pytest.CaptureFixture[str]) -> None:
    plan.main(["--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SIZES) + 2
    assert len({line.count("|") for line in lines}) == 1
    plan.main(["--memory", "1"])
    assert "does not fit" in capsys.readouterr().out
    for words in (["--mfu", "2"], ["--bandwidth", "0"]):
        with pytest.raises(SystemExit):
            plan.main(words)
