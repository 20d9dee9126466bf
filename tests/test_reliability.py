"""What is promised when things go wrong, few cases of each; all of them are run by the benchmark."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.reliability.promise import all_of, none_of

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "topics",
    [
        "order numbers",
        *(pytest.param(topics, marks=pytest.mark.slow) for topics in ("saves signals", "secrets resume")),
    ],
)
def test_promises_are_kept(tmp_path: Path, topics: str) -> None:
    """In a process of its own, which forks and kills others."""
    command = [sys.executable, "-m", "benchmarks.reliability", *topics.split(), "--small", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and "Promised" not in line]
    assert len(rows) >= 2
    assert all(row.endswith("| yes |") for row in rows), done.stdout


def test_what_counts_as_kept() -> None:
    assert all_of("this", {"one": "", "other": ""}).row() == "| this | 2 of 2 | all | yes |"
    broken = all_of("this", {"one": "", "other": "why"})
    assert (broken.kept, broken.trouble) == (False, ("other: why",))
    assert not all_of("nothing was tried", {}).kept
    assert not none_of("nothing was tried", 0, 0).kept
    assert none_of("that", 3, 1).row() == "| that | 1 of 3 | 0 | **no** |"
