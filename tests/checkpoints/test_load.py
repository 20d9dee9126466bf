"""Law 9: saved and loaded, from the file alone, the outputs are the same; damaged and foreign files are refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import NETWORKS
from torch.testing import assert_close
from trainers import small_model, small_module, train

from seqmodels import InputError, LanguageModel, Transformer, load
from seqmodels.batch import Batch
from seqmodels.checkpoints.load import load_with_origin
from seqmodels.checkpoints.safetensors_io import read, write


def saved(text: Path, path: Path, name: str = "LSTM", tokenizer: str = "char", **settings: Any) -> LanguageModel:
    data = small_module(text, True, tokenizer=tokenizer, vocab_size=300 if tokenizer == "bpe" else None)
    model = small_model(data, NETWORKS[name]())
    train(model, data, 2, **settings).save_checkpoint(path)
    return model.eval()


@pytest.mark.parametrize("name", [name for name in NETWORKS if "positions" not in name and "learned" not in name])
def test_round_trip(text_file: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    model = saved(text_file, path, name)
    loaded = load(path)
    assert not loaded.training
    batch = Batch(torch.randint(4, 20, (2, 9)), torch.randint(4, 20, (2, 9)))
    assert_close(loaded(batch)[0], model(batch)[0], rtol=0, atol=0)
    assert loaded.constructor_call == model.constructor_call


def test_checkpoint_of_lightning(text_file: Path, tmp_path: Path) -> None:
    """As a user's own trainer writes it, without the plugin."""
    model = saved(text_file, tmp_path / "model.ckpt", plugins=[])
    loaded = load(tmp_path / "model.ckpt")
    assert (tmp_path / "model.ckpt").read_bytes().startswith(b"PK")
    assert loaded.constructor_call == model.constructor_call
    for name, tensor in model.state_dict().items():
        assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    damaged = bytearray((tmp_path / "model.ckpt").read_bytes())
    damaged[damaged.index(model.embedding.weight.detach().numpy().tobytes()) + 3] ^= 1 << 6
    (tmp_path / "model.ckpt").write_bytes(damaged)
    with pytest.raises(InputError, match="checksum of 'archive/data/"):
        load(tmp_path / "model.ckpt")


def test_from_the_file_alone(text_file: Path, tmp_path: Path) -> None:
    """Another process, without the text: the same continuations. W&B is imported only on request."""
    wanted = []
    for tokenizer in ("char", "byte", "bpe"):
        model = saved(text_file, tmp_path / tokenizer, tokenizer=tokenizer)
        wanted.append("".join(model.generate("the", max_tokens=12, seed=3)))
    code = """
import gc, json, sys, seqmodels
searches = []
gc.callbacks.append(lambda phase, about: searches.append(phase))
seqmodels.load
rarely = len(searches) < 10
import seqmodels.training.fit, seqmodels.training.wandb_logger
models = [seqmodels.load(name) for name in ("char", "byte", "bpe")]
written = ["".join(model.generate("the", max_tokens=12, seed=3)) for model in models]
json.dump([*written, rarely, "wandb" in sys.modules], sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [*wanted, True, False]


def test_origin(text_file: Path, tmp_path: Path) -> None:
    saved(text_file, tmp_path / "model")
    loaded = load_with_origin(tmp_path / "model")
    assert loaded.step == 2
    assert loaded.data_arguments["carry"] is True
    assert loaded.task.constructor_call["class_path"] == "seqmodels.LanguageModel"


def test_only_the_weights_are_read(text_file: Path, tmp_path: Path) -> None:
    """They are mapped, and a bit that flipped among the moments of the optimizer does not matter to them."""
    path = tmp_path / "model"
    saved(text_file, path)
    moment = read(path)["optimizer_states"][0]["state"][0]["exp_avg"]
    changed = bytearray(path.read_bytes())
    changed[changed.index(moment.numpy().tobytes()) + 1] ^= 1
    path.write_bytes(changed)
    task = load(path)
    assert isinstance(task, LanguageModel)
    assert task.embedding.weight.requires_grad
    assert str(path) in Path("/proc/self/maps").read_text()
    with torch.no_grad():
        task.embedding.weight.fill_(1)
    assert path.read_bytes() == changed  # the file is not written to
    with pytest.raises(InputError, match=r"checksum of 'optimizer_states\.0\.state\.0\.exp_avg'"):
        read(path)


def test_a_network_from_elsewhere(text_file: Path, tmp_path: Path) -> None:
    """Its constructor may read its initial weights, which those of this package do not."""

    class Curious(Transformer):
        def __init__(self, input_size: int, num_layers: int, num_heads: int) -> None:
            super().__init__(input_size, num_layers, num_heads)
            self.mean = float(next(self.parameters()).detach().mean())

    data = small_module(text_file, False)
    model = small_model(data, Curious(8, 1, 2))
    train(model, data, 1).save_checkpoint(tmp_path / "model")
    loaded = load(tmp_path / "model")
    for name, tensor in model.state_dict().items():
        assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_truncated_at_any_place(text_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    saved(text_file, path)
    whole = path.read_bytes()
    for foreign in (b"the text", b"a", b"s", b"b", b"\x00"):
        path.write_bytes(foreign)
        with pytest.raises(InputError, match="cannot be read"):
            load(path)
    for fraction in (0.0, 0.01, 0.3, 0.7, 0.99, 0.999):
        path.write_bytes(whole[: int(fraction * len(whole))])
        with pytest.raises(InputError, match="truncated"):
            load(path)


def test_foreign(tmp_path: Path, text_file: Path) -> None:
    path = tmp_path / "model.safetensors"
    write(path, {"state_dict": {"weight": torch.zeros(2)}})
    with pytest.raises(InputError, match="another program"):
        load(path)
    saved(text_file, path)
    content = read(path)
    content["seqmodels"]["task"]["class_path"] = "subprocess.Popen"
    write(path, content)
    with pytest.raises(InputError, match=r"subprocess\.Popen"):
        load(path)
    content["seqmodels"]["format"] = 99
    write(path, content)
    with pytest.raises(InputError, match="format 99"):
        load(path)


def test_weights_that_do_not_fit(tmp_path: Path, text_file: Path) -> None:
    saved(text_file, tmp_path / "model")
    content = read(tmp_path / "model")
    content["state_dict"].pop("head.bias")
    write(tmp_path / "less", content)
    with pytest.raises(InputError, match="does not fit"):
        load(tmp_path / "less")


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no checkpoints"):
        load(tmp_path)
