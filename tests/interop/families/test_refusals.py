"""Folders that cannot be read: one sentence that names what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from interop.families.models import changed, written
from safetensors.torch import load_file, save_file

from seqmodels import DamagedError, InputError, load
from seqmodels.cli.main import main
from seqmodels.interop.families import KNOWN


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "model"
    written("gpt2", folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for file in original.iterdir():
        (made / file.name).write_bytes(file.read_bytes())
    return made


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the weights."""
    found = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(found)
    save_file(found, folder / "model.safetensors")


QUERY = "transformer.h.1.attn.c_attn.weight"
CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown family": (lambda f: changed(f, model_type="mamba"), "type 'mamba'; known here: gpt2, llama"),
    "experts": (
        lambda f: changed(f, model_type="qwen3_next", num_hidden_layers=2, mlp_only_layers=[0]),
        "layer 1 in .*config.json' is a mixture of 512 experts, which no network has here; expected dense",
    ),
    "bounds of steps": (
        lambda f: changed(f, model_type="mamba2", time_step_limit=[0.0, 0.5]),
        r"time_step_limit=\[0.0, 0.5\] in .* is not known here",
    ),
    "unknown layers": (
        lambda f: changed(f, model_type="recurrent_gemma", hidden_size=8, num_hidden_layers=2, block_types=["lstm"]),
        r"block_types=\['lstm'\] in .* is not known; expected recurrent, attention",
    ),
    "other layers": (
        lambda f: changed(f, model_type="qwen3_5_text", num_hidden_layers=2, layer_types=["full_attention"]),
        "layer_types=.* is not known; expected linear_attention, full_attention",
    ),
    "biases of an xLSTM": (lambda f: changed(f, model_type="xlstm", use_bias=True), "use_bias=True in .* is not known"),
    "no type at all": (lambda f: changed(f, model_type=7), "type 7; known here"),
    "fewer layers": (
        lambda f: changed(f, n_layer=1),
        "'h.1.attn.c_attn.bias' and 11 more, which its config.json lacks",
    ),
    "more layers": (lambda f: changed(f, n_layer=3), "no tensor 'h.2."),
    "other width": (lambda f: changed(f, n_embd=16), "config.json in .* does not fit the weights"),
    "huge": (lambda f: changed(f, n_embd=1 << 20, n_layer=1 << 20), "more than"),
    "no width": (lambda f: changed(f, n_embd=None), "n_embd is missing in .*config.json'; expected a size"),
    "width of text": (lambda f: changed(f, n_embd="many"), "n_embd is 'many' in"),
    "unknown activation": (lambda f: changed(f, activation_function="mish"), "activation_function='mish' in"),
    "unknown setting": (
        lambda f: changed(f, scale_attn_by_inverse_layer_idx=True),
        "scale_attn_by_inverse_layer_idx=True",
    ),
    "missing tensor": (lambda f: tensors(f, lambda t: t.pop(QUERY)), "has no tensor 'h.1.attn.c_attn.weight'"),
    "extra tensor": (
        lambda f: tensors(f, lambda t: t.update(more=torch.zeros(2))),
        "has the tensor 'more', which its config.json lacks",
    ),
    "whole numbers": (
        lambda f: tensors(f, lambda t: t.update({QUERY: t[QUERY].to(torch.int32)})),
        "expected weights in F32, F16 or BF16",
    ),
    "few rows": (
        lambda f: tensors(f, lambda t: t.update({"transformer.wte.weight": t["transformer.wte.weight"][:9]})),
        "the tokenizer has .* tokens, and 'wte.weight' 9 rows",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        "has no tokenizer.json, and not vocab.json with merges.txt",
    ),
    "end beyond": (
        lambda f: (changed(f, eos_token_id=9999), (f / "generation_config.json").unlink()),
        "the tokenizer has no such token",
    ),
    "pickled": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin, pickled, which can run",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "has no model.safetensors and no model.safetensors.index",
    ),
    "not safetensors": (lambda f: (f / "model.safetensors").write_bytes(b"hello" * 99), "is no file of safetensors"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "is no file of safetensors"),
    "lost shard": (
        lambda f: (
            (f / "model.safetensors").rename(f / "model-00001-of-00002.safetensors"),
            (f / "model.safetensors.index.json").write_text(
                json.dumps(
                    {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
                )
            ),
        ),
        "has no model-00002-of-00002.safetensors, which its index names",
    ),
    "shard elsewhere": (
        lambda f: (
            (f / "model.safetensors").unlink(),
            (f / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}})),
        ),
        "names no files of weights",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence(name: str, folder: Path) -> None:
    change, said = CASES[name]
    change(folder)
    with pytest.raises(InputError, match=said) as found:
        load(folder)
    assert "\n" not in str(found.value)


def test_a_truncated_file(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="truncated or damaged: its tensors end at byte"):
        load(folder)


def test_all_known_families_are_listed(folder: Path) -> None:
    changed(folder, model_type="rwkv")
    with pytest.raises(InputError, match=", ".join(KNOWN)):
        load(folder)


@pytest.mark.parametrize("command", ["generate", "score", "report"])
def test_from_the_command_line(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    changed(folder, model_type="mamba")
    with pytest.raises(SystemExit) as ended:
        main([command, str(folder)])
    assert ended.value.code == 2
    assert "known here: gpt2" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_a_text_longer_than_the_positions(folder: Path) -> None:
    model = load(folder)
    with pytest.raises(InputError, match="exceed the 256 positions of this network; give a shorter prompt"):
        list(model.generate("the " * 300, max_tokens=1))  # type: ignore[operator]
