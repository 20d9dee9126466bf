"""Exports, engines and the server on the command line."""

from pathlib import Path

import pytest
import torch
from pairs import write_pairs
from refusals import refused

from seqmodels import LanguageModel, TextDataModule, Transformer, TranslationDataModule, Translator, fit
from seqmodels.cli.main import main
from seqmodels.data.cache import cache_folder
from seqmodels.interop import optional

pytest.importorskip("ctranslate2", reason="the extra ctranslate2 is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    torch.manual_seed(0)
    data = TextDataModule(str(text_file), tokenizer="char", length=16, batch_size=4)
    model = LanguageModel(Transformer(16, 1, 2, context=48), data.tokenizer)
    return fit(model, data, max_steps=20, validations=1, runs=str(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    files = str(write_pairs(tmp_path_factory.mktemp("pairs")))
    data = TranslationDataModule(data=files, tokenizer="word", batch_tokens=200, source="en", target="fr")
    parts = Transformer(16, 1, 2, context=48, causal=False), Transformer(16, 1, 2, context=48, memory_size=16)
    model = Translator(*parts, data.tokenizer, data.source_tokenizer, lr=1e-2)
    return fit(model, data, max_steps=60, validations=1, runs=str(tmp_path_factory.mktemp("runs")))


def test_engines_write_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The model is converted once, and that is told in one line."""

    def written(*words: str) -> tuple[str, str]:
        capsys.readouterr()
        main(["generate", str(run), "--max-tokens", "30", *words])
        found = capsys.readouterr()
        return found.out, found.err

    drawn, greedy = ("--seed", "1", "--samples", "2"), ("--temperature", "0")
    expected = written(*drawn)[0]
    out, told = written(*drawn, "--engine", "onnx")
    assert out == expected
    assert told.startswith("converting the model for onnx, once: ")
    assert told.count("\n") == 1
    assert written(*drawn, "--engine", "onnx") == (expected, "")
    out, told = written(*greedy, "--engine", "ctranslate2")
    assert out == written(*greedy)[0]
    assert told.startswith("converting the model for ctranslate2, once: ")
    assert written(*greedy, "--engine", "ctranslate2")[1] == ""
    assert len(list(cache_folder().glob("engine-*.json"))) >= 2


@pytest.mark.parametrize("engine", ["ctranslate2", pytest.param("onnx", marks=pytest.mark.slow)])
def test_a_translator_by_engines(
    engine: str, translator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("a cat sees a dog\n\nbig bird\n")
    found = []
    for by in ("torch", engine):
        capsys.readouterr()
        main(["translate", str(translator), str(tmp_path / "in"), "--engine", by, "--beam", "1"])
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert found[0].count("\n") == 3


def test_exports_print_their_folder(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    main(["export", str(run), "--to", "torch"])
    folder = Path(capsys.readouterr().out.strip())
    assert folder.name == f"{run.name}-torch"
    assert (tmp_path / folder / "model.py").is_file()
    assert "is there already" in refused(capsys, "export", str(run), "--to", "torch")
    assert "choose one of" in refused(capsys, "export", str(run), "--to", "tflite")
    assert "is for onnx" in refused(capsys, "export", str(run), "--to", "word2vec", "--int8", "--out", "new")


def test_what_an_engine_cannot_do_is_one_line(
    run: Path, translator: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ("generate", str(run), "--engine", "ctranslate2")
    main([*ours, "--max-tokens", "1"])  # which says that the model is converted, once
    assert "exceed the 48 positions" in refused(capsys, *ours, "--max-tokens", "60")
    assert "min_p was given" in refused(capsys, *ours, "--max-tokens", "5", "--min-p", "0.1")
    assert "--bf16 and --engine" in refused(capsys, *ours, "--bf16")
    theirs = ("translate", str(translator), "--engine", "ctranslate2")
    assert "samples were asked for" in refused(capsys, *theirs, "--samples", "2")
    assert "--ensemble" in refused(capsys, *theirs, "--ensemble", str(translator))
    assert "--ensemble and --engine onnx" in refused(
        capsys, "translate", str(translator), "--engine", "onnx", "--ensemble", str(translator)
    )
    assert "at least 1" in refused(capsys, "serve", str(run), "--at-once", "0")
    assert "0 workers were given" in refused(capsys, "generate", str(run), "--workers", "0")

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(optional, "import_module", missing)
    for engine, library in (("onnx", "onnxruntime"), ("ctranslate2", "ctranslate2")):
        error = refused(capsys, "generate", str(run), "--engine", engine)
        assert f"needs {library}, which is not installed; do: pip install 'seqmodels-lightning[{engine}]'" in error
    assert "[serve]'" in refused(capsys, "serve", str(run))
