"""Compiled steps are those that are not; what a compiler makes of them is left out where it only takes time."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from seqmodels import softmax
from seqmodels.batch import IGNORE
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import GRU, Transformer, prenorm
from seqmodels.softmax import linear_nats
from seqmodels.tasks import LanguageModel
from seqmodels.tasks.compiling import MANY, compile_steps


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Torch reads the code and its graph is run as it is; it must be one graph."""
    called: list[str] = []
    actual = torch.compile

    def compile(function, **settings):  # type: ignore[no-untyped-def]
        called.append(function.__qualname__)
        return actual(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compile)
    for cached in (prenorm._compiled_block, softmax.compiled_piece):
        cached.cache_clear()
    yield called
    for cached in (prenorm._compiled_block, softmax.compiled_piece):
        cached.cache_clear()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # asked for by torch itself
@pytest.mark.parametrize(
    "network",
    [
        Transformer,
        partial(Transformer, positions="learned"),
        partial(Transformer, norm="rms", activation="swiglu", num_kv_heads=2),
    ],
    ids=["rotary", "learned", "modern"],
)
def test_blocks(network, traced: list[str]) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    net = network(16, 2, 4, context=12).double()
    x = torch.randn(3, 12, 16, dtype=torch.float64)
    found = []
    for compiled in (False, True):
        net.compiled = compiled
        y, _ = net(x)
        found.append([y, *torch.autograd.grad(y.square().sum(), list(net.parameters()))])
    assert traced == ["Block.forward"]
    assert_close(found[1], found[0])
    net.eval()(x)
    net.train().traced(x)
    assert traced == ["Block.forward"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss(smoothing: float, traced: list[str]) -> None:
    torch.manual_seed(0)
    given = [torch.randn(*s, dtype=torch.float64).requires_grad_() for s in ((4, 6, 8), (50, 8), (50,))]
    targets = torch.randint(50, (4, 6))
    targets[1, 2:] = IGNORE
    found = []
    for compiled in (False, True):
        objective, nats = linear_nats(*given, targets, smoothing, 300, compiled)
        found.append([nats, *torch.autograd.grad(objective, given)])
    assert traced == ["_piece"]
    assert_close(found[1], found[0])


def test_what_there_is_to_compile() -> None:
    letters = "".join(chr(0x10000 + number) for number in range(MANY))
    few, many = Tokenizer.char(["abc"]), Tokenizer.char([letters])
    task = LanguageModel(Transformer(8, 1, 2), few)
    compile_steps(task)
    assert task.backbone.compiled  # type: ignore[attr-defined]
    assert task.compiled
    compile_steps(LanguageModel(GRU(4, 4), many))
    with pytest.raises(InputError, match=r"compile was given, and GRU has neither layers of attention nor 4,096"):
        compile_steps(LanguageModel(GRU(4, 4), few))
