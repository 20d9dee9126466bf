"""ONNX graphs, run by onnxruntime, give what torch gives: every network, every way of reading."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import NETWORKS
from refusals import assert_refused
from safetensors.numpy import load_file

from seqmodels import GRU, LSTM, Hybrid, LanguageModel, Sampling, Tokenizer, Transformer, Translator
from seqmodels.decoding import Beam, RowGenerators
from seqmodels.environment import threads
from seqmodels.interop.export import export
from seqmodels.interop.onnx.engine import OnnxEngine, write_engine
from seqmodels.interop.onnx.graphs import StepGraph, example_states, flattened
from seqmodels.interop.onnx.translator_engine import OnnxTranslator
from seqmodels.interop.onnx.writing import step_inputs, write_decoder, write_graph
from seqmodels.nn import Backbone, Bidirectional, GatedDeltaNet, Sequential, as_backbone

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

TOKENS = Tokenizer.char(["abcdefgh"])


def made(network: Backbone) -> LanguageModel:
    """Weights far enough from zero that every part of a network shows in the logits."""
    torch.manual_seed(0)
    model = LanguageModel(network, TOKENS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


LONG = {
    "Hybrid-of-memories", "Mamba2-2", "Transformer-grouped-rms-swiglu", "Hybrid", "GRU", "GRU-2", "MultiplicativeRNN",
    "Transformer",
}  # fmt: skip
"""Networks that take long to export and are made of parts that others have, too."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in NETWORKS])
def test_steps_are_those_of_torch(name: str, tmp_path: Path) -> None:
    """From the start on, with other rows than the exporter saw, and past the context."""
    model = made(NETWORKS[name]())
    before, after = example_states(model)
    inputs, outputs, axes = step_inputs(model, before, after)
    write_graph(tmp_path / "step.onnx", StepGraph(model, after), inputs, outputs, axes)
    graph = session(tmp_path / "step.onnx")
    names = [one.name for one in graph.get_inputs()]
    ids, state = torch.randint(4, 12, (5, 9)), model.backbone.initial_state(5)  # type: ignore[operator]
    tensors = [tensor.detach().numpy() for tensor in flattened(state)]
    with torch.no_grad():
        for token in ids.unbind(1):
            expected, state = model.step(token, state)
            logits, *tensors = graph.run(None, dict(zip(names, [token.numpy(), *tensors], strict=True)))
            np.testing.assert_allclose(logits, expected, atol=2e-5)
    for found, wanted in zip(tensors, flattened(state), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.slow
def test_windows_of_transformers(tmp_path: Path) -> None:
    """Of any length, from an empty cache or a filled one, beyond the context, too; and the files beside them."""
    network = Transformer(16, 1, 4, 2, context=6, bias="qkv")
    model = made(network)
    export(model, tmp_path / "out", "onnx")
    graph = session(tmp_path / "out" / "window.onnx")
    start = load_file(tmp_path / "out" / "state.safetensors")
    names = [one.name for one in graph.get_inputs()]
    tensors, state = [np.repeat(start[name], 2, 0) for name in names[1:]], None
    with torch.no_grad():
        for length in (4, 1, 1, 9, 2):
            ids = torch.randint(4, 12, (2, length))
            expected, state = model(ids, state)
            logits, *tensors = graph.run(None, dict(zip(names, [ids.numpy(), *tensors], strict=True)))
            np.testing.assert_allclose(logits, expected, atol=2e-5)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "hold neither sampling nor beam search" in text
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "README.md", "state.safetensors", "step.onnx", "tokenizer.json", "window.onnx",
    ]  # fmt: skip


def test_the_loop_of_the_readme_writes_the_likeliest_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = made(LSTM(6, 8, learn_initial_state=True))
    export(model, tmp_path / "out", "onnx")
    monkeypatch.chdir(tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace('"def "', '"abc"'), {})
    with torch.no_grad():
        ids = [1, *TOKENS.encode("abc")]
        while len(ids) < 101:
            logits = model(torch.tensor([ids]))[0][0, -1]
            logits[[0, 1, 3]] = -torch.inf
            ids.append(int(logits.argmax()))
    assert capsys.readouterr().out.strip() == TOKENS.decode(ids[1:])


@pytest.mark.slow
def test_eight_bits_are_close(tmp_path: Path) -> None:
    model = made(Transformer(64, 1, 4, context=16))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.3)
    export(model, tmp_path / "out", "onnx", int8=True)
    assert "stay in single precision" in (tmp_path / "out" / "README.md").read_text()
    graph, start = session(tmp_path / "out" / "step.onnx"), load_file(tmp_path / "out" / "state.safetensors")
    logits = graph.run(["logits"], {"ids": np.array([5]), **start})[0]
    with torch.no_grad():
        expected = model.step(torch.tensor([5]), None)[0].numpy()
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


