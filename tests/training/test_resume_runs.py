"""Going on with a run in its own folder: what is found, what is refused, what is written again."""

import csv
import json
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from filelock import FileLock
from torch.testing import assert_close
from trainers import hooked, small_model, small_module

from seqmodels import DamagedError, InputError, TextDataModule, fit, load, share
from seqmodels.checkpoints.safetensors_io import read, write
from seqmodels.cli.main import main
from seqmodels.data import Replica
from seqmodels.training.interruption import Stopped
from seqmodels.training.resume import check_batches, find_origin, rebuild_run, rewind


def kill(step: int, number: int) -> pl.Callback:
    """A callback that sends a signal to this process after a step."""
    return hooked(on_train_batch_end=lambda trainer, *_: trainer.global_step == step and os.kill(os.getpid(), number))


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def begun(text: Path, runs: Path, **settings: Any) -> Path:
    data = small_module(text, True)
    given = {"max_steps": 12, "validations": 2, "runs": str(runs), "diagnostics": False} | settings
    return fit(small_model(data, dropout=0.2), data, **given)


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(text_file, tmp_path_factory.mktemp("runs"))


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return read(run / "checkpoints" / f"{which}.safetensors")["state_dict"]


def test_ctrl_c_saves_and_is_gone_on_with_from_the_command_line(text_file: Path, tmp_path: Path, run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begun(text_file, tmp_path, callbacks=(kill(8, signal.SIGINT),))
    (stopped,) = tmp_path.glob("*/*")
    result = json.loads((stopped / "result.json").read_text())
    assert (result["steps"], result["ended"]) == (8, "SIGINT")
    assert read(stopped / "checkpoints" / "last.safetensors")["global_step"] == 8
    main(["fit", "--resume", str(stopped)])
    for which in ("last", "best"):
        for name, tensor in weights(run, which).items():
            assert_close(weights(stopped, which)[name], tensor, rtol=0, atol=0, msg=name)
    assert json.loads((stopped / "result.json").read_text())["ended"] == "budget"
    (again,) = json.loads((stopped / "env.json").read_text())["resumed"]
    assert again["step"] == 8


def test_signal_before_the_first_step(text_file: Path, tmp_path: Path) -> None:
    def early(trainer: pl.Trainer, *args: Any) -> None:
        trainer._signal_connector.received_sigterm = True  # type: ignore[attr-defined]

    with pytest.raises(Stopped) as stop:
        begun(text_file, tmp_path, callbacks=(hooked(on_fit_start=early, on_train_start=early),))
    assert stop.value.code == 143


def test_a_closed_terminal_saves(text_file: Path, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    with pytest.raises(Stopped) as stop:
        begun(text_file, tmp_path, callbacks=(kill(8, signal.SIGHUP),))
    signal.signal(signal.SIGHUP, before)
    assert stop.value.code == 129
    (stopped,) = tmp_path.glob("*/*")
    assert json.loads((stopped / "result.json").read_text())["ended"] == "SIGHUP"
    assert find_origin(stopped).content["global_step"] == 8


def test_what_nohup_ignores_is_ignored(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run = begun(text_file, tmp_path, callbacks=(kill(8, signal.SIGHUP),))
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN
    assert json.loads((run / "result.json").read_text())["ended"] == "budget"


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints", ".lock", "samples.md", "curves.png", "wandb"])
def test_nothing_is_written_through_links(text_file: Path, tmp_path: Path, name: str) -> None:
    """Of a run folder that somebody else packed."""
    run, outside = begun(text_file, tmp_path / "runs"), tmp_path / "outside"
    if (run / name).exists():
        (run / name).rename(outside)
    else:
        outside.mkdir()
    content = {path: path.read_bytes() for path in (outside, *outside.rglob("*")) if path.is_file()}
    (run / name).symlink_to(outside)
    with pytest.raises(InputError, match=f"{name}' is a link"):
        begun(text_file, tmp_path / "runs", max_steps=18, resume=run)
    assert content == {path: path.read_bytes() for path in (outside, *outside.rglob("*")) if path.is_file()}


def test_the_caller_is_left_as_it_was(text_file: Path, tmp_path: Path, run: Path) -> None:
    def surroundings() -> list[Any]:
        streams = (sys.stdout, sys.stderr, dict(os.environ), warnings.filters[:], signal.getsignal(signal.SIGTERM))
        return [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist(), *streams]  # type: ignore[index]

    data = small_module(text_file, True)
    model = small_model(data, dropout=0.2)
    before = surroundings()
    fit(model, data, max_steps=14, validations=2, resume=run / "checkpoints" / "last.safetensors", runs=tmp_path)
    load(run)
    share(run, tmp_path / "shared")
    assert surroundings() == before


def test_handlers_are_given_back(text_file: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    begun(text_file, tmp_path, max_steps=2, validations=1)
    with pytest.raises(Stopped):
        begun(text_file, tmp_path, callbacks=(kill(2, signal.SIGUSR1),))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == before


def test_longer_in_the_same_folder_and_a_branch_in_another(text_file: Path, tmp_path: Path) -> None:
    run = begun(text_file, tmp_path)
    with pytest.raises(InputError, match="has spent this budget"):
        begun(text_file, tmp_path, resume=run)
    best = (run / "checkpoints" / "best.safetensors").read_bytes()
    branch = begun(text_file, tmp_path, max_steps=18, resume=run / "checkpoints" / "best.safetensors")
    assert branch != run
    assert (run / "checkpoints" / "best.safetensors").read_bytes() == best
    longer = begun(text_file, tmp_path, max_steps=18, resume=run)
    assert longer == run
    assert [int(row["step"]) for row in rows(run) if row["val/nats_per_token"]] == [5, 11, 17]  # each once


def test_only_one_at_a_time(text_file: Path, run: Path) -> None:
    with FileLock(run / ".lock"), pytest.raises(InputError, match="another run is training"):
        begun(text_file, run.parent.parent, max_steps=18, resume=run)


def test_damaged_newest(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(text_file, tmp_path)
    path = run / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    origin = find_origin(run)
    assert origin.path.name == "previous.safetensors"
    assert origin.content["global_step"] == 6
    warning = capsys.readouterr().err
    assert str(path) in warning
    assert "previous.safetensors, the one before it" in warning
    begun(text_file, tmp_path, max_steps=18, resume=run)
    assert find_origin(run).content["global_step"] == 18
    assert capsys.readouterr().err.count("warning") == 1
    for name in ("last", "previous"):
        (run / "checkpoints" / f"{name}.safetensors").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"previous\.safetensors"):
        find_origin(run)


def test_what_a_killed_process_leaves(text_file: Path, tmp_path: Path) -> None:
    """Between two renames, and in the midst of writing."""
    run = begun(text_file, tmp_path)
    folder = run / "checkpoints"
    (folder / "last.safetensors").rename(folder / "next.safetensors")
    (folder / ".next.safetensors.123").write_bytes(b"half")
    origin = find_origin(run)
    assert (origin.path.name, origin.content["global_step"]) == ("next.safetensors", 12)
    begun(text_file, tmp_path, max_steps=18, resume=run)
    assert sorted(path.stem for path in folder.iterdir()) == ["best", "last", "previous"]
    assert find_origin(run).content["global_step"] == 18


def test_weights_alone_are_not_gone_on_with(text_file: Path, run: Path, tmp_path: Path) -> None:
    content = read(run / "checkpoints" / "last.safetensors")
    del content["optimizer_states"]
    write(tmp_path / "weights.safetensors", content)
    load(tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="no optimizer state"):
        begun(text_file, tmp_path, resume=tmp_path / "weights.safetensors")


@pytest.mark.parametrize(("setting", "value"), [("accumulate", 2), ("average", "ema")])
def test_other_settings(text_file: Path, run: Path, setting: str, value: object) -> None:
    with pytest.raises(InputError, match=f"another {setting}"):
        begun(text_file, run.parent.parent, max_steps=18, resume=run, **{setting: value})


def test_other_numbers_of_processes(run: Path) -> None:
    origin = find_origin(run)
    for devices, size in ((1, 4), (2, 2), (4, 1)):
        task, data = rebuild_run(origin, devices)
        assert isinstance(data, TextDataModule)
        assert data.batch_size == size
        check_batches(origin, len(data.training_batches(Replica(0, devices))))
    with pytest.raises(InputError, match="batches of 4 cannot be divided by devices=3"):
        rebuild_run(origin, 3)
    with pytest.raises(InputError, match="some examples would be read twice"):
        check_batches(origin, 7)
    assert type(task) is type(load(run))


def test_rewind(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/lr,val/nats_per_token\n0,9,0.1,\n0,19,0.1,\n0,19,,2.0\n0,29,0.1,\n0,39"
    )
    (tmp_path / "samples.md").write_text("## step 10\n\na\n\n## step 20\n\nb\n\n## step 1,040, later\n\nc\n")
    (tmp_path / "checkpoints").mkdir()
    rewind(tmp_path, {"global_step": 20, "callbacks": {}}, due=False)
    assert (tmp_path / "metrics.csv").read_text().split() == [
        "epoch,step,train/lr,val/nats_per_token", "0,9,0.1,", "0,19,0.1,", "0,19,,2.0",
    ]  # fmt: skip
    rewind(tmp_path, {"global_step": 20, "callbacks": {}}, due=True)
    assert (tmp_path / "metrics.csv").read_text().split()[1:] == ["0,9,0.1,", "0,19,0.1,"]
    assert (tmp_path / "samples.md").read_text() == "## step 10\n\na\n\n## step 20\n\nb\n\n"


def _keys(part: str) -> list[str]:
    """The keys of a part, in which a slash stands for the dots that Lightning has in keys of its own."""
    return [key.replace("/", ".") for key in part.split(".")]


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("optimizer_states", [{}]),
        ("lr_schedulers", [{"last_epoch": "x"}, 3]),
        ("loops", {"fit_loop": {}}),
        ("callbacks", {"Budget": 3}),
        ("TextDataModule", {"place": "here"}),
        ("TextDataModule", ""),
        ("lr_schedulers.0.base_lrs.1", torch.zeros(0)),
        ("lr_schedulers.0.base_lrs", {"a": 1}),
        ("lr_schedulers.0.last_epoch", {}),
        ("lr_schedulers.0._step_count", torch.ones(3, 3)),
        ("optimizer_states.0.state.3.exp_avg_sq", True),
        ("optimizer_states.0.state.3.exp_avg", torch.zeros(2)),
        ("optimizer_states.0.param_groups.0.betas", "x"),
        ("loops.fit_loop.epoch_progress.total.ready", {"a": {}}),
        ("loops.fit_loop.epoch_loop/batch_progress.current.processed", -1),
        ("callbacks.Checkpoints.best", True),
        ("callbacks.Samples.next", [[]]),
        ("callbacks.Budget.spent", None),
    ],
)
def test_crafted_parts_of_a_whole_file(text_file: Path, run: Path, tmp_path: Path, part: str, content: Any) -> None:
    """What neither checksums nor the record of this package tell."""
    whole = read(run / "checkpoints" / "last.safetensors")
    *path, last = (int(name) if name.isdigit() else name for name in _keys(part))
    inner: Any = whole
    for name in path:
        inner = inner[name]
    inner[last] = content
    write(tmp_path / "crafted.safetensors", whole)
    with pytest.raises(InputError, match=r"crafted\.safetensors"):
        begun(text_file, tmp_path / "runs", max_steps=18, resume=tmp_path / "crafted.safetensors")


def test_skipped_step_and_a_signal(text_file: Path, tmp_path: Path) -> None:
    """A step that is skipped is no reason to lose those before it."""

    def spoil(trainer: pl.Trainer, model: pl.LightningModule) -> None:
        for p in model.parameters() if trainer.global_step == 7 else ():
            assert p.grad is not None
            p.grad.fill_(torch.inf)

    with pytest.raises(Stopped):
        begun(text_file, tmp_path, callbacks=(hooked(on_after_backward=spoil), kill(8, signal.SIGTERM)))
    (stopped,) = tmp_path.glob("*/*")
    origin = find_origin(stopped)
    assert origin.content["global_step"] == 8
    assert origin.content["seqmodels"]["skipped_in_a_row"] == 1
    assert find_origin(stopped / "checkpoints" / "previous.safetensors").content["global_step"] == 6


def test_what_is_reported_is_what_was_saved(text_file: Path, tmp_path: Path) -> None:
    run = begun(text_file, tmp_path)
    result = json.loads((run / "result.json").read_text())
    best = read(run / "checkpoints" / "best.safetensors")["global_step"]
    figures = {int(row["step"]) + 1: row["val/nats_per_token"] for row in rows(run)}
    assert result["val/nats_per_token"] == pytest.approx(float(figures[best]))


def test_no_line_is_logged_twice(text_file: Path, tmp_path: Path) -> None:
    run = begun(text_file, tmp_path, max_steps=50)
    assert [int(row["step"]) for row in rows(run) if row["train/lr"]] == [19, 39]


def test_early_ctrl_c_and_other_exits(text_file: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        begun(text_file, tmp_path, callbacks=(hooked(on_fit_start=Mock(side_effect=KeyboardInterrupt)),))
    assert signal.getsignal(signal.SIGINT) == before
    with pytest.raises(SystemExit) as stop:
        begun(text_file, tmp_path, callbacks=(hooked(on_fit_start=Mock(side_effect=SystemExit(3))),))
    assert stop.value.code == 3


def test_other_learning_rate(text_file: Path, run: Path) -> None:
    data = small_module(text_file, True)
    with pytest.raises(InputError, match="another lr"):
        fit(small_model(data, dropout=0.2, lr=0.5), data, max_steps=18, resume=run)


def test_text_that_was_moved_or_changed(text: str, tmp_path: Path) -> None:
    there, moved = tmp_path / "text.txt", tmp_path / "moved.txt"
    there.write_text(text)
    run = begun(there, tmp_path / "runs")
    there.rename(moved)
    main(["fit", "--resume", str(run), "--max-steps", "14", "--data", str(moved)])
    assert find_origin(run).content["global_step"] == 14
    moved.write_text(text + "more")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--resume", str(run), "--max-steps", "16", "--data", str(moved)])
    assert stop.value.code == 2


def test_error_of_a_callback_is_its_own(text_file: Path, run: Path) -> None:
    """Also in the validation that a resumed run begins with."""

    fails = hooked(on_validation_start=Mock(side_effect=PermissionError("mine")))
    with pytest.raises(PermissionError, match="mine"):
        begun(text_file, run.parent.parent, max_steps=18, resume=run, callbacks=(fails,))


@pytest.mark.parametrize("setting", ["save_minutes", "max_nonfinite_steps", "accumulate"])
def test_settings_are_refused_before_there_is_a_folder(text_file: Path, tmp_path: Path, setting: str) -> None:
    with pytest.raises(InputError, match=f"{setting}=0 was given"):
        begun(text_file, tmp_path, **{setting: 0})
    assert not list(tmp_path.iterdir())
