"""Training on pairs: stopped and resumed, and on two processes, it is what it would have been."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pairs import write_pairs
from torch.testing import assert_close
from training import Record, trainer

from seqmodels import GRU, TranslationDataModule, Translator
from seqmodels.batch import BOS, EOS
from seqmodels.environment import quiet

PROGRAM = """
import sys
from seqmodels import GRU, TranslationDataModule, Translator, fit
from seqmodels.cli import command

def main(data: str, max_tokens: int, devices: int, runs: str, seed: int = 1) -> None:
    pairs = TranslationDataModule(data, "en", "fr", tokenizer="word", max_tokens=max_tokens)
    model = Translator(GRU(16, 16), GRU(16, 32), pairs.tokenizer, pairs.source_tokenizer, "general", lr=2e-2)
    fit(model, pairs, max_steps=60, validations=2, devices=devices, accelerator="cpu", precision="32-true", runs=runs)

command(main)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("stop", [3, 11])
@pytest.mark.parametrize("settings", [{}, {"bpe_dropout": 0.2, "tokenizer": "bpe", "vocab_size": 280}], ids=["", "bpe"])
def test_resume(files: Path, tmp_path: Path, stop: int, settings: dict[str, object]) -> None:
    """In the middle of an epoch, and in a later one."""

    def begun() -> tuple[TranslationDataModule, Translator]:
        torch.manual_seed(0)
        arguments = {"tokenizer": "word", "max_tokens": 400, "joint": True} | settings
        data = TranslationDataModule(str(files), "en", "fr", **arguments)  # type: ignore[arg-type]
        return data, Translator(GRU(8, 8), GRU(8, 16), data.tokenizer, dropout=0.2, r_drop=1.0)

    def train(record: Record, resume: Path | None = None) -> Translator:
        data, model = begun()
        with quiet():
            trainer(16, record).fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
        return model

    path = tmp_path / "part.ckpt"
    whole, rest = Record(stop, path), Record()
    model = train(whole)
    resumed = train(rest, path)
    assert len(begun()[0].training_batches()) < 11
    assert len(rest.inputs) == 16 - stop
    for ours, theirs in zip(rest.inputs, whole.inputs[stop:], strict=True):
        assert_close(ours, theirs)
    read = sum(int((inputs > EOS).sum() + (inputs == BOS).sum()) for inputs in whole.inputs)
    assert model.tokens_seen == resumed.tokens_seen == read  # R-Drop reads them twice, and learns from no more
    for name, tensor in model.state_dict().items():
        assert_close(resumed.state_dict()[name], tensor, rtol=0, atol=0, msg=name)


def rows(folder: Path) -> list[list[float]]:
    """The log of a run: loss, norm of the gradient, and the figures of validations."""
    (metrics,) = folder.glob("*/*/metrics.csv")  # one run, whatever the number of processes
    with metrics.open(newline="") as file:
        found = list(csv.DictReader(file))
    names = [name for name in found[0] if name.startswith(("train/n", "train/g", "val/"))]
    assert {"val/bleu", "val/chrf", "val/exact_match", "val/token_accuracy"} <= set(names)
    return [[float(row[name] or "nan") for name in sorted(names)] for row in found]


def test_two_processes_are_one(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def words(max_tokens: int, devices: int) -> list[str]:
        sizes = ["--max-tokens", str(max_tokens), "--devices", str(devices)]
        return [str(program), "--data", str(files), "--runs", str(tmp_path / str(devices)), *sizes]

    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", words(400, 1))
        runpy.run_path(str(program), run_name="__main__")
    done = subprocess.run([sys.executable, *words(200, 2)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    together, shared = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert len(together) == 5
    assert_close(shared, together, rtol=1e-3, atol=1e-4, equal_nan=True)
