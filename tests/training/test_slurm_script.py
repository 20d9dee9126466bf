"""The job script of the guide, run by two nodes with stand-ins for `sbatch`, `srun` and `scontrol`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seqmodels import load

ROOT = Path(__file__).parents[2]
SMALLER = (
    "--accelerator cpu --backbone.input-size 16 --backbone.num-layers 1 --backbone.num-heads 2 --length 16 "
    "--batch-size 4 --max-steps 300 --validations 1 --no-diagnostics --tokenizer char"
)
"""Added to the command of the guide."""


class Job:
    """A job of the script, which may be started again; `shared` is the folder that its nodes share."""

    def __init__(self, number: int, shared: Path) -> None:
        self.number, self.folder, self.starts = number, shared / str(number), 0
        programs = self.folder / "bin"
        programs.mkdir(parents=True)
        words = {
            "srun": f'exec {sys.executable} {ROOT / "tests/srun.py"} "$@"',
            "seqmodels": f'exec {sys.executable} -m seqmodels "$@"',
            "scontrol": f'echo "$@" >> {self.folder / "scontrol"}',
        }
        for name, line in words.items():
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        page = (ROOT / "docs/guide/devices.md").read_text(encoding="utf-8")
        (script,) = re.findall(r"^(#!/bin/bash\n.*?)^```", page, re.MULTILINE | re.DOTALL)
        changes = {"--ntasks-per-node=8": "--ntasks-per-node=1", "--devices 8": "--devices 1"}
        changes |= {"/shared/runs": f"{self.folder / 'runs'} {SMALLER}", "/shared": str(shared)}
        for given, wanted in changes.items():
            assert given in script
            script = script.replace(given, wanted)
        (self.folder / "script").write_text(script)
        self.options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", script, re.MULTILINE))

    def start(self) -> None:
        """What SLURM does once it has the nodes, for the first time or again."""
        of_job = {
            "JOB_ID": self.number, "JOB_NAME": self.options["job-name"], "NNODES": self.options["nodes"],
            "NTASKS_PER_NODE": self.options["ntasks-per-node"], "CPUS_PER_TASK": self.options["cpus-per-task"],
            "NODELIST": "127.0.0.[1-2]", "RESTART_COUNT": self.starts,
        }  # fmt: skip
        variables = {f"SLURM_{name}": str(value) for name, value in of_job.items()}
        variables |= {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        variables |= {"OMP_NUM_THREADS": "1", "TASKS": str(self.folder / "tasks")}
        self.starts += 1
        self.output = self.folder / f"output-{self.starts}"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "script"], cwd=self.folder, stdout=file, stderr=file, env=os.environ | variables
            )

    def send(self, number: int) -> None:
        """A signal, to all tasks of the job, as SLURM sends it."""
        for task in (self.folder / "tasks").read_text().split():
            os.kill(int(task), number)

    def wait_for(self, found: Callable[[], object]) -> None:
        """Wait until something is there, while the job runs."""
        while not found():
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.02)

    def ended(self) -> tuple[int, str]:
        """Exit code and output, once it has ended."""
        return self.process.wait(timeout=300), self.output.read_text()

    @property
    def run(self) -> Path:
        (found,) = (self.folder / "runs").glob("*/*")
        return found


@pytest.mark.slow
def test_the_script_of_the_guide(text_file: Path, tmp_path: Path) -> None:
    """Its time ends, and it is requeued; its nodes are taken away; it ends as if nothing had happened."""
    (tmp_path / "book.txt").write_bytes(text_file.read_bytes())
    number = 10_000 + os.getpid() % 9_999  # Lightning makes a port of its last four digits
    job, other = Job(number, tmp_path), Job(number + 1, tmp_path)
    announced, _, seconds = job.options["signal"].partition("@")
    assert (announced, int(seconds) >= 60, "requeue" in job.options) == ("SIGUSR1", True, True)

    job.start()
    job.wait_for(lambda: [*(job.folder / "runs").glob("*/*/checkpoints/last.safetensors")])
    job.send(signal.Signals[announced])
    code, said = job.ended()
    assert (code, said.count(f"requeued job {number}")) == (143, 1), said
    assert (job.folder / "scontrol").read_text() == f"requeue {number}\n"
    steps = json.loads((job.run / "result.json").read_text())["steps"]

    job.start()
    job.wait_for(lambda: "resumed  at step" in job.output.read_text())
    time.sleep(1)
    job.send(signal.SIGTERM)
    code, said = job.ended()
    assert code == 143, said
    assert (job.folder / "scontrol").read_text() == f"requeue {number}\n"  # SLURM itself starts it again
    assert json.loads((job.run / "result.json").read_text())["steps"] >= steps

    job.start()
    other.start()
    for one in (job, other):
        code, said = one.ended()
        assert code == 0, said
        assert json.loads((one.run / "result.json").read_text())["ended"] == "budget"
    ours, theirs = (load(one.run).state_dict() for one in (job, other))
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
