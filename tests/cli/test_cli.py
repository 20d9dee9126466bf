"""The command line as people use it: help, mistakes, a run from start to end."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from refusals import refused

import seqmodels
from seqmodels import GRU, LanguageModel, TextDataModule, fit, load
from seqmodels.analysis.learning_curves import read_metrics
from seqmodels.cli.fit import options_by_section
from seqmodels.cli.main import main
from seqmodels.cli.parser import converted, options_of, read_flags, seed_all


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, text_file: Path) -> Path:
    """A run folder as the command line leaves it."""
    runs = tmp_path_factory.mktemp("runs")
    words = "--carry --length 16 --batch-size 4 --max-steps 60 --backbone GRU --backbone.hidden-size 16 --validations 2"
    main(["fit", "--data", str(text_file), "--runs", str(runs), *words.split()])
    (folder,) = runs.glob("*/*")
    return folder


@pytest.mark.parametrize("words", [[], ["--help"], ["fit", "--help"], ["generate", "-h"], ["test", "--help"]])
def test_help_is_there_at_once(words: list[str]) -> None:
    """Seconds depend on the machine; what is imported does not."""
    code = "import sys; from seqmodels.cli.main import main; main(sys.argv[1:]); "
    code += "print('slow:', *{'torch', 'numpy', 'lightning', 'datasets', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: seqmodels")
    assert done.stdout.endswith("slow:\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"seqmodels {seqmodels.__version__}\n"


def test_negative_switches_say_what_they_switch_off(capsys: pytest.CaptureFixture[str]) -> None:
    """Their meanings are orders: "log the horizon" becomes "do not log the horizon"."""
    for task in ("LanguageModel", "Translator"):
        main(["fit", "--task", task, "--help"])
        page = capsys.readouterr().out
        shown = re.findall(r"^  --(?:\w+\.)?no-\S+ +(.*)$", page, re.MULTILINE)
        assert len(shown) >= 3
        assert all(re.match(r"do not (?!whether)\w+ ", meaning) for meaning in shown)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--backbone lstm --backbone.learn-initial-state", {"learn_initial_state": True}),
        ("--backbone LSTM --backbone.learn-initial-state --backbone.num-layers 2", {"num_layers": 2}),
        ("--backbone.no-causal --backbone TRANSFORMER", {"causal": False}),
        ("--backbone seqmodels.Transformer --backbone.causal=false", {"causal": False}),
        ("--backbone transformer --backbone.causal false --backbone.Norm RMS".replace("Norm", "norm"), {"norm": "rms"}),
        (
            '--backbone hybrid --backbone.layer-settings {"GRU":{"weight_dropout":0.5}}',
            {"layer_settings": {"GRU": {"weight_dropout": 0.5}}},
        ),
    ],
)
def test_switches_and_names_of_networks(words: str, expected: dict[str, object]) -> None:
    options = {"backbone": options_of(LanguageModel)["backbone"]}
    call = converted(read_flags(words.split(), options), options)["backbone"]
    assert call["init_args"].items() >= expected.items()
    assert call["class_path"] in ("seqmodels.LSTM", "seqmodels.Transformer", "seqmodels.Hybrid")


def test_a_file_of_lines_is_read(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lines.txt").write_text("the cat\nthe gate\n")
    main(["score", str(run), str(tmp_path / "lines.txt")])
    assert [line.split("\t")[-1] for line in capsys.readouterr().out.splitlines()] == ["the cat", "the gate"]
    assert "there is no file" in refused(capsys, "score", str(run), "missing.txt")
    assert "by a pipe: echo 'the cat' | seqmodels" in refused(capsys, "score", str(run), "the cat")


def test_a_folder_of_runs_is_no_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("generate", "report"):
        for folder in (run.parent, run.parent.parent):
            assert f"the newest run in it is {str(run)!r}" in refused(capsys, command, str(folder))


def test_an_error_stands_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", str(run), "--prompt", "Ünïcode ☃"])
    assert capsys.readouterr().out == ""


def test_errors_in_a_class_of_ones_own_have_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text_file: Path
) -> None:
    (tmp_path / "wrong.py").write_text(
        "from seqmodels import GRU\nclass Wrong(GRU):\n    def __init__(self, size: int = 8) -> None:\n"
        "        super().__init__(8, size)\n        self.letters = ('r',)\n        self.letters()\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--import", "wrong", "--backbone", "Wrong", "--data", str(text_file)]
    assert f"not callable ({tmp_path / 'wrong.py'}, line 6)" in refused(capsys, "fit", *words)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The page is read from source; every flag on it is one that the parser takes, with a meaning."""
    main(["fit", "--help"])
    page = capsys.readouterr().out
    flags = re.findall(r"^  --([\w.-]+)", page, re.MULTILINE)
    for wanted in ("data", "max-minutes", "backbone", "backbone.hidden-size", "backbone.positions", "lr", "config"):
        assert wanted in flags
    assert not re.search(r"^  --\S+( \S+)?$\n  --", page, re.MULTILINE)  # none without a meaning


