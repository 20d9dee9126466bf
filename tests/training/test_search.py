"""A sweep: trials within a budget, stopped early, killed and resumed, with a table over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from seqmodels.cli import sweep as command
from seqmodels import InputError
from seqmodels.cli.main import main
from seqmodels.cli.sweep import sweep
from seqmodels.files import read_json, to_json, write_text
from seqmodels.training.search import search
from seqmodels.training.search_recipe import Recipe, read_recipe

pytest.importorskip("optuna")

RECIPE = """
settings: {{data: {text}, backbone: GRU, backbone.hidden-size: 8, length: 8, batch-size: 4, max-steps: 8,
           diagnostics: {no}}}
search:
  lr: {{low: 0.0001, high: 0.03, log: true}}
  backbone.input-size: [4, 8]
minutes: 60
seeds: 2
finalists: 1
trials: {trials}
halving: 2
"""


def recipe(folder: Path, trials: int, **changes: str) -> str:
    (folder / "text.txt").write_text("the cat sat on the mat\n" * 60)
    content = RECIPE.format(text=folder / "text.txt", trials=trials, no="false")
    for old, new in changes.items():
        content = content.replace(f"{old}:", f"{old}: {new} #")
    (folder / "small.yaml").write_text(content)
    return str(folder / "small.yaml")


@pytest.mark.slow
def test_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed in mid-training, it goes on with that trial; then the best settings have another seed."""
    folder = tmp_path / "sweep"
    whole, calls = command.fit, list[list[str]]()

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
            if trainer.global_step == 3:
                raise KeyboardInterrupt

    def fit(words: Sequence[str], callbacks: Sequence[pl.Callback]) -> Path:
        calls.append(list(words))
        return whole(words, callbacks=[*callbacks, *[Stop()] * (len(calls) == 1)])

    monkeypatch.setattr(command, "fit", fit)
    with pytest.raises(BaseException):  # noqa: B017, PT011
        sweep(recipe(tmp_path, 3), str(folder))
    sweep(recipe(tmp_path, 3), str(folder))
    assert calls[1][0] == "--resume"
    found = read_json(folder / "results.json")
    trials = found["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2, 3]
    assert [trial["seed"] for trial in trials] == [1, 1, 1, 2]
    assert trials[0]["run"] == calls[1][1]
    assert len({trial["params"]["lr"] for trial in trials[:3]}) == 3
    best = min((trial for trial in trials[:3] if trial["state"] == "complete"), key=lambda trial: trial["figure"])
    assert trials[3]["params"] == best["params"]
    for trial in trials:
        result = read_json(Path(trial["run"]) / "result.json")
        assert [*map(int, trial["values"])] == [*range(1, len(trial["values"]) + 1)]
        assert result["val/bits_per_byte"] == trial["figure"]
        assert result["steps"] == (8 if trial["state"] == "complete" else 2 * len(trial["values"]))
        assert (trial["state"] == "pruned") == (len(trial["values"]) < 4)
    assert found["core_minutes"] == pytest.approx(sum(trial["core_minutes"] for trial in trials))
    table = (folder / "results.md").read_text()
    assert f"{(best['figure'] + trials[3]['figure']) / 2:.4f} ±" in table
    assert (folder / "results.png").stat().st_size > 1000
    assert "results" in capsys.readouterr().out
    with pytest.raises(InputError, match="a sweep with other monitor"):
        sweep(recipe(tmp_path, 3, halving="2\nmonitor: val/perplexity"), str(folder))


def test_halving() -> None:
    """Of nine trials whose figures are known from the start, a third goes on after 1 and after 3 validations."""
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lengths = []
    for figure in range(9):  # the best come first, so that no later one is promoted
        trial = study.ask()
        for step in range(1, 10):
            trial.report(float(figure), step)
            if trial.should_prune():
                break
        lengths.append(step)
        study.tell(trial, float(figure))
    assert lengths[0] == 9
    assert lengths[3:] == [1] * 6


def test_what_a_recipe_must_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base: dict[str, Any] = {"settings": {}, "search": {"lr": [0.1]}, "minutes": 1}
    for changes, message in (
        ({"search": {}}, "nothing is searched"),
        ({"search": {"lr": {"low": 2, "high": 1}}}, "expected a list of values, or low and high"),
        ({"search": {"lr": {"low": 0, "high": 1, "log": True}}}, "expected a low above 0"),
        ({"settings": {"seed": 3}}, "the sweep decides about it"),
        ({"settings": {"lr": 3}}, "leave out one of the two"),
        ({"minutes": "soon"}, "minutes was given 'soon'"),
        ({"halving": 1}, "expected a number of at least 2"),
    ):
        with pytest.raises(InputError, match=message):
            Recipe(**{**base, **changes})
    (tmp_path / "a.yaml").write_text("search: {lr: [1]}\nminuets: 3\n")
    with pytest.raises(InputError, match="'minuets'"):
        read_recipe(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("search: {rate: [0.1, 0.2]}\nminutes: 1\n")
    with pytest.raises(SystemExit):
        main(["sweep", str(tmp_path / "a.yaml"), "--to", str(tmp_path / "sweep")])
    assert "--rate is not known" in capsys.readouterr().err


def test_the_best_have_other_seeds(tmp_path: Path) -> None:
    """With figures that are known: all trials, then the two best with other seeds; and nothing is done twice."""
    made = list[tuple[float, int]]()

    def train(settings: dict[str, Any], callbacks: Sequence[pl.Callback], resume: Path | None) -> Path:
        assert resume is None
        made.append((settings["lr"], settings["seed"]))
        folder = tmp_path / f"run{len(made)}"
        folder.mkdir()
        if settings["lr"] == 9:
            raise InputError("nine is no rate")
        figure = abs(settings["lr"] - 2.9) + settings["seed"] / 100
        write_text(folder / "result.json", to_json({"val/bits_per_byte": figure, "ended": "budget"}))
        return folder

    given = {"settings": {"validations": 4}, "search": {"lr": {"low": 1, "high": 9}}, "minutes": 60, "finalists": 2}
    search(Recipe(**given, trials=8), tmp_path / "sweep", train)
    assert len(set(made)) == len(made)
    tried = sorted({lr for lr, _ in made[:8]}, key=lambda lr: abs(lr - 2.9))
    seeds = {lr: {seed for other, seed in made if other == lr} for lr in tried}
    assert all(seeds[lr] >= {1, 2, 3} for lr in tried[:2])
    assert {lr for lr, _ in made[8:]} <= set(tried[:2])
    assert (tmp_path / "sweep/results.md").read_text().count("± 0.0100 | 3 |") >= 1
    before = len(made)
    search(Recipe(**given, trials=8), tmp_path / "sweep", train)
    assert len(made) == before
    search(Recipe(**given, trials=9), tmp_path / "sweep", train)
    assert len(made) > before
    before = len(made)
    search(Recipe(**{**given, "minutes": 0}, trials=30), tmp_path / "sweep", train)
    assert len(made) == before
