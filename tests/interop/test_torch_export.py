"""Exported folders of plain torch give the same logits in a program that has nothing of this package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqmodels import GRU, LSTM, RNN, LanguageModel, MinGRU, MinLSTM, Tokenizer, Transformer
from seqmodels.errors import InputError
from seqmodels.interop.export import export

TOKENS = Tokenizer.char(["abcdefgh"])
NETWORKS = {
    "RNN": lambda: RNN(6, 8, 2, nonlinearity="relu"),
    "LSTM": lambda: LSTM(6, 8, 2, learn_initial_state=True),
    "GRU": lambda: GRU(6, 8),
    "MinGRU": lambda: MinGRU(6, 8, 2),
    "MinLSTM": lambda: MinLSTM(6, 8, 2, learn_initial_state=True),
    "Transformer": lambda: Transformer(16, 2, 2, context=6),
    "as GPT-2": lambda: Transformer(16, 2, 2, context=64, positions="learned", bias="all", activation="gelu-tanh"),
    "as Qwen 3": lambda: Transformer(
        16, 2, 4, 2, context=64, head_size=8, norm="rms", eps=1e-6, activation="swiglu", qk_norm=True,
        rotary_base=1e6, rotary_scaling={"factor": 4.0, "low": 1.0, "high": 4.0, "context": 16},
    ),
    "as Pythia": lambda: Transformer(16, 2, 2, residual="parallel", rotary_share=0.5, bias="all"),
    "post-norm": lambda: Transformer(
        16, 2, 2, positions="sinusoidal", position_offset=2, residual="post-norm", input_scale=4.0, activation="reglu",
        attention_scale=0.5,
    ),
}  # fmt: skip
"""By name, each with something that the others do not have."""

CODE = """
import sys, torch
assert not any(name.startswith("seqmodels") for name in sys.modules)
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    from model import load
    model, (ids, expected) = load(), torch.load(folder + "/../" + "expected.pt")
    with torch.no_grad():
        first, state = model(ids[:, :9])
        second, state = model(ids[:, 9:10], state)
        third, state = model(ids[:, 10:], state)
    torch.testing.assert_close(torch.cat((first, second, third), 1), expected)
    sys.path.remove(folder)
    del sys.modules["model"]
assert not any(name.startswith("seqmodels") for name in sys.modules)
print("equal")
"""


def test_logits_are_equal_without_this_package(tmp_path: Path) -> None:
    """Whole, and in pieces with the state carried."""
    torch.manual_seed(0)
    folders = []
    for number, (name, make) in enumerate(NETWORKS.items()):
        model = LanguageModel(make(), TOKENS).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
            ids = torch.randint(4, 12, (2, 14))
            expected, _ = model(ids)
        (place := tmp_path / str(number)).mkdir()
        folders.append(str(export(model, place / "out", "torch")))
        torch.save((ids, expected), place / "expected.pt")
        assert "no optimizer" in (place / "out" / "README.md").read_text(), name
    done = subprocess.run(
        [sys.executable, "-I", "-c", CODE, *folders], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.stdout == "equal\n", done.stderr


def test_a_folder_of_transformers(tmp_path: Path) -> None:
    """It comes with a page, and a failure leaves nothing; what is in it is tested where it is written."""
    network = Transformer(16, 1, 2, context=16, positions="learned", bias="all", activation="gelu-tanh")
    folder = export(LanguageModel(network, TOKENS, head_bias=False), tmp_path / "out", "hf")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= {one.name for one in folder.iterdir()}
    assert "a GPT2LMHeadModel; it does not hold" in (folder / "README.md").read_text()
    with pytest.raises(InputError):
        export(LanguageModel(LSTM(4, 4), TOKENS), tmp_path / "other", "hf")
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_word_vectors(tmp_path: Path) -> None:
    from seqmodels.interop.word_vectors import WordVectors

    model = LanguageModel(LSTM(6, 8), Tokenizer.word(["the cat sees the dog"]))
    read = WordVectors.read(export(model, tmp_path / "out", "word2vec") / "vectors.txt")
    torch.testing.assert_close(
        read.matrix[read.words.index("cat")], model.embedding.weight[model.tokenizer.encode("cat")[0]].detach()
    )
