"""Fine-tuning: a trained model as the beginning of another run, with frozen parts and settings of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from trainers import train

from seqmodels import GRU, LSTM, LanguageModel, TextDataModule, TranslationDataModule, Translator, fit, load, share
from seqmodels.checkpoints.saved import read_checkpoint
from seqmodels.cli.main import main
from seqmodels.errors import InputError

FITTED = {"max_steps": 4, "validations": 1, "diagnostics": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on English; its folder has the data `new.txt`, with letters that the vocabulary lacks."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "old.txt").write_text("the fox ran after the hare\n" * 60)
    (folder / "new.txt").write_text("the fürst ran after the hut\n" * 60)
    data = TextDataModule(str(folder / "old.txt"), length=8, batch_size=2, carry=True)
    model = LanguageModel(GRU(6, 8), data.tokenizer, lr=1e-2, dropout=0.1)
    return fit(model, data, runs=folder, **FITTED)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator with a vocabulary for each side."""
    folder = tmp_path_factory.mktemp("pairs")
    for language, words in {"en": ("one", "two", "three"), "fr": ("un", "deux", "trois")}.items():
        lines = [f"{words[i % 3]} {words[i // 3 % 3]} {words[i % 2]}" for i in range(60)]
        (folder / f"train.{language}").write_text("\n".join(lines) + "\n")
    data = TranslationDataModule(str(folder), "en", "fr", tokenizer="char", batch_tokens=64)
    model = Translator(LSTM(6, 8), LSTM(6, 8), data.tokenizer, data.source_tokenizer)
    return fit(model, data, runs=folder, **FITTED)  # type: ignore[arg-type]


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(run / "checkpoints" / f"{which}.safetensors")["state_dict"])


def only(folder: Path) -> Path:
    (run,) = folder.glob("*/*/config.yaml")
    return run.parent


def test_frozen_parts_stay_and_others_move(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load(base, lr=1e-3, freeze=["embedding", "*.bias_*"])
    assert model.lr == 1e-3
    assert model.dropout == 0.1
    data = TextDataModule(str(base.parents[1] / "new.txt"), tokenizer=model.tokenizer, length=8, batch_size=2)
    run = fit(model, data, runs=tmp_path, **FITTED)  # type: ignore[arg-type]
    before, after = weights(base, "best"), weights(run)
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"backbone.layers.0.kernel.weight_ih_l0", "backbone.layers.0.kernel.weight_hh_l0",
                     "head.weight", "head.bias"}  # fmt: skip
    out = capsys.readouterr().out
    assert f"began    with the weights of {base}" in out
    assert "frozen   " in out
    assert "embedding.weight" in out
    told = r"note     (\d+) of \d,\d+ tokens \(\d+\.\d\d%\) of the training text are unknown to the vocabulary"
    assert (found := re.search(told, out))
    assert int(found[1]) == data.facts("train").unknown > 0
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["fit"]["init"] == str(base)
    assert written["data"]["init_args"]["tokenizer"] == "tokenizer.json"
    assert (run / "tokenizer.json").read_text() == model.tokenizer.json
    assert load(run).tokenizer.json == load(base).tokenizer.json
    assert load(run).frozen == model.frozen


