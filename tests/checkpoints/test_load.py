"""Law 9: saved and loaded, from the file alone, the outputs are the same; damaged and foreign files are refused."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import NETWORKS
from torch.testing import assert_close
from trainers import small_model, small_module, train

from seqmodels import InputError, LanguageModel, load
from seqmodels.batch import Batch


def saved(text: Path, path: Path, name: str = "LSTM", tokenizer: str = "char") -> LanguageModel:
    data = small_module(text, True, tokenizer=tokenizer, vocab_size=300 if tokenizer == "bpe" else None)
    model = small_model(data, NETWORKS[name]())
    train(model, data, 2).save_checkpoint(path)
    return model.eval()


@pytest.mark.parametrize("name", [name for name in NETWORKS if "positions" not in name and "learned" not in name])
def test_round_trip(text_file: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.ckpt"
    model = saved(text_file, path, name)
    loaded = load(path)
    assert not loaded.training
    batch = Batch(torch.randint(4, 20, (2, 9)), torch.randint(4, 20, (2, 9)))
    assert_close(loaded(batch)[0], model(batch)[0], rtol=0, atol=0)
    assert loaded.constructor_call == model.constructor_call


def test_from_the_file_alone(text_file: Path, tmp_path: Path) -> None:
    """Another process, without the text: the same continuations. What tracks runs is imported where it is asked for."""
    wanted = []
    for tokenizer in ("char", "byte", "bpe"):
        model = saved(text_file, tmp_path / f"{tokenizer}.ckpt", tokenizer=tokenizer)
        wanted.append("".join(model.generate("the", max_tokens=12, seed=3)))
    code = """
import gc, json, sys, seqmodels
searches = []
gc.callbacks.append(lambda phase, about: searches.append(phase))
seqmodels.load
rarely = len(searches) < 10
import seqmodels.training.fit, seqmodels.training.wandb_logger
models = [seqmodels.load(f"{name}.ckpt") for name in ("char", "byte", "bpe")]
written = ["".join(model.generate("the", max_tokens=12, seed=3)) for model in models]
json.dump([*written, rarely, "wandb" in sys.modules], sys.stdout)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [*wanted, True, False]


def test_holds_tensors_and_plain_data(text_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    saved(text_file, path)
    content = torch.load(path, weights_only=True)
    record = content["seqmodels"]
    assert record["task"]["class_path"] == "seqmodels.LanguageModel"
    assert record["task"]["init_args"]["backbone"]["init_args"]["hidden_size"] == 8
    assert record["data"]["init_args"]["carry"] is True


class Canary:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("canary"),)


def test_no_code_runs_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"seqmodels": Canary(), "state_dict": {}}, "evil.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(Canary()))
    for name in ("evil.ckpt", "plain.ckpt"):
        with pytest.raises(InputError, match="cannot be read"):
            load(name)
    assert not Path("canary").exists()


def test_truncated_at_any_place(text_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    saved(text_file, path)
    whole = path.read_bytes()
    for foreign in (b"the text", b"a", b"s", b"b", b"\x00"):
        path.write_bytes(foreign)
        with pytest.raises(InputError, match="cannot be read"):
            load(path)
    for share in (0.0, 0.01, 0.3, 0.7, 0.99, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="truncated"):
            load(path)


def test_foreign(tmp_path: Path, text_file: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match="another program"):
        load(tmp_path / "foreign.ckpt")
    saved(text_file, tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    content["seqmodels"]["task"]["class_path"] = "subprocess.Popen"
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"subprocess\.Popen"):
        load(tmp_path / "evil.ckpt")
    content["seqmodels"]["format"] = 99
    torch.save(content, tmp_path / "newer.ckpt")
    with pytest.raises(InputError, match="format 99"):
        load(tmp_path / "newer.ckpt")


def test_weights_that_do_not_fit(tmp_path: Path, text_file: Path) -> None:
    saved(text_file, tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    content["state_dict"].pop("head.bias")
    torch.save(content, tmp_path / "less.ckpt")
    with pytest.raises(InputError, match="does not fit"):
        load(tmp_path / "less.ckpt")


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        load(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no checkpoints"):
        load(tmp_path)