TRANSLATORS = {
    "Transformer": lambda: Translator(
        Transformer(16, 1, 2, causal=False, context=32), Transformer(16, 1, 2, memory_size=16, context=32), TOKENS
    ),
    "Transformer and GRU": lambda: Translator(
        Transformer(16, 1, 2, causal=False, context=32), GRU(16, 16), TOKENS, attention="general"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators(name: str, tmp_path: Path) -> None:
    """Encoder and decoder step, with other rows and lengths than the exporter saw, and padding."""
    torch.manual_seed(0)
    model = TRANSLATORS[name]().eval()
    export(model, tmp_path / "out", "onnx")
    encoder, decoder = session(tmp_path / "out" / "encoder.onnx"), session(tmp_path / "out" / "decoder.onnx")
    source = torch.randint(4, 12, (2, 7))
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    with torch.no_grad():
        memory = model.encode(source, mask)
        tensors = encoder.run(None, {"source": source.numpy(), "mask": mask.numpy()})
        for found, expected in zip(tensors, flattened(memory), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
        token = torch.tensor([1, 1])
        logits, state = model.step(token, None, memory)
        first = session(tmp_path / "out" / "first.onnx")
        given = dict(zip([one.name for one in first.get_inputs()], [token.numpy(), *tensors], strict=True))
        for found, expected in zip(first.run(None, given), [logits, *flattened(state)], strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)
        names = [one.name for one in decoder.get_inputs()][1:]
        for step in range(3):
            token = logits.argmax(1)
            given = [*tensors, *(tensor.numpy() for tensor in flattened(state))]
            found, *_ = decoder.run(None, {"ids": token.numpy(), **dict(zip(names, given, strict=True))})
            logits, state = model.step(token, state, memory)
            np.testing.assert_allclose(found, logits, atol=1e-5, err_msg=str(step))


RECURRENT: dict[str, Callable[[], Translator]] = {
    "both ways": lambda: Translator(GRU(8, 8, 2), GRU(8, 8), TOKENS),
    "copied state": lambda: Translator(
        LSTM(8, 8, 2), LSTM(8, 8, 2), TOKENS, attention="none", bidirectional=False, bridge="copy"
    ),
    "associative memory": lambda: Translator(GatedDeltaNet(8, 1, 2), GRU(8, 8), TOKENS),
    "hybrid": lambda: Translator(
        Hybrid(8, "RGLRU,MinGRU", num_heads=2), Hybrid(8, "Mamba2,attention", num_heads=2, memory_size=8), TOKENS,
        bidirectional=False,
    ),
}  # fmt: skip
"""Translators whose encoders have a state of one size."""


@pytest.mark.slow
@pytest.mark.parametrize("name", RECURRENT)
def test_translators_with_recurrent_encoders(name: str, tmp_path: Path) -> None:
    """Steps in each direction, with padding, the memory of their outputs, and a text from it."""
    torch.manual_seed(0)
    model = RECURRENT[name]().eval()
    export(model, tmp_path / "out", "onnx")
    assert "encoder_step_backward.onnx" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "encoder.onnx").exists()
    source, mask = torch.randint(4, 12, (2, 7)), torch.arange(7) < torch.tensor([[7], [4]])
    starts, outputs, ends = load_file(tmp_path / "out" / "state.safetensors"), [], list[Any]()
    for name, order in {"encoder_step": range(7), "encoder_step_backward": range(6, -1, -1)}.items():
        if not (tmp_path / "out" / f"{name}.onnx").exists():
            continue
        step = session(tmp_path / "out" / f"{name}.onnx")
        names = [one.name for one in step.get_inputs()][2:]
        state = [np.repeat(starts[f"{name}.{one}"], 2, 0) for one in names]
        found: list[Any] = [None] * 7
        for t in order:
            given = {"ids": source[:, t].numpy(), "real": mask[:, t].numpy()}
            found[t], *state = step.run(None, given | dict(zip(names, state, strict=True)))
        outputs.append(np.stack(found, 1))
        ends = ends or state
    remembering = session(tmp_path / "out" / "memory.onnx")
    names = [one.name for one in remembering.get_inputs()][2:]
    given = {"outputs": np.concatenate(outputs, -1), "mask": mask.numpy()} | dict(zip(names, ends, strict=False))
    memory = remembering.run(None, given)
    with torch.no_grad():
        for array, tensor in zip(memory, flattened(model.encode(source, mask)), strict=True):
            np.testing.assert_allclose(array, tensor, atol=1e-5)
        wanted, _ = model.step(torch.tensor([1, 1]), None, model.encode(source, mask))
    first = session(tmp_path / "out" / "first.onnx")
    inputs = [one.name for one in first.get_inputs()]
    given = dict(zip(inputs, [np.array([1, 1]), *memory], strict=True))
    np.testing.assert_allclose(first.run(None, given)[0], wanted, atol=1e-5)


ENGINES = {
    "learned, biases": lambda: Transformer(
        32, 1, 2, context=40, positions="learned", bias="all", activation="gelu-tanh"
    ),
    "rotary, narrow, grouped": lambda: Transformer(
        32, 1, 4, 2, context=9, norm="rms", activation="swiglu", qk_norm=True, rotary_share=0.5, residual="parallel"
    ),
    "sinusoidal, post-norm": lambda: Transformer(
        16, 1, 2, positions="sinusoidal", residual="post-norm", input_scale=4.0
    ),
    "small heads": lambda: Transformer(8, 1, 2, context=8),
    "LSTM": lambda: LSTM(6, 8, 2, learn_initial_state=True),
}


def test_torch_draws_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would wait for more work on the cores that onnxruntime needs; prompts are read by all of them."""
    model = made(Transformer(16, 1, 2, context=20))
    write_engine(model, tmp_path / "model.onnx")
    engine, seen = OnnxEngine(model, tmp_path / "model.onnx"), list[int]()

    def noted(logits: torch.Tensor, *args: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return logits.softmax(-1)

    monkeypatch.setattr(Sampling, "probabilities", lambda self, logits, *args: noted(logits))
    with threads(3):
        for _ in engine.drawing([[4, 5], [6, 7]], 1, Sampling(), 4, RowGenerators(0, [(0,), (1,)])):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 3
    assert seen == [3, 1, 1, 1]


def test_torch_searches_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise, in beam search."""
    model = TRANSLATORS["Transformer and GRU"]().eval()
    write_decoder(model, tmp_path / "decoder.onnx")
    with threads(3):
        engine, seen, step = OnnxTranslator(model, tmp_path / "decoder.onnx"), list[int](), OnnxTranslator.step

        def noted(*args: Any) -> Any:
            seen.append(torch.get_num_threads())
            return step(*args)

        monkeypatch.setattr(OnnxTranslator, "step", noted)
        engine.translations(["ab", "c"], Beam(size=2))
        assert torch.get_num_threads() == 3
    assert len(seen) > 1
    assert set(seen) == {1}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "small heads")) for name in ENGINES]
)
def test_the_engine_writes_what_torch_writes(name: str, tmp_path: Path) -> None:
    """Prompts of several lengths, rows that leave, random numbers, caches that grow and windows that slide."""
    model = made(ENGINES[name]())
    write_engine(model, tmp_path / "engine.onnx")
    length = 30 if model.backbone.max_length else 290

    def texts() -> list[object]:
        prompts, greedy = ["ab", "abcdefg", "", "c"], Sampling(temperature=0, repetition_penalty=1.3)
        return [
            model.generate_batch(prompts, samples=2, max_tokens=20, seed=3, stop=["ab"]),
            "".join(model.generate("abc", max_tokens=length, seed=1, sampling=Sampling(logit_bias={2: -100}))),
            "".join(model.generate("abc", max_tokens=20, sampling=greedy)),
        ]

    expected = texts()
    model.engine = OnnxEngine(model, tmp_path / "engine.onnx")
    assert texts() == expected
    assert len(expected[1]) == length  # type: ignore[arg-type]


