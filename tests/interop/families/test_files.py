"""Files as they are found: shards, types, names with and without prefix, buffers, older tokenizers, the hub."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints.test_hub import hub as hub  # a fixture
from hub_server import Hub
from interop.families.models import changed, written
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from seqmodels import InputError, Tokenizer, load
from seqmodels.batch import BOS, EOS

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own use of httpx


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return load(folder)(torch.tensor([[5, 6, 7, 8]]))[0]  # type: ignore[no-any-return,operator]


def test_shards(tmp_path: Path) -> None:
    written("llama", tmp_path / "one")
    written("llama", tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("model-*.safetensors"))) > 2
    assert_close(logits(tmp_path / "many"), logits(tmp_path / "one"), rtol=0, atol=0)


def rewrite(folder: Path, change) -> None:  # type: ignore[no-untyped-def]
    file = folder / "model.safetensors"
    found = dict(change(name, tensor) for name, tensor in load_file(file).items())
    save_file(found, file)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_types(dtype: torch.dtype, tmp_path: Path) -> None:
    """Half precision is read as it is rounded, into single precision."""
    written("gpt2", tmp_path)
    exact = logits(tmp_path)
    rewrite(tmp_path, lambda name, tensor: (name, tensor.to(dtype).float()))
    wanted = logits(tmp_path)
    rewrite(tmp_path, lambda name, tensor: (name, tensor.to(dtype)))
    found = logits(tmp_path)
    assert found.dtype == torch.float32
    assert_close(found, wanted, rtol=0, atol=0)
    assert not torch.equal(found, exact)


def test_names_without_prefix_and_buffers(tmp_path: Path) -> None:
    """As in the hub's own gpt2."""
    written("gpt2", tmp_path)
    wanted = logits(tmp_path)
    file = tmp_path / "model.safetensors"
    found = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    found |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 4, 4) for layer in range(2)}
    found["lm_head.weight"] = found["wte.weight"].clone()  # of a tied matrix
    save_file(found, file)
    assert_close(logits(tmp_path), wanted, rtol=0, atol=0)


def test_vocab_and_merges(tmp_path: Path) -> None:
    """The same ids as of the one file; a text that begins with a token says so in its settings."""
    written("gpt2", tmp_path)
    wanted = load(tmp_path).tokenizer
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (tmp_path / "tokenizer.json").unlink()
    found = load(tmp_path).tokenizer
    text = "the fox, ran café\n漢"
    assert found.encode(text) == wanted.encode(text)
    assert found.decode(found.encode(text)) == text
    assert found.starts is False
    own = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(own | {"add_bos_token": True}))
    assert load(tmp_path).tokenizer.starts is True
    (tmp_path / "merges.txt").write_text("a b c\n")
    with pytest.raises(InputError, match=r"no merges.txt of two tokens a line"):
        load(tmp_path)


def test_the_end_is_both(tmp_path: Path) -> None:
    """BOS and EOS are one token, which has its probability once."""
    written("gpt2", tmp_path, more_rows=4)
    model = load(tmp_path)
    never = model.head.bias.isneginf().nonzero().flatten().tolist()  # type: ignore[union-attr,operator]
    assert never == [0, BOS, 3, 4]
    assert_close(model.embedding.weight[BOS], model.embedding.weight[EOS])  # type: ignore[union-attr,index]
    assert model.tokenizer.encode("<|endoftext|>") != [EOS]  # its name in a text is text
    probabilities = logits(tmp_path).softmax(-1)
    assert_close(probabilities.sum(-1), torch.ones(1, 4))


def test_a_start_that_a_tokenizer_lacks() -> None:
    with pytest.raises(InputError, match="has none of this name"):
        Tokenizer(Tokenizer.byte().json.replace("<pad>", "<fill>"), end="<|end|>")
    with pytest.raises(InputError, match="has special tokens of this package"):
        Tokenizer(Tokenizer.byte().json, end="a")


@pytest.mark.parametrize("settings", [{}, {"max_shard_size": "20KB"}])
def test_from_the_hub(hub: Hub, tmp_path: Path, settings: dict[str, str]) -> None:
    """Of one file or of several, and no other files."""
    written("llama", tmp_path / "model", **settings)
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    hub.commit("user/model", files | {"pytorch_model.bin": b"no", "code.py": b"no"})
    with torch.no_grad():
        found = load("user/model")(torch.tensor([[5, 6, 7, 8]]))[0]  # type: ignore[operator]
    assert_close(found, logits(tmp_path / "model"), rtol=0, atol=0)
    assert not {"pytorch_model.bin", "code.py"} & set(hub.downloaded())


def test_refusals_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    written("gpt2", tmp_path)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    weights = files.pop("model.safetensors")
    hub.commit("user/pickled", files | {"pytorch_model.bin": b"no"})
    with pytest.raises(InputError, match="pickled weights are not read"):
        load("user/pickled")
    changed(tmp_path, model_type="mamba")
    files["config.json"] = (tmp_path / "config.json").read_bytes()
    hub.commit("user/other", files | {"model.safetensors": weights})
    with pytest.raises(InputError, match="type 'mamba'; known here"):
        load("user/other")
    assert "model.safetensors" not in hub.downloaded()