def test_it_trains_under_a_trainer_of_ones_own(base: Path) -> None:
    model = load(base, freeze=["backbone"])
    data = TextDataModule(str(base.parents[1] / "new.txt"), tokenizer=model.tokenizer, length=8, batch_size=2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, data, 2)
    moved = {name.partition(".")[0] for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == {"embedding", "head"}


def test_a_fresh_model_begins_with_the_weights(base: Path, tmp_path: Path) -> None:
    text = str(base.parents[1] / "new.txt")
    data = TextDataModule(text, tokenizer=load(base).tokenizer, length=8, batch_size=2)
    model = LanguageModel(GRU(6, 8), data.tokenizer, lr=1e-9)
    run = fit(model, data, init=base, runs=tmp_path, **FITTED)  # type: ignore[arg-type]
    for name, tensor in weights(base, "best").items():
        torch.testing.assert_close(weights(run)[name], tensor)
    assert yaml.safe_load((run / "config.yaml").read_text())["fit"]["init"] == str(base)
    for other, says in (
        (LanguageModel(GRU(6, 9), data.tokenizer), "are of other networks than this model: "),
        (LanguageModel(GRU(6, 8), TextDataModule(text).tokenizer), r"the tokenizer of this model.*load\("),
    ):
        with pytest.raises(InputError, match=says):
            fit(other, data, init=base, runs=tmp_path, **FITTED)  # type: ignore[arg-type]


def test_a_run_made_so_resumes_exactly_without_its_beginning(base: Path, tmp_path: Path) -> None:
    """Also after its configuration is run anew, and after the beginning is gone."""
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    common = ["fit", "--init", str(moved), "--data", str(base.parents[1] / "new.txt"), "--lr", "1e-2", "--freeze",
              "embedding*", "--schedule", "constant", "--warmup", "0", "--validations", "1", "--save-minutes", "10",
              "--no-diagnostics", "--optimizer", "muon", "--average", "ema"]  # fmt: skip
    main([*common, "--max-steps", "6", "--runs", str(tmp_path / "whole")])
    main([*common, "--max-steps", "3", "--runs", str(tmp_path / "half")])
    main(["fit", "--config", str(only(tmp_path / "half") / "config.yaml"), "--runs", str(tmp_path / "again")])
    for name, tensor in weights(only(tmp_path / "half")).items():
        assert torch.equal(weights(only(tmp_path / "again"))[name], tensor)
    shutil.rmtree(moved)
    main(["fit", "--resume", str(only(tmp_path / "half")), "--max-steps", "6"])
    for name, tensor in weights(only(tmp_path / "whole")).items():
        assert torch.equal(weights(only(tmp_path / "half"))[name], tensor), name
    written = yaml.safe_load((only(tmp_path / "half") / "config.yaml").read_text())
    assert written["fit"]["init"] == str(moved)
    assert written["task"]["init_args"]["freeze"] == ["embedding*"]
    assert written["data"]["init_args"]["carry"]  # how the model reads is that of its first run


def test_a_fine_tuned_run_is_a_beginning_without_its_frozen_parts(base: Path, tmp_path: Path) -> None:
    """Of Muon, in float64, with averages, which begin with the weights that were loaded."""
    common = ["fit", "--data", str(base.parents[1] / "new.txt"), "--max-steps", "3", "--validations", "1", "--average",
              "ema", "--optimizer", "muon", "--no-diagnostics"]  # fmt: skip
    main(
        [*common, "--init", str(base), "--freeze", "backbone", "--precision", "64-true", "--runs", str(tmp_path / "1")]
    )
    first = only(tmp_path / "1")
    frozen = {
        name for name, tensor in weights(base, "best").items() if torch.equal(weights(first)[name], tensor.double())
    }
    assert frozen == {name for name in weights(first) if name.startswith("backbone.")}
    main([*common, "--init", str(first), "--runs", str(tmp_path / "2")])
    second = only(tmp_path / "2")
    assert not any(torch.equal(weights(second)[name], tensor) for name, tensor in weights(first, "best").items())
    assert (load(first).frozen != [], load(second).frozen, load(first, freeze=[]).frozen) == (True, [], [])
    still = ["--lr", "1e-30", "--weight-decay", "0", "--runs", str(tmp_path / "3")]
    main([*common, "--init", str(second), *still])
    for name, tensor in weights(second, "best").items():
        assert torch.equal(weights(only(tmp_path / "3"))[name], tensor), name


@pytest.mark.slow
def test_two_processes_begin_with_the_same_weights(base: Path, tmp_path: Path) -> None:
    common = [sys.executable, "-m", "seqmodels", "fit", "--init", str(base), "--data", str(base.parents[1] / "new.txt"),
              "--freeze", "embedding", "--optimizer", "muon", "--average", "ema", "--max-steps", "4", "--dropout", "0",
              "--validations", "1", "--no-diagnostics"]  # fmt: skip
    for settings in ("--devices 1 --batch-size 4", "--devices 2 --batch-size 2"):
        words = [*common, *settings.split(), "--runs", str(tmp_path / settings[10])]
        subprocess.run(words, check=True, capture_output=True, timeout=240)
    one, two = weights(only(tmp_path / "1")), weights(only(tmp_path / "2"))
    for name, tensor in weights(base, "best").items():
        torch.testing.assert_close(one[name], two[name])
        assert torch.equal(two[name], tensor) == (name == "embedding.weight")


def test_translators_keep_both_vocabularies(pairs: Path, tmp_path: Path) -> None:
    folder = pairs.parents[1]
    main(["fit", "--init", str(pairs), "--data", str(folder), "--freeze", "encoder", "--lr", "1e-2", "--max-steps", "4",
          "--validations", "1", "--no-diagnostics", "--runs", str(tmp_path)])  # fmt: skip
    run, first = load(only(tmp_path)), load(pairs)
    assert isinstance(run, Translator)
    assert (run.tokenizer.json, run.source_tokenizer.json) == (first.tokenizer.json, first.source_tokenizer.json)
    assert run.tokenizer.json != run.source_tokenizer.json
    moved = {
        name.partition(".")[0] for name, p in run.named_parameters() if not torch.equal(p, first.get_parameter(name))
    }
    assert moved == {"decoder", "source_embedding", "embedding", "head"}
    names = {"tokenizer.json", "source_tokenizer.json"}
    assert {path.name for path in only(tmp_path).glob("*tokenizer.json")} == names
    main(["fit", "--resume", str(only(tmp_path)), "--max-steps", "5"])
    main(["test", str(only(tmp_path)), "--split", "validation"])


def test_a_shared_folder_is_a_beginning(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = share(base, tmp_path / "shared")
    main(["fit", "--init", str(folder), "--data", str(base.parents[1] / "new.txt"), "--max-steps", "2",
          "--validations", "1", "--no-diagnostics", "--runs", str(tmp_path)])  # fmt: skip
    assert only(tmp_path).is_dir()
    with pytest.raises(SystemExit):
        main(["fit", "--init", str(folder), "--max-steps", "2", "--runs", str(tmp_path)])
    assert "does not say what it was trained on; give --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--freeze", "encoder*"], "freeze='encoder*' matches no parameter; expected a pattern of backbone.layers.0."),
        (["--freeze", "*"], "leaves no parameter to train"),
        (["--backbone", "LSTM"], "--backbone was given with --init"),
        (["--backbone.hidden-size", "9"], "--backbone.hidden-size was given with --init"),
        (["--tokenizer", "bpe"], "--tokenizer was given with --init"),
        (["--vocab-size", "100"], "--vocab-size was given with --init"),
        (["--tie-embeddings"], "with another tie_embeddings"),
        (["--task", "Translator"], "leave one of them out"),
        (["--resume", "runs/x"], "--init was given with --resume"),
        (["--config", "x.yaml"], "--init was given with --config"),
        (["--learning-rate", "1"], "did you mean --lr?"),
        (["--init", "nowhere"], "there is no 'nowhere'"),
        (["--column", "words", "--data", "table.jsonl"], "has columns ['text']; expected the text in column 'words'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("table.jsonl").write_text('{"text": "the fox"}\n{"text": "the hare"}\n')
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--init", str(base), "--max-steps", "1", *words])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_changes_in_python_are_checked(base: Path) -> None:
    for changes, says in (
        ({"depth": 3}, "depth=3 was given, which is no argument of the task; expected dropout, "),
        ({"backbone": "LSTM"}, "backbone='LSTM' was given, which comes with the weights"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"freeze": "embedding"}, r"expected a list of patterns, such as \['embedding'\]"),
    ):
        with pytest.raises(InputError, match=says):
            load(base, **changes)


def test_a_penalty_on_gradients_needs_states_that_are_trained(base: Path, tmp_path: Path) -> None:
    model = load(base, freeze=["embedding"], omega=0.1)
    data = TextDataModule(str(base.parents[1] / "old.txt"), tokenizer=model.tokenizer, length=8, batch_size=2)
    assert fit(model, data, runs=tmp_path, **FITTED).is_dir()  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"omega=0.1 .* frozen"):
        load(base, freeze=["embedding", "backbone"], omega=0.1)


def test_two_vocabularies_or_one(pairs: Path) -> None:
    model = load(pairs)
    assert isinstance(model, Translator)
    both = {"tokenizer": model.tokenizer, "source_tokenizer": model.source_tokenizer}
    with pytest.raises(InputError, match="source_tokenizer and joint=True contradict"):
        TranslationDataModule(str(pairs.parents[1]), "en", "fr", joint=True, **both)
    with pytest.raises(InputError, match=r"there is no file 'x.json'"):
        TranslationDataModule(str(pairs.parents[1]), "en", "fr", source_tokenizer="x.json")
