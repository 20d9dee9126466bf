"""Compiled steps are those that are not; what a compiler makes of them is left out where it only takes time."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.testing import assert_close

from seqmodels.batch import IGNORE, Batch
from seqmodels.data import TextDataModule, Tokenizer
from seqmodels.errors import InputError
from seqmodels.nn import GRU, Backbone, GatedDeltaNet, Mamba2, MultiplicativeLSTM, Transformer, transformer
from seqmodels.tasks import LanguageModel, losses
from seqmodels.tasks.losses import linear_nats
from seqmodels.training.compiling import MANY, VARIABLE, compile_now, compile_steps, kept_code
from seqmodels.training.fit import fit

# Torch itself asks for it, of what it traces.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Torch reads the code and its graph is run as it is; it must be one graph."""
    called: list[str] = []
    actual = torch.compile
    torch.compiler.reset()  # of other tests

    def compile(function, **settings):  # type: ignore[no-untyped-def]
        called.append(function.__qualname__)
        return actual(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compile)
    for cached in (transformer._compiled_block, losses._compiled_piece):
        cached.cache_clear()
    yield called
    for cached in (transformer._compiled_block, losses._compiled_piece):
        cached.cache_clear()


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
    for length in (12, 9, 7):  # of which the later ones are compiled for all lengths
        x = torch.randn(3, length, 16, dtype=torch.float64)
        found = []
        for compiled in (False, True):
            net.compiled = compiled
            y, _ = net(x)
            gradients = torch.autograd.grad(y.square().sum(), list(net.parameters()))
            found.append([y, *gradients])
        assert_close(found[1], found[0])
    assert traced == ["Block.forward"]
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


def test_a_step_is_compiled_where_it_was_asked_for(traced: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "LOGITS", 10)
    torch.manual_seed(0)
    task = LanguageModel(Transformer(8, 1, 2, context=6), Tokenizer.char(["abc"])).double()
    tokens = torch.randint(4, 7, (2, 7))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    found = []
    for _ in range(2):
        objective = task.losses(batch, None).objective
        found.append([objective, *torch.autograd.grad(objective, list(task.parameters()))])
        assert len(traced) == 2 * task.compiled
        if not task.compiled:
            compile_steps(task)
    assert sorted(traced) == ["Block.forward", "_piece"]
    assert_close(found[1], found[0])


