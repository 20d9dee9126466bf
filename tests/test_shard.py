"""Two processes with half the batch each = one process with all of it, through the program as users start it."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from torch.testing import assert_close


def losses(folder: Path, text: Path, *words: str) -> list[list[float]]:
    """Rows of the log of a run: loss, norm of the gradient, validation."""
    command = [sys.executable, "-m", "seqmodels.cli", "fit", "--data", str(text), "--max-steps", "40", "--length", "16"]
    command += [
        "--backbone",
        "LSTM",
        "--backbone.hidden-size",
        "16",
        "--validations",
        "2",
        "--accelerator",
        "cpu",
        "--val-share",
        "0.4",
    ]
    done = subprocess.run([*command, "--runs", str(folder), *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (metrics,) = folder.glob("*/*/metrics.csv")  # one run, whatever the number of processes
    with metrics.open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    columns = ("step", "train/nats_per_token", "train/gradient_norm", "train/tokens", "val/nats_per_token")
    return [[float(row[name] or "nan") for name in columns] for row in rows]


@pytest.mark.parametrize("carry", [(), ("--carry",)], ids=["windows", "lanes"])
def test_two_processes_are_one(text_file: Path, tmp_path: Path, carry: tuple[str, ...]) -> None:
    together = losses(tmp_path / "one", text_file, *carry, "--batch-size", "4")
    shared = losses(tmp_path / "two", text_file, *carry, "--batch-size", "2", "--devices", "2")
    assert len(together) == 4
    assert_close(shared, together, rtol=1e-4, atol=1e-5, equal_nan=True)
