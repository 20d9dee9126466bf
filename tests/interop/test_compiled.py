"""Compiled steps of generation: the functions that are compiled, the code, and what is said without a compiler."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from refusals import assert_refused, refused
from torch import Tensor
from torch.testing import assert_close

from seqmodels.cli import generate
from seqmodels import (
    LSTM,
    RGLRU,
    RWKV7,
    SLSTM,
    GatedDeltaNet,
    Hybrid,
    LanguageModel,
    Mamba2,
    MultiplicativeLSTM,
    Tokenizer,
    Transformer,
)  # fmt: skip
from seqmodels.cli.main import main
from seqmodels.interop.compiled import engine
from seqmodels.interop.compiled.graphs import kind_of, module_of

NETWORKS = {
    "rotary": partial(Transformer, num_kv_heads=2, context=6, norm="rms", activation="swiglu", qk_norm=True),
    "learned": partial(Transformer, context=20, positions="learned", window=7),
    "relative": partial(Transformer, context=6, positions="relative", residual="post-norm"),
    "GatedDeltaNet": GatedDeltaNet,
    "Mamba2": Mamba2,
    "RWKV7": partial(RWKV7, value_residual=True),
    "RGLRU": RGLRU,
}


def made(network: Any, *sizes: int) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(network(*(sizes or (16, 2, 4))), Tokenizer.char(["abcdef"])).eval()


def as_it_is(model: LanguageModel, kind: Any) -> tuple[Any, dict[str, Tensor]]:
    """In the place of compiled code, the function that is compiled."""
    module = module_of(model, kind)

    def run(given: list[Tensor]) -> tuple[Tensor, ...]:
        out = module(*given[:4], given[4:]) if kind == "cached" else module(*given)
        return out if isinstance(out, tuple) else (out,)

    return SimpleNamespace(run=run), {}


@torch.inference_mode()
def check_steps(model: LanguageModel) -> None:
    """Steps from a state, beyond the window, and after rows have left, are those of torch."""
    tokens = torch.randint(4, 9, (4, 14))
    _, state = model.backbone(model.embedding(tokens[:, :4]), None)
    ours, theirs = engine.CompiledEngine(model).steps(state, 4), model.steps(state, 4)
    for t in range(4, 14):
        assert_close(ours(tokens[:, t]), theirs(tokens[:, t]), rtol=1e-4, atol=1e-5)
        if t in (6, 10):
            rows = torch.tensor([2, 0]) if t == 6 else torch.tensor([1])
            ours.select(rows)
            theirs.select(rows)
            tokens = tokens[rows]


@pytest.mark.parametrize("name", NETWORKS)
def test_functions_of_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_loaded", as_it_is)
    check_steps(made(NETWORKS[name]))


@pytest.mark.parametrize("network", [MultiplicativeLSTM, partial(SLSTM, learn_initial_state=False)])
def test_functions_of_a_stack(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_loaded", as_it_is)
    check_steps(made(network, 8, 8, 2))


def test_rows_of_different_lengths_are_stepped_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_loaded", as_it_is)
    model = made(Transformer)
    expected = model.generate_batch(["a", "abc"], max_tokens=5, seed=1)
    model.engine = engine.CompiledEngine(model)
    assert model.generate_batch(["a", "abc"], max_tokens=5, seed=1) == expected


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (partial(LSTM, 8, 8), "LSTM has layers that step as fast by torch's own kernels"),
        (partial(Hybrid, 8, "MinGRU,attention", 2), "Hybrid is no plain Transformer"),
    ],
)
def test_what_gains_nothing_is_refused(network: Any, why: str) -> None:
    model = LanguageModel(network(), Tokenizer.char(["abc"]))
    assert_refused(f"compile was given, and {why}", kind_of, model)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(engine, "_key", lambda model, kind: "steps-of-a-test-without-a-compiler")
    monkeypatch.setattr(generate, "load_language_model", lambda run: made(Transformer, 8, 1, 2))
    written = []
    for flags in ([], ["--compile"]):
        main(["generate", "run", "--max-tokens", "5", "--seed", "1", *flags])
        found = capsys.readouterr()
        written.append(found.out)
    assert written[0] == written[1]
    assert found.err == (
        "compile was given, and the C++ compiler no-such-compiler is not installed; install g++; torch computes the "
        "steps one operation at a time\n"
    )
    for flags in (["--int8"], ["--engine", "onnx"]):
        told = f"--compile and {' '.join(flags)} were both given; leave out one of them"
        assert told in refused(capsys, "generate", "run", "--compile", *flags)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learned", "GatedDeltaNet"])
def test_compiled_code(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It computes what torch does; another model of the same form, and another process, finds it in the cache."""
    check_steps(made(NETWORKS[name]))
    first = capsys.readouterr().err
    model = made(NETWORKS[name])
    torch.nn.init.normal_(model.head.weight)
    check_steps(model)
    second = capsys.readouterr().err
    assert first.count("\n") == second.count("\n") == 1
    assert second.startswith("compiled steps read in ")
