"""Jobs of SLURM that are started again: `scontrol` and its variables are played by the test."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from trainers import hooked
from training.test_resume_runs import begun, kill

from seqmodels import InputError
from seqmodels.config import read_settings
from seqmodels.training.interruption import Stopped, early_end, job, run_of_this_job
from seqmodels.training.resume import find_origin


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job with one task, and where the calls of `scontrol` are written down."""
    for name, value in {
        "SLURM_JOB_ID": "71", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost", "SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    calls, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return calls


def test_requeued_and_found_again(
    text_file: Path, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Stopped) as stop:
        begun(text_file, tmp_path / "runs", callbacks=(kill(4, signal.SIGUSR1),))
    assert stop.value.code == 143
    assert slurm.read_text() == "requeue 71\n"
    assert "requeued job 71" in capsys.readouterr().out
    assert not list(Path.cwd().glob("hpc_ckpt*"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    other = begun(text_file, tmp_path / "runs", max_steps=14)  # another configuration is another run
    again = begun(text_file, tmp_path / "runs")  # the same command as before
    assert again != other
    assert begun(text_file, tmp_path / "runs") == again  # nothing is left of it to do, for a script with two runs
    assert len(list((tmp_path / "runs").glob("*/*"))) == 2
    monkeypatch.setenv("SLURM_JOB_ID", "72")
    assert run_of_this_job(tmp_path / "runs", {}) is None
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job() == "8_3"


def test_a_job_of_torchrun_is_found_by_its_name(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that is new in it, too; a run that has ended is not begun again."""
    runs = tmp_path / "runs"
    with pytest.raises(Stopped):
        begun(text_file, runs, callbacks=(kill(4, signal.SIGTERM),))
    (path,) = runs.glob("*/*/env.json")
    recorded = read_settings(path.parent / "config.yaml")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job": "torchrun book"}))
    assert run_of_this_job(runs, recorded) is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    for name, found in {"none": None, "other": None, "book": path.parent}.items():
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
        assert run_of_this_job(runs, recorded) == found
    result = path.parent / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"ended": "budget"}))
    assert run_of_this_job(runs, recorded) is None


def test_sigterm_is_not_requeued(text_file: Path, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM itself starts a job again that it takes the machine from."""
    with pytest.raises(Stopped):
        begun(text_file, tmp_path / "runs", callbacks=(kill(4, signal.SIGTERM),))
    assert not slurm.exists()


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_train_start", "on_validation_start"])
def test_signal_before_the_first_step(
    text_file: Path, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """Whenever it comes, the job is put back into the queue, and Lightning leaves nothing of its own."""
    run = begun(text_file, tmp_path / "runs")  # which begins with a validation when it is resumed
    callback = hooked(**{hook: lambda *_, **__: os.kill(os.getpid(), signal.SIGUSR1)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Stopped) as stop:
        begun(text_file, tmp_path / "runs", max_steps=18, resume=run, callbacks=(callback,))
    assert stop.value.code == 143
    assert slurm.read_text() == "requeue 71\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    assert find_origin(run).content["global_step"] in (12, 13)


def test_scontrol_fails(
    text_file: Path, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Stopped):
        begun(text_file, tmp_path / "runs", callbacks=(kill(4, signal.SIGUSR1),))
    assert "could not be requeued" in capsys.readouterr().err


def test_processes_that_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that another job has; the checkpoint that was to be resumed is not blamed, nor for any other failure
    before it is read.
    """

    def fails(error: Exception) -> None:
        raise error

    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    taken = torch.distributed.DistNetworkError("The server socket has failed to listen. port: 29500, code: -98")
    with pytest.raises(InputError, match=r"do not find one another at 10\.0\.0\.1:29500 \(The server socket"):
        early_end(lambda: fails(taken), Path("last"), lambda: False)
    with pytest.raises(RuntimeError, match=r"^reset by peer$"):
        early_end(lambda: fails(RuntimeError("reset by peer")), Path("last"), lambda: False)
    with pytest.raises(InputError, match="'last' cannot be resumed: its optimizer"):
        early_end(lambda: fails(RuntimeError("sizes differ")), Path("last"), lambda: True)
