"""Going on with a run in its own folder: what is found, what is refused, what is written again."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from filelock import FileLock
from torch.testing import assert_close
from training import small_model, small_module

from seqmodels import DamagedError, InputError, TextDataModule, fit, load
from seqmodels.cli import main
from seqmodels.data import Share
from seqmodels.resuming import check_batches, find_origin, rebuild
from seqmodels.rewind import rewind
from seqmodels.signals import Stopped


class At(pl.Callback):
    """Does something after a step."""

    def __init__(self, step: int, action: Any) -> None:
        self.step, self.action = step, action

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            self.action()


def kill(number: int) -> Any:
    return lambda: os.kill(os.getpid(), number)


def begun(text: Path, runs: Path, **settings: Any) -> Path:
    data = small_module(text, True)
    given = {"max_steps": 12, "validations": 2, "runs": str(runs)} | settings
    return fit(small_model(data, dropout=0.2), data, **given)


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(text_file, tmp_path_factory.mktemp("runs"))


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]


def test_ctrl_c_saves_and_is_gone_on_with_from_the_command_line(text_file: Path, tmp_path: Path, run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        begun(text_file, tmp_path, callbacks=(At(8, kill(signal.SIGINT)),))
    (stopped,) = tmp_path.glob("*/*")
    result = json.loads((stopped / "result.json").read_text())
    assert (result["steps"], result["ended"]) == (8, "SIGINT")
    assert torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8
    main(["fit", "--resume", str(stopped)])
    for which in ("last", "best"):
        for name, tensor in weights(run, which).items():
            assert_close(weights(stopped, which)[name], tensor, rtol=0, atol=0, msg=name)
    assert json.loads((stopped / "result.json").read_text())["ended"] == "budget"
    (again,) = json.loads((stopped / "env.json").read_text())["resumed"]
    assert again["step"] == 8


def test_signal_before_the_first_step(text_file: Path, tmp_path: Path) -> None:
    class Early(pl.Callback):
        def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer._signal_connector.received_sigterm = True  # type: ignore[attr-defined]

        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer._signal_connector.received_sigterm = True  # type: ignore[attr-defined]

    with pytest.raises(Stopped) as stop:
        begun(text_file, tmp_path, callbacks=(Early(),))
    assert stop.value.code == 143


def test_handlers_are_given_back(text_file: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    begun(text_file, tmp_path, max_steps=2, validations=1)
    with pytest.raises(Stopped):
        begun(text_file, tmp_path, callbacks=(At(2, kill(signal.SIGUSR1)),))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == before


def test_longer_in_the_same_folder_and_a_branch_in_another(text_file: Path, tmp_path: Path) -> None:
    run = begun(text_file, tmp_path)
    with pytest.raises(InputError, match="has spent this budget"):
        begun(text_file, tmp_path, resume=run)
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    branch = begun(text_file, tmp_path, max_steps=18, resume=run / "checkpoints" / "best.ckpt")
    assert branch != run
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best
    longer = begun(text_file, tmp_path, max_steps=18, resume=run)
    assert longer == run
    with (run / "metrics.csv").open(newline="") as file:
        validated = [int(row["step"]) for row in csv.DictReader(file) if row["val/nats_per_token"]]
    assert validated == [5, 11, 17]  # each once


def test_only_one_at_a_time(text_file: Path, run: Path) -> None:
    with FileLock(run / ".lock"), pytest.raises(InputError, match="another run is training"):
        begun(text_file, run.parent.parent, max_steps=18, resume=run)


def test_damaged_newest(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(text_file, tmp_path)
    path = run / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:-100])
    origin = find_origin(run)
    assert origin.path.name == "previous.ckpt"
    assert origin.content["global_step"] == 6
    warning = capsys.readouterr().err
    assert str(path) in warning
    assert "previous.ckpt, the one before it" in warning
    begun(text_file, tmp_path, max_steps=18, resume=run)
    assert find_origin(run).content["global_step"] == 18
    assert capsys.readouterr().err.count("warning") == 1
    for name in ("last", "previous"):
        (run / "checkpoints" / f"{name}.ckpt").write_bytes(b"")
    with pytest.raises(DamagedError, match=r"previous\.ckpt"):
        find_origin(run)


def test_what_a_killed_process_leaves(text_file: Path, tmp_path: Path) -> None:
    """Between two renames, and in the midst of writing."""
    run = begun(text_file, tmp_path)
    folder = run / "checkpoints"
    (folder / "last.ckpt").rename(folder / "next.ckpt")
    (folder / ".next.ckpt.123").write_bytes(b"half")
    origin = find_origin(run)
    assert (origin.path.name, origin.content["global_step"]) == ("next.ckpt", 12)
    begun(text_file, tmp_path, max_steps=18, resume=run)
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt", "previous.ckpt"]
    assert find_origin(run).content["global_step"] == 18


def test_weights_alone_are_not_gone_on_with(text_file: Path, run: Path, tmp_path: Path) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del content["optimizer_states"]
    torch.save(content, tmp_path / "weights.ckpt")
    load(tmp_path / "weights.ckpt")
    with pytest.raises(InputError, match="no optimiser to go on with"):
        begun(text_file, tmp_path, resume=tmp_path / "weights.ckpt")


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"accumulate": 2}, "accumulate"), ({"average": "ema"}, "average")],
    ids=["accumulate", "ema"],
)
def test_other_settings(text_file: Path, run: Path, settings: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=f"another {what}"):
        begun(text_file, run.parent.parent, max_steps=18, resume=run, **settings)


def test_other_numbers_of_processes(run: Path) -> None:
    origin = find_origin(run)
    for devices, rows in ((1, 4), (2, 2), (4, 1)):
        task, data = rebuild(origin, devices)
        assert isinstance(data, TextDataModule)
        assert data.batch_size == rows
        check_batches(origin, len(data.training_batches(Share(0, devices))))
    with pytest.raises(InputError, match="batches of 4 cannot be shared alike by devices=3"):
        rebuild(origin, 3)
    with pytest.raises(InputError, match="some examples would be read twice"):
        check_batches(origin, 7)
    assert type(task) is type(load(run))


def test_rewind(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "epoch,step,train/lr,val/nats_per_token\n0,9,0.1,\n0,19,0.1,\n0,19,,2.0\n0,29,0.1,\n0,39"
    )
    (tmp_path / "samples.md").write_text("## step 10\n\na\n\n## step 20\n\nb\n\n## step 1,040, later\n\nc\n")
    (tmp_path / "checkpoints").mkdir()
    rewind(tmp_path, 20, due=False)
    assert (tmp_path / "metrics.csv").read_text().split() == [
        "epoch,step,train/lr,val/nats_per_token", "0,9,0.1,", "0,19,0.1,", "0,19,,2.0",
    ]  # fmt: skip
    rewind(tmp_path, 20, due=True)
    assert (tmp_path / "metrics.csv").read_text().split()[1:] == ["0,9,0.1,", "0,19,0.1,"]
    assert (tmp_path / "samples.md").read_text() == "## step 10\n\na\n\n## step 20\n\nb\n\n"


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("optimizer_states", [{}]),
        ("lr_schedulers", [{"last_epoch": "x"}, 3]),
        ("loops", {"fit_loop": {}}),
        ("callbacks", {"Budget": 3}),
        ("TextDataModule", {"place": "here"}),
    ],
)
def test_crafted_parts_of_a_whole_file(text_file: Path, run: Path, tmp_path: Path, part: str, content: Any) -> None:
    """What neither checksums nor the record of this package tell."""
    whole = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    torch.save(whole | {part: content}, tmp_path / "crafted.ckpt")
    with pytest.raises(InputError, match=r"crafted\.ckpt"):
        begun(text_file, tmp_path / "runs", max_steps=18, resume=tmp_path / "crafted.ckpt")
