"""Jobs of SLURM: found again after they were started again, and put back into the queue."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from seqmodels.configuration import read_settings
from seqmodels.errors import InputError
from seqmodels.plain import read_json
from seqmodels.resuming import NEWEST_FIRST
from seqmodels.signals import Stopped


def job() -> str | None:
    """The job of SLURM that this process belongs to; None outside of SLURM."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def run_of_this_job(runs: Path, recorded: dict[str, Any]) -> Path | None:
    """The run of the same configuration that this job began before SLURM started it again; None where there is none."""
    if not int(os.environ.get("SLURM_RESTART_COUNT") or 0):
        return None
    for path in sorted(runs.glob("*/*/env.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            begun, settings = read_json(path).get("job"), read_settings(path.parent / "config.yaml")
        except InputError:  # of another program, or not there
            continue
        checkpoints = [path.parent / "checkpoints" / name for name in NEWEST_FIRST]
        if begun == job() and settings == recorded and any(map(Path.is_file, checkpoints)):
            return path.parent
    return None


def requeue(trainer: pl.Trainer, ending: Stopped) -> None:
    """Have SLURM start this job again, where SIGUSR1 said that its time is nearly up.

    Lightning's environment says whether there is SLURM. Its own handler, in whose place ours is, would save in the
    midst of a step. The job's own command finds the run again by `run_of_this_job`.
    """
    slurm = isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment)
    if not (slurm and ending.signal == signal.SIGUSR1 and trainer.is_global_zero):
        return
    try:
        done = subprocess.run(["scontrol", "requeue", str(job())], capture_output=True, text=True, timeout=60)
        why = done.stderr.strip() if done.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        why = str(error)
    if why:
        print(f"warning: job {job()} could not be requeued ({why}); resume it with --resume", file=sys.stderr)
    else:
        print(f"requeued job {job()}")
