"""Public models in other engines: the same texts, or a refusal in one line."""

from pathlib import Path

import pytest
from interop.families.models import RECURRENT, written
from interop.families.translators import ENGLISH, MODELS
from refusals import refused

from seqmodels.cli.main import main

OTHERS = ("mistral", "qwen2", "qwen3", "gpt_neox", "opt", *RECURRENT)
PROMPTS = {"qwen3_next": "the cat"}
"""Where two tokens are as likely as one another, to a millionth, in the text of the usual prompt."""
WINDOWED = ("mistral",)
"""Attention of bounded reach, beyond which CTranslate2 would see more."""


@pytest.mark.parametrize("name", ["gpt2", "llama", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_greedy_texts(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To the character, on the command line."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ctranslate2")
    written(name, tmp_path / name)
    prompt = PROMPTS.get(name, "the fox")
    command = ["generate", str(tmp_path / name), "--prompt", prompt, "--temperature", "0", "--max-tokens", "24"]
    main(command)
    expected = capsys.readouterr().out
    main([*command, "--engine", "onnx"])
    assert capsys.readouterr().out == expected
    if name in RECURRENT:
        assert "CTranslate2 has Transformers only" in refused(capsys, *command, "--engine", "ctranslate2")
    elif name in WINDOWED:
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--engine", "ctranslate2"])
        assert "positions up to which CTranslate2" in capsys.readouterr().err
    else:
        main([*command, "--engine", "ctranslate2"])
        assert capsys.readouterr().out == expected


@pytest.mark.parametrize("name", MODELS)
def test_translations(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ctranslate2")
    MODELS[name](tmp_path / name)
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(ENGLISH[:3]), encoding="utf-8")
    command = ["translate", str(tmp_path / name), str(lines)]
    main(command)
    expected = capsys.readouterr().out
    main([*command, "--engine", "ctranslate2"])
    assert capsys.readouterr().out == expected