def test_fit_asks_for_it(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("abc " * 200)
    data = TextDataModule(str(text), length=8, batch_size=2)
    with pytest.raises(InputError, match="compile was given, and GRU"):
        fit(LanguageModel(GRU(4, 4), data.tokenizer), data, max_steps=1, compile=True, runs=str(tmp_path / "runs"))
    task = LanguageModel(Transformer(8, 1, 2), data.tokenizer)
    with pytest.raises(InputError, match="was given with compile; leave it out"):
        fit(task, data, max_steps=1, compile=True, strategy="fsdp", devices=2, runs=str(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_what_there_is_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = "".join(chr(0x10000 + number) for number in range(MANY))
    few, many = Tokenizer.char(["abc"]), Tokenizer.char([letters])
    task = LanguageModel(Transformer(8, 1, 2), few)
    compile_steps(task)
    assert task.backbone.compiled  # type: ignore[attr-defined]
    assert task.compiled
    compile_steps(LanguageModel(GRU(4, 4), many))
    task = LanguageModel(Transformer(8, 1, 2), few)
    monkeypatch.setenv("CXX", "no-such-compiler")
    told = compile_steps(task, "cpu")
    assert told.startswith("compile was given, and the C++ compiler no-such-compiler is not installed")
    assert not task.backbone.compiled  # type: ignore[attr-defined]
    task = LanguageModel(MultiplicativeLSTM(4, 4), few)
    assert compile_steps(task, "cpu").startswith("compile nothing: MultiplicativeLSTM has a backward pass of its own")
    assert not task.compiled
    with pytest.raises(InputError, match=r"compile was given, and GRU has neither residual blocks nor 4,096"):
        compile_steps(LanguageModel(GRU(4, 4), few))


def test_code_is_kept_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for before in (None, default_cache_dir()):
        monkeypatch.delenv(VARIABLE, raising=False)
        if before is not None:  # torch itself has written it
            monkeypatch.setenv(VARIABLE, before)
        with kept_code() as folder:
            assert folder.name == "compiled.torch"
            assert os.environ[VARIABLE] == str(folder)
        assert os.environ.get(VARIABLE) == before
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mine"))
    with kept_code() as folder:
        assert folder == tmp_path / "mine"
    assert os.environ[VARIABLE] == str(tmp_path / "mine")


def test_compiling_changes_nothing_else(traced: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights, gradients and random state are as before; both the first use and later ones are told."""
    task = LanguageModel(Transformer(8, 1, 2, context=6, dropout=0.1), Tokenizer.char(["abc"]))
    compile_steps(task, "gpu")
    tokens = torch.randint(4, 7, (2, 7))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    weights = {name: weight.clone() for name, weight in task.state_dict().items()}
    before = torch.get_rng_state()
    compile_now(task, batch, tmp_path, mixed=False)
    assert traced == ["Block.forward"]
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in task.parameters())
    assert_close(task.state_dict(), weights)
    told = capsys.readouterr().err
    assert told.startswith("steps of Transformer, compiled once ... read in ")
    assert told.endswith(" s\n")
    assert compile_now(task, batch, tmp_path, mixed=False, say=False)
    assert not capsys.readouterr().err


SCRIPT = """
import sys
import torch
from seqmodels import LanguageModel, TextDataModule, fit, nn
torch.manual_seed(0)
data = TextDataModule(sys.argv[1], length=12, batch_size=4, carry=True)
task = LanguageModel(getattr(nn, sys.argv[2])(16, 1, 2), data.tokenizer)
how = {"compile": bool(sys.argv[3]), "runs": sys.argv[4], "precision": sys.argv[5]}
fit(task, data, max_steps=4, validations=1, diagnostics=False, **how)
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_compiler_that_fails(precision: str, tmp_path: Path) -> None:
    """It is told in a line, and training goes on without."""
    text, broken = tmp_path / "text.txt", tmp_path / "broken"
    text.write_text("a b cab " * 200)
    fails = "echo 'x.cpp:1: fatal error: Python.h: none' >&2; exit 1"
    broken.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec g++ --version;; esac\n{fails}\n')
    broken.chmod(0o755)
    words = [sys.executable, "-c", SCRIPT, str(text), "Transformer", "yes", str(tmp_path / "runs"), precision]
    own = {VARIABLE: str(tmp_path / "code"), "CXX": str(broken)}
    done = subprocess.run(words, env=os.environ | own, capture_output=True, text=True, check=True)
    assert f"the C++ compiler {broken} fails (x.cpp:1: fatal error: Python.h: none); it needs" in done.stderr
    assert "one operation at a time" in done.stderr
    assert "Traceback" not in done.stderr
    assert "compile before" not in done.stdout
    assert [*(tmp_path / "runs").glob("*/*/result.json")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("network", [Transformer, GatedDeltaNet, Mamba2])
def test_losses_are_equal_and_later_processes_read_the_code(network: type, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a b cab " * 200)
    told, losses = [], []
    for number, compiled in enumerate(("", "yes", "yes")):
        runs = tmp_path / str(number)
        words = [sys.executable, "-c", SCRIPT, str(text), network.__name__, compiled, str(runs), "32-true"]
        done = subprocess.run(
            words, env=os.environ | {VARIABLE: str(tmp_path / "code")}, capture_output=True, text=True, check=True
        )
        told.append(done.stderr)
        (folder,) = runs.glob("*/*")
        losses.append(float(done.stdout.split("best")[1].split()[0]))
        assert folder.is_dir()
    assert "compil" not in told[0]
    assert " s, kept in " in told[1].split(f"steps of {network.__name__}, compiled once ... ")[1]
    assert f"steps of {network.__name__}, compiled once ... read in " in told[2]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)  # as printed
    assert losses[2] == losses[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch about its own code
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("network", [Transformer, GatedDeltaNet, Mamba2])
def test_compiled_losses_and_gradients(network: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real compiler
    torch.manual_seed(0)
    task = LanguageModel(network(16, 1, 2), Tokenizer.char(["abc"]))
    tokens = torch.randint(4, 7, (2, 13))
    batch = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    found = []
    for _ in range(2):
        objective = task.losses(batch, None).objective
        found.append([objective, *torch.autograd.grad(objective, list(task.parameters()))])
        compile_steps(task, "cpu")
    assert_close(found[1], found[0], rtol=1e-5, atol=1e-5)