def test_what_a_run_leaves(run: Path) -> None:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert names == {
        ".lock", "checkpoints/best.safetensors", "checkpoints/last.safetensors", "checkpoints/previous.safetensors",
        "config.yaml", "curves.png", "env.json", "gradient_horizon.csv", "gradient_horizon.png", "metrics.csv",
        "result.json", "samples.md", "spectra.csv", "spectra.png", "spectral_radius.png",
    }  # fmt: skip
    assert re.fullmatch(r"gru-text-s1-\d{8}-\d{6}", run.name)
    assert run.parent.name == "language_model"
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == 60
    assert result["tokens"] == 60 * 4 * 16
    assert result["parameters"] == sum(p.numel() for p in load(run).parameters())
    assert result["val/bits_per_byte"] > 0
    assert result["seconds"] > 0
    env = json.loads((run / "env.json").read_text())
    assert {"python", "versions", "command", "commit", "device", "threads", "corpus"} <= env.keys()
    assert (run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert (run / "samples.md").read_text().count("## step") == 2  # at 50 and at the end


def test_configuration_does_the_run_again(run: Path, tmp_path: Path) -> None:
    task = yaml.safe_load((run / "config.yaml").read_text())["task"]["init_args"]
    assert task["backbone"]["class_path"] == "seqmodels.GRU"
    main(["fit", "--config", str(run / "config.yaml"), "--runs", str(tmp_path)])
    (again,) = tmp_path.glob("*/*")
    assert (again / "samples.md").read_text() == (run / "samples.md").read_text()
    ours, theirs = (read_metrics(folder / "metrics.csv") for folder in (again, run))
    for row in (*ours, *theirs):
        row.pop("train/tokens_per_second", None)
    assert ours == theirs


def test_script_and_command_line_leave_the_same_checkpoint(run: Path, text_file: Path, tmp_path: Path) -> None:
    data = TextDataModule(str(text_file), carry=True, length=16, batch_size=4)
    torch.manual_seed(1)
    network = GRU(hidden_size=16)
    folder = fit(LanguageModel(network, data.tokenizer), data, max_steps=60, validations=2, runs=str(tmp_path))
    ours, theirs = load(folder), load(run)
    assert ours.constructor_call == theirs.constructor_call
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_never_over_another_run(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-000000")
    for _ in range(2):
        words = ["--max-steps", "2", "--runs", str(tmp_path), "--length", "16", "--batch-size", "2"]
        main(["fit", "--data", str(text_file), *words, "--backbone", "RNN", "--backbone.hidden-size", "4"])
    assert len(list(tmp_path.glob("*/*"))) == 2


def test_generate(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in ("7", "7", "8"):
        main(["generate", str(run), "--prompt", "the ", "--max-tokens", "30", "--seed", seed, "--top-p", "0.9"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("the ") for text in texts)


def test_test_and_validate(run: Path, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["validate", str(run)])
    result = json.loads((run / "result.json").read_text())
    assert f"{result['val/nats_per_token']:.4f}" in capsys.readouterr().out
    main(["test", str(run), "--data", str(text_file)])
    page = capsys.readouterr().out
    assert f"{len(text_file.read_text(encoding='utf-8')):,} characters scored once each" in page


MISTAKES = [
    (["fti"], "did you mean fit"),
    (["fit", "--lenght", "3"], "did you mean --length"),
    (["fit", "--backbone", "LSMT"], "did you mean LSTM"),
    (["fit", "--backbone", "LSTM", "--backbone.hiden-size", "3"], "did you mean --backbone.hidden-size"),
    (["fit", "--backbone", "LSTM", "--backbone.num-heads", "3"], "--backbone.num-heads is not one of LSTM"),
    (["train"], "did you mean fit"),
    (["Sample", "run"], "did you mean generate"),
    (["evaluate"], "did you mean test"),
    (["fit", "--epochs", "3"], "--epochs is not known; a training ends after --max-minutes, --max-steps or"),
    (["fit", "--learning-rate", "3"], "did you mean --lr?"),
    (["fit", "--hidden-size", "3"], "did you mean --backbone.hidden-size?"),
    (["fit", "--hiden", "3"], "did you mean --backbone.hidden-size?"),
    (["fit", "--qwertz", "3"], "--qwertz is not known; --help lists the options"),
    (["fit", "--train", "a.txt"], "did you mean --data?"),
    (
        ["fit", "--data", "a.txt", "-rnn_size", "128"],
        "the option -rnn_size is not known; did you mean --backbone.hidden-size?",
    ),
    (["fit", "-max_steps", "3"], "-max_steps was given; options have two dashes: --max-steps"),
    (["fit", "--continue", "runs/x"], "did you mean --resume?"),
    (["fit", "book.txt"], "'book.txt' was not expected; did you mean --data book.txt?"),
    (["generate", "missing", "Once upon"], "'Once upon' was not expected; did you mean --prompt 'Once upon'?"),
    (["validate", "missing", "--date", "a.txt"], "the option --date is not known; did you mean --data?"),
    (["fit", "--task", "Translator", "--columns", "en", "de"], "expected int, several separated by spaces"),
    (["generate", "missing", "--num-samples", "3"], "did you mean --samples?"),
    (["fit", "--backbone", "LSTM", "--backbone.no-hidden-size"], "did you mean --backbone.hidden-size"),
    (["fit", "--accelerator", "cpu", "--devices", "x"], "devices='x' was given; expected a number above 0, or auto"),
    (["fit", "--accelerator", "cpu", "--devices", "0,1"], "devices='0,1' was given; expected a number"),
    (["score", "missing", "one.txt", "two.txt"], "'two.txt' was not expected"),
    (["translate", "missing", "one.txt"], "there is no"),
    (["fit", "--length", "abc"], "'abc'; expected int"),
    (["fit", "--max-minutes", "abc"], "error: --max-minutes was given 'abc'; expected float\n"),
    (["fit", "--backbone", "Transformer", "--backbone.num-heads", "3"], "divisible"),
    (["fit", "--backbone", "Transformer", "--backbone.positions", "sinus"], "sinus"),
    (["fit", "--precision", "8"], "'8'; choose one of auto, "),
    (["fit", "--tokenizer", "words"], "choose char, byte, bpe, word or the path"),
    (["fit", "--data", "missing.txt"], "there is no file"),
    (["fit", "--config", "missing.yaml"], "missing.yaml"),
    (["fit", "--max-minutes", "0"], "expected more than 0"),
    (["generate"], "error: RUN was not given"),
    (["translate", "missing", "--normalization", "words"], "'words'; choose one of length, gnmt\n"),
    (["generate", "missing"], "there is no"),
    (["generate", "missing", "--temperature", "-1"], "temperature"),
    (["test", "missing"], "there is no"),
]


@pytest.mark.parametrize(("words", "hint"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], hint: str) -> None:
    assert hint in refused(capsys, *words)


@pytest.mark.parametrize(
    ("section", "settings"),
    [("task", "lr: .nan"), ("task", "dropout: .inf"), ("data", "length: .nan"), ("fit", "max_minutes: -.inf")],
)
def test_numbers_of_a_file_are_finite(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, section: str, settings: str
) -> None:
    inner = f"{{{settings}}}" if section == "fit" else f"{{init_args: {{{settings}}}}}"
    (tmp_path / "config.yaml").write_text(f"{section}: {inner}\n")
    error = refused(capsys, "fit", "--config", str(tmp_path / "config.yaml"))
    assert re.search(r"--[a-z-]+ was given -?(nan|inf); expected a finite number", error)


def test_mistakes_with_data(capsys: pytest.CaptureFixture[str], text_file: Path, tmp_path: Path) -> None:
    text, runs = ["fit", "--data", str(text_file), "--runs", str(tmp_path / "runs")], tmp_path / "runs"
    assert "does not fit a text" in refused(capsys, *text, "--length", "1000000")
    assert "lanes" in refused(capsys, *text, "--carry", "--batch-size", "100000")
    assert "fewer than a batch" in refused(capsys, *text, "--batch-size", "100000")
    assert "give at most that many" in refused(capsys, *text, "--devices", "100000", "--accelerator", "cpu")
    (tmp_path / "empty.txt").write_text("")
    assert "'☃'" in refused(capsys, *text, "--prompt", "the ☃")
    assert "is empty" in refused(capsys, "fit", "--data", str(tmp_path / "empty.txt"))
    (tmp_path / "folder").mkdir()
    assert "holds no text" in refused(capsys, "fit", "--data", str(tmp_path / "folder"))
    (tmp_path / "latin.txt").write_bytes("Caf\xe9 ".encode("latin-1") * 1000)
    assert "not UTF-8" in refused(capsys, "fit", "--data", str(tmp_path / "latin.txt"))
    (tmp_path / "bad.safetensors").write_bytes(b"PK nonsense")
    assert "truncated" in refused(capsys, "fit", "--resume", str(tmp_path / "bad.safetensors"))
    assert "--resum is not known; did you mean --resume?" in refused(capsys, "fit", "--resum", "run")
    other = ["fit", "--resume", str(tmp_path), "--lr", "1"]
    assert "--lr is no option of a run that is resumed" in refused(capsys, *other)
    learned = ["--backbone", "Transformer", "--backbone.positions", "learned", "--backbone.context", "8"]
    assert "end at 8" in refused(capsys, *text, *learned)
    (tmp_path / "file").write_text("in the way")
    assert "run folder" in refused(capsys, *text[:-1], str(tmp_path / "file"))
    assert not runs.exists()  # refused before anything was written


def test_mistakes_with_a_run(capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path) -> None:
    assert "'☃'" in refused(capsys, "generate", str(run), "--prompt", "the ☃")
    assert "missing.txt" in refused(capsys, "test", str(run), "--data", "missing.txt")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((run / "checkpoints" / "best.safetensors").read_bytes()[:5000])
    assert "truncated" in refused(capsys, "generate", str(cut))


def test_resume_of_another_run(capsys: pytest.CaptureFixture[str], run: Path, text_file: Path, tmp_path: Path) -> None:
    words = ["fit", "--config", str(run / "config.yaml"), "--resume", str(run), "--runs", str(tmp_path)]
    assert "another backbone" in refused(capsys, *words, "--backbone", "LSTM")
    assert "another length" in refused(capsys, *words, "--length", "8")
    assert "another size of batches * devices" in refused(capsys, *words, "--batch-size", "2")
    assert "another carry, text" not in refused(capsys, *words, "--no-carry")
    assert "another text" in refused(capsys, *words, "--val-fraction", "0.3")
    assert "another average" in refused(capsys, *words, "--average", "ema")


def test_spent_budget_is_not_gone_on_with(capsys: pytest.CaptureFixture[str], run: Path, tmp_path: Path) -> None:
    words = ["fit", "--config", str(run / "config.yaml"), "--resume", str(run), "--runs", str(tmp_path)]
    assert "has spent this budget" in refused(capsys, *words)
    main([*words, "--max-steps", "62"])
    assert "62 steps" in capsys.readouterr().out


def test_more_than_the_memory(capsys: pytest.CaptureFixture[str], text_file: Path, tmp_path: Path) -> None:
    words = ["--max-steps", "1", "--backbone", "RNN", "--backbone.hidden-size", "3000000"]
    error = refused(capsys, "fit", "--data", str(text_file), "--runs", str(tmp_path), *words)
    assert "memory does not suffice" in error


def test_diverged_run_keeps_its_figures(capsys: pytest.CaptureFixture[str], text_file: Path, tmp_path: Path) -> None:
    words = ["--data", str(text_file), "--runs", str(tmp_path), "--max-steps", "8", "--lr", "1e30", "--clip", "0"]
    main(["fit", *words, "--length", "16", "--batch-size", "2", "--backbone", "RNN", "--backbone.hidden-size", "8"])
    assert "no sample at step 8" in capsys.readouterr().out
    (folder,) = tmp_path.glob("*/*")
    assert json.loads((folder / "result.json").read_text())["steps"] == 8


def test_network_of_ones_own_is_named_in_the_next_command(
    capsys: pytest.CaptureFixture[str], text_file: Path, tmp_path: Path
) -> None:
    class Mine(GRU):
        """A network of a module outside the package."""

    Mine.__qualname__ = "Mine"  # as if it stood at the top of it
    data = TextDataModule(str(text_file), carry=True, length=16, batch_size=4)
    fit(LanguageModel(Mine(8, 8), data.tokenizer), data, max_steps=2, validations=1, runs=str(tmp_path))
    assert f" --import {Mine.__module__}\n" in capsys.readouterr().out


def test_hub_name_without_network(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqmodels.data.hub_tables.reachable", lambda: False)
    error = refused(capsys, "fit", "--data", "nobody/nothing")
    assert {"--data python", "--data PATH"} <= set(re.findall("--data [a-zA-Z]+", error))


@pytest.mark.parametrize("task", ["LanguageModel", "Translator"])
@pytest.mark.parametrize("data", ["TextDataModule", "TranslationDataModule"])
def test_every_flag_belongs_to_one_section(task: str, data: str) -> None:
    sections = options_by_section(getattr(seqmodels, task), getattr(seqmodels, data))
    names = [name for options in sections.values() for name in options]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("seed", [7, -7, 1 << 40])
def test_a_random_seed_is_that_of_all_generators(seed: int) -> None:
    """Networks and data of a user's own may draw from any."""
    found = []
    for _ in range(2):
        seed_all(seed)
        found.append((float(torch.rand(())), np.random.random(), random.random()))
    assert found[0] == found[1]
