"""Two processes with half the batch each = one process with all of it, through the program as users start it.

Other data and networks are tried in `test_devices.py`, in processes that torchrun starts.
"""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from torch.testing import assert_close

from seqmodels.cli.main import main


def command(folder: Path, text: Path, *words: str) -> list[str]:
    return [
        "fit", "--data", str(text), "--runs", str(folder), "--max-steps", "40", "--length", "16", "--val-fraction",
        "0.4",
        "--backbone", "LSTM", "--backbone.hidden-size", "16", "--carry", "--validations", "2", "--accelerator", "cpu",
        *words,
    ]  # fmt: skip


def losses(folder: Path) -> list[list[float]]:
    """Rows of the log of a run: loss, norm of the gradient, validation."""
    (metrics,) = folder.glob("*/*/metrics.csv")  # one run, whatever the number of processes
    with metrics.open(newline="") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    columns = ("step", "train/nats_per_token", "train/gradient_norm", "train/tokens", "val/nats_per_token")
    return [[float(row[name] or "nan") for name in columns] for row in rows]


@pytest.mark.slow
def test_two_processes_are_one(text_file: Path, tmp_path: Path) -> None:
    main(command(tmp_path / "one", text_file, "--batch-size", "4"))
    words = command(tmp_path / "two", text_file, "--batch-size", "2", "--devices", "2")
    done = subprocess.run([sys.executable, "-m", "seqmodels", *words], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    together, shared = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(together) == 4
    assert_close(shared, together, rtol=1e-4, atol=1e-5, equal_nan=True)