class Grows(torch.nn.Module):
    """A module without a state before the first token."""

    input_size = hidden_size = 4

    def forward(self, x: torch.Tensor, state: object = None) -> tuple[torch.Tensor, object]:
        return x, (x[:, -1],)


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    network = as_backbone(Grows)
    refused = [
        ("no method initial_state", LanguageModel(network(), TOKENS), "onnx", {}),
        ("at least 3", made(Transformer(8, 1, 2, context=2)), "onnx", {}),
        ("int8 was given with torch", made(LSTM(4, 4)), "torch", {"int8": True}),
        ("choose one of", made(LSTM(4, 4)), "tflite", {}),
        ("CTranslate2 has Transformers only", made(LSTM(4, 4)), "ctranslate2", {}),
        ("recurrent layers", Translator(GRU(8, 8), GRU(8, 8), TOKENS, reverse=True), "onnx", {}),
        ("recurrent layers", Translator(Hybrid(8, "Mamba2,attention", 2), GRU(8, 8), TOKENS), "onnx", {}),
        ("recurrent layers", Translator(Sequential([Bidirectional(GRU(8, 8))]), GRU(8, 8), TOKENS), "onnx", {}),
        ("single precision on the CPU", made(LSTM(4, 4)).double(), "onnx", {}),
    ]
    for message, model, form, how in refused:
        assert_refused(message, export, model, tmp_path / "new", form, **how)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    assert_refused("is there already", export, made(LSTM(4, 4)), tmp_path / "there", "torch")


def test_axes_have_names(tmp_path: Path) -> None:
    model = made(Transformer(8, 1, 2, context=16))
    before, after = example_states(model)
    inputs, outputs, axes = step_inputs(model, before, after)
    write_graph(tmp_path / "step.onnx", StepGraph(model, after), inputs, outputs, axes)
    shapes = {one.name: one.shape for one in session(tmp_path / "step.onnx").get_inputs()}
    assert shapes["ids"] == ["rows"]
    assert [size for size in itertools.chain(*shapes.values()) if isinstance(size, str) and size != "rows"] == [
        "cache", "cache",
    ]  # fmt: skip
