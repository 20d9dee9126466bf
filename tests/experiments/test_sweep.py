"""A sweep does each experiment once, whoever does it, and keeps what was finished."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from refusals import assert_refused

from seqmodels.errors import InputError
from seqmodels.experiments.data import MemoryDataModule
from seqmodels.experiments.model import MemoryModel
from seqmodels.experiments.results import train
from seqmodels.experiments.sweep import compare_translators, sweep, table_of_means
from seqmodels.nn import GRU


def test_each_experiment_once(tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []

    def experiment(name: str, seed: int) -> dict[str, Any]:
        if name == "b" and seed == 2 and len(done) < 5:
            raise KeyboardInterrupt
        done.append((name, seed))
        return {"bleu": float(10 * seed)}

    names = ["a", "b", "c, d"]
    with pytest.raises(KeyboardInterrupt):
        sweep(experiment, names, (1, 2), tmp_path)
    assert done == [("a", 1), ("b", 1), ("c, d", 1), ("a", 2)]  # a whole table first, then the next seed
    done.append(("nobody", 0))
    results = sweep(experiment, names, (1, 2), tmp_path)
    assert done[5:] == [("b", 2), ("c, d", 2)]
    assert {name: [run["seed"] for run in runs] for name, runs in results.items()} == {key: [1, 2] for key in names}
    assert {"command", "commit", "device", "threads", "began"} <= results["a"][0]["environment"].keys()
    assert "| c, d | 15.0 (7.1) | 2 |" in table_of_means(results, {"bleu": "BLEU"}).splitlines()


def test_parts_are_disjoint_and_all(tmp_path: Path) -> None:
    done: list[tuple[str, int]] = []

    def experiment(name: str, seed: int) -> dict[str, Any]:
        done.append((name, seed))
        return {}

    for part in ("1/2", "2/2"):
        sweep(experiment, ["a", "b", "c"], range(3), tmp_path, part)
    assert len(done) == len(set(done)) == 9


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_part_that_is_none(tmp_path: Path, part: str) -> None:
    assert_refused("expected one such as 1/2", sweep, lambda name, seed: {}, ["a"], [1], tmp_path, part)


def test_names_that_one_file_would_have(tmp_path: Path) -> None:
    assert_refused("too similar", sweep, lambda name, seed: {}, ["a b", "a_b"], [1], tmp_path)


def test_results_of_other_settings_are_not_put_beside(tmp_path: Path) -> None:
    sweep(lambda name, seed: {}, ["a"], [1], tmp_path, settings={"steps": 3, "size": 8})
    sweep(lambda name, seed: {}, ["a", "b"], [1], tmp_path, settings={"steps": 3, "size": 8})
    with pytest.raises(InputError, match="has results with steps=3 rather than 4; give the same, or another folder"):
        sweep(lambda name, seed: {}, ["a", "c"], [1], tmp_path, settings={"steps": 4, "size": 8})
    assert not list(tmp_path.glob("c*"))


def test_settings_may_change_while_there_is_no_result(tmp_path: Path) -> None:
    def fails(name: str, seed: int) -> dict[str, Any]:
        raise InputError("there is no such file")

    assert_refused("no such file", sweep, fails, ["a"], [1], tmp_path, settings={"data": "nowhere"})
    assert sweep(lambda name, seed: {}, ["a"], [1], tmp_path, settings={"data": "here"})["a"]


def test_classes_of_few_sentences_are_not_compared(tmp_path: Path) -> None:
    def run(bleu: float) -> dict[str, Any]:
        rows = [{"from": low, "to": low + 5, "sentences": many, "bleu": bleu + low} for low, many in ((5, 9), (10, 10))]
        return {"by_length": rows, "bleu": bleu, "chrf": 50.0, "seconds": 1.0}

    page = compare_translators({"one": [run(1.0), run(3.0)], "none": []}, tmp_path, "both").splitlines()
    assert page[0] == "|  | BLEU | 10 to 14 words | chrF | seconds | runs |"
    assert page[2] == "| one | 2.0 (1.4) | 12.0 (1.4) | 50.0 (0.0) | 1.0 (0.0) | 2 |"
    assert page[3] == "| none | - | - | - | - | 0 |"
    assert (tmp_path / "both.png").stat().st_size > 0


@pytest.mark.parametrize("ending", [SystemExit(143), KeyboardInterrupt()])
def test_what_is_finished_is_shown_where_a_signal_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: BaseException
) -> None:
    def experiment(name: str, seed: int) -> dict[str, Any]:
        if name == "b":
            raise ending
        return {"score": 1.0}

    shown: list[Any] = []
    with pytest.raises(type(ending)):
        sweep(experiment, ["a", "b"], [1], tmp_path, show=shown.append)
    assert [len(shown[0][name]) for name in ("a", "b")] == [1, 0]
    assert f"finished experiments are in {tmp_path}" in capsys.readouterr().out


def test_a_memory_recipe_that_is_stopped_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `fit` does; Lightning alone ends with code 0."""
    data = MemoryDataModule("adding", 10, seeds=[1])
    model = MemoryModel([GRU(data.task.inputs, 8)], data.task.outputs, seeds=[1])
    monkeypatch.setattr(model, "on_train_start", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        train(model, data, max_steps=10)
    assert ended.value.code == 143
