"""Exported folders of plain torch give the same logits in a program that has nothing of this package."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import NETWORKS, RARE
from refusals import assert_refused

from seqmodels import (
    GRU,
    LSTM,
    RNN,
    Hybrid,
    LanguageModel,
    Mamba2,
    MinGRU,
    MultiplicativeLSTM,
    RetNet,
    Tokenizer,
    Transformer,
    Translator,
)
from seqmodels.errors import InputError
from seqmodels.interop.export import export
from seqmodels.nn import MLSTM, RGLRU, RWKV7, SLSTM, Bidirectional, GatedDeltaNet, KimiDeltaNet, Sequential, as_backbone
from seqmodels.nn.mixture import Mixture

TOKENS = Tokenizer.char(["abcdefgh"])
OTHERS = Tokenizer.char(["abcdefghijk"])
MODELS: dict[str, Callable[[], LanguageModel]] = {
    name: lambda make=make: LanguageModel(make(), TOKENS) for name, make in NETWORKS.items()
} | {
    "as GPT-2": lambda: LanguageModel(
        Transformer(16, 2, 2, context=64, positions="learned", bias="all", activation="gelu-tanh"), TOKENS,
        tie_embeddings=True,
    ),
    "as Qwen 3": lambda: LanguageModel(
        Transformer(
            16, 2, 4, 2, context=64, head_size=8, norm="rms", eps=1e-6, activation="swiglu", qk_norm=True,
            rotary_base=1e6, rotary_scaling={"factor": 4.0, "low": 1.0, "high": 4.0, "context": 16},
        ), TOKENS, logit_cap=3.0,
    ),
    "as Pythia": lambda: LanguageModel(
        Transformer(16, 2, 2, residual="parallel", rotary_share=0.5, bias="all"), TOKENS
    ),
    "post-norm": lambda: LanguageModel(
        Transformer(
            16, 2, 2, positions="sinusoidal", position_offset=2, residual="post-norm", input_scale=4.0,
            activation="reglu", attention_scale=0.5, rotary_scaling={"factor": 2.0},
        ), TOKENS,
    ),
    "as T5": lambda: LanguageModel(Transformer(16, 2, 2, positions="relative", farthest_bucket=20), TOKENS),
    "no positions": lambda: LanguageModel(Transformer(16, 2, 2, positions="none", context=8), TOKENS),
    "scaled without attention": lambda: LanguageModel(Hybrid(8, "RGLRU", num_heads=2, input_scale=3.0), TOKENS),
}  # fmt: skip
"""Every network that the laws hold for, and Transformers with settings of their own."""


def encoder(**settings: object) -> Transformer:
    return Transformer(16, 2, 2, causal=False, context=32, **settings)  # type: ignore[arg-type]


def decoder(**settings: object) -> Transformer:
    return Transformer(16, 2, 2, memory_size=16, context=32, **settings)  # type: ignore[arg-type]


T5 = {"positions": "relative", "norm": "rms", "attention_scale": 1.0}
MARIAN = {"positions": "sinusoidal", "residual": "post-norm", "bias": "all", "input_scale": 4.0}
TRANSLATORS: dict[str, Callable[[], Translator]] = {
    "additive": lambda: Translator(GRU(8, 8, 2), LSTM(8, 8), TOKENS, OTHERS),
    "additive, SLSTM": lambda: Translator(SLSTM(8, 8, 2), SLSTM(8, 8), TOKENS),
    "dot, fed": lambda: Translator(LSTM(8, 8), LSTM(8, 16), TOKENS, attention="dot", input_feeding=True),
    "general": lambda: Translator(LSTM(8, 8), GRU(8, 16), TOKENS, attention="general"),
    "context vector, copied": lambda: Translator(
        LSTM(8, 8, 2), LSTM(8, 8, 2), TOKENS, attention="none", bidirectional=False, bridge="copy", reverse=True
    ),
    "context vector, mapped": lambda: Translator(RNN(8, 8), MultiplicativeLSTM(8, 8), TOKENS, attention="none"),
    "mean, fed": lambda: Translator(
        MinGRU(8, 8), MinGRU(8, 8), TOKENS, attention="mean", input_feeding=True, tie_embeddings="all"
    ),
    "Transformers": lambda: Translator(encoder(), decoder(num_kv_heads=1), TOKENS, tie_embeddings="all"),
    "as T5": lambda: Translator(encoder(**T5), decoder(**T5), TOKENS),
    "as Marian": lambda: Translator(encoder(**MARIAN), decoder(**MARIAN), TOKENS),
    "parallel": lambda: Translator(
        encoder(positions="learned", residual="parallel"), decoder(residual="parallel", activation="swiglu"), TOKENS
    ),
    "Transformer and GRU": lambda: Translator(encoder(window=3), GRU(16, 16), TOKENS, attention="none", reverse=True),
    "causal Transformer, both ways": lambda: Translator(
        Transformer(8, 1, 2, context=4), Transformer(16, 1, 2, memory_size=16), TOKENS
    ),
    "hybrids": lambda: Translator(
        Hybrid(8, "LSTM,attention,GatedDeltaNet", num_heads=2),
        Hybrid(8, "GRU,attention,Mamba2", num_heads=2, memory_size=16), TOKENS, OTHERS,
    ),
    "RetNet and RWKV7": lambda: Translator(RetNet(8, 1, 2), RWKV7(8, 2, 2, memory_size=16), TOKENS),
    "MLSTM and RGLRU": lambda: Translator(MLSTM(8, 1, 2), RGLRU(8, 2, 2), TOKENS),
    "Mamba2 and GatedDeltaNet": lambda: Translator(
        Mamba2(8, 1, 2), GatedDeltaNet(8, 1, 2), TOKENS, bidirectional=False, attention="general"
    ),
    "in sequence": lambda: Translator(
        Sequential([Bidirectional(LSTM(8, 8)), GRU(16, 8)]), KimiDeltaNet(8, 1, 2, memory_size=8), TOKENS
    ),
}  # fmt: skip
"""Recurrent ones with every attention and bridge, Transformers of several forms, hybrids and modern recurrences."""

RELATIVES = {
    "additive, SLSTM", "general", "context vector, mapped", "parallel", "causal Transformer, both ways",
    "RetNet and RWKV7", "MLSTM and RGLRU", "Mamba2 and GatedDeltaNet", "as Pythia", "GRU-2", "MultiplicativeRNN",
}  # fmt: skip
"""Those that have a near relative among the others, beside `RARE`."""

CODE = """
import sys, torch
class Blocked:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("seqmodels", "lightning", "numpy"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    from model import load
    model, given = load(), torch.load(folder + "/../expected.pt")
    with torch.no_grad():
        if "source" in given:
            for lengths, expected in given["expected"]:
                whole = model(given["source"], given["ids"], lengths)
                memory = model.encode(given["source"], lengths)
                step = lambda ids, state: model.decode(ids, memory, state)
                pieces, state = [], None
                for ids in given["ids"].split([2, 1, 1, 3], 1):
                    logits, state = step(ids, state)
                    pieces.append(logits)
                for found in (whole, torch.cat(pieces, 1)):
                    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
        else:
            pieces, state = [model(given["ids"])[0]], None
            for ids in given["ids"].split([9, 1, 1, 3], 1):
                logits, state = model(ids, state)
                pieces.append(logits)
            for found in (pieces[0], torch.cat(pieces[1:], 1)):
                torch.testing.assert_close(found, given["expected"], atol=1e-10, rtol=0)
    sys.path.remove(folder)
    del sys.modules["model"]
print("equal")
"""


def drawn(model: LanguageModel | Translator) -> None:
    """Weights far enough from zero that every part of a network shows in the logits."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


def equal(folders: list[Path], where: Path) -> None:
    """Run the exported modules in a process without this package."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", CODE, *map(str, folders)], capture_output=True, text=True, timeout=300, cwd=where
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.parametrize("some", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["some", "others"])
def test_logits_are_equal_without_this_package(some: bool, tmp_path: Path) -> None:
    """In double precision, whole and in pieces with the state carried; of translators with padded sources as well."""
    folders, makers = [], MODELS | TRANSLATORS
    for number, name in enumerate(name for name in makers if (name in RARE | RELATIVES) != some):
        model = makers[name]().eval().double()
        drawn(model)
        ids, source, lengths = torch.randint(4, 12, (3, 14)), torch.randint(4, 12, (3, 9)), torch.tensor([9, 4, 6])
        (place := tmp_path / str(number)).mkdir()
        with torch.no_grad():
            if isinstance(model, LanguageModel):
                torch.save({"ids": ids, "expected": model(ids)[0]}, place / "expected.pt")
            else:
                expected = []
                for given, mask in ((None, None), (lengths, torch.arange(9) < lengths[:, None])):
                    memory = model.encode(source, mask)
                    y, _ = model.decoder(model.embedding(ids[:, :7]), memory=memory)
                    expected.append((given, model.head(y)))
                torch.save({"ids": ids[:, :7], "source": source, "expected": expected}, place / "expected.pt")
        folders.append(export(model, place / "out", "torch"))
    equal(folders, tmp_path)


def test_only_what_is_needed_is_written(tmp_path: Path) -> None:
    """The file of an LSTM has no attention, and each imports torch, safetensors and Python's own modules alone."""
    for name, absent in (("LSTM", ["Attention", "step(self"]), ("Hybrid-of-memories", ["RWKV7", "Translator"])):
        text = (export(MODELS[name](), tmp_path / name, "torch") / "model.py").read_text()
        assert not [word for word in (*absent, "seqmodels") if word in text], name
        assert ("slow, and obviously right" in (ast.get_docstring(ast.parse(text)) or "")) == (name != "LSTM")
        found = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {getattr(node, "module", None) or node.names[0].name for node in found}
        assert {one.partition(".")[0] for one in modules} <= {
            "json",
            "math",
            "pathlib",
            "types",
            "torch",
            "safetensors",
        }
        assert "no optimizer" in (tmp_path / name / "README.md").read_text()


@pytest.mark.parametrize("name", ["LSTM", "additive", "as Marian"])
def test_the_program_of_the_readme_writes_the_likeliest_text(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = (MODELS | TRANSLATORS)[name]().eval()
    drawn(model)
    folder = export(model, tmp_path / "out", "torch")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    exec(code.replace('"def "', '"abc"').replace('"a man"', '"abc"').replace("range(100)", "range(20)"), {})
    del sys.modules["model"]  # not by monkeypatch, which would put it back
    with torch.no_grad():
        if isinstance(model, LanguageModel):
            ids, most = [1, *TOKENS.encode("abc")], 24
        else:
            memory = model.encode(torch.tensor([[*model.source_tokenizer.encode("abc"), 2]]))
            ids, most = [1], 21
        while len(ids) < most and ids[-1] != 2:
            if isinstance(model, LanguageModel):
                logits = model(torch.tensor([ids]))[0][0, -1]
            else:
                logits = model.head(model.decoder(model.embedding(torch.tensor([ids])), memory=memory)[0])[0, -1]
            logits[[0, 1, 3]] = -torch.inf
            ids.append(int(logits.argmax()))
    written = [one for one in ids if one > 3]
    assert capsys.readouterr().out.strip() == TOKENS.decode(written).strip()
    assert len(written) > 3


class Own(torch.nn.Module):
    """A module of a user."""

    input_size = hidden_size = 4

    def forward(self, x: torch.Tensor, state: object = None) -> tuple[torch.Tensor, object]:
        return x, (x[:, -1],)


def test_what_has_no_plain_form_is_refused(tmp_path: Path) -> None:
    model = LanguageModel(as_backbone(Own)(), TOKENS)
    assert_refused("Own is a class of your own", export, model, tmp_path / "out", "torch")
    mixture = LanguageModel(Mixture(LSTM(4, 4), TOKENS.vocab_size, cache=3), TOKENS)
    assert_refused("no plain form of Mixture, which mixes probabilities", export, mixture, tmp_path / "out", "torch")
    assert list(tmp_path.iterdir()) == []


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
