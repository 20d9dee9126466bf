"""Two machines with a wire between them: network namespaces of this one, whose own network is not touched."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import shared_work
import torch
from pairs import write_pairs
from shared_work import CASES, figures

from benchmarks.machines import ADDRESSES, start, start_both, switch_off, wired
from seqmodels import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("ip") is None or not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="network namespaces need Linux, iproute2 and root",
    ),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def machines() -> Iterator[tuple[str, str]]:
    """Names of two namespaces with one end of a wire each."""
    try:
        with wired() as names:
            yield names
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespaces here: {error}")


def test_two_machines_are_one(machines: tuple[str, str], text_file: Path, tmp_path: Path) -> None:
    """Windows, lanes with carried state, and pairs: figures of one process with the whole batch."""
    write_pairs(tmp_path)
    (tmp_path / "text.txt").write_bytes(text_file.read_bytes())
    names = ["windows", "lanes", "pairs"]
    alone = {name: shared_work.run(name, tmp_path, 1) for name in names}
    words = [str(ROOT / "tests/machines.py"), str(tmp_path), *names]
    running = start_both(machines, words)
    said = [one.communicate(timeout=300)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    first, second = (json.loads((tmp_path / f"runs-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for name in names:
        wanted, found = figures(alone[name]), figures(Path(first[name]))
        differing = {key: abs(wanted[key] - found[key]) / max(1e-9, abs(wanted[key])) for key in same(wanted, found)}
        assert max(differing.values()) <= CASES[name].tolerance, differing


def same(wanted: dict[str, float], found: dict[str, float]) -> set[str]:
    """Figures that do not tell how fast a machine is."""
    return {key for key in wanted.keys() & found.keys() if "second" not in key and "minutes" not in key}


def test_a_machine_dies_and_another_takes_its_place(machines: tuple[str, str], text_file: Path, tmp_path: Path) -> None:
    """The other one waits, and the run goes on in its folder: the result of a run that nothing happened to."""
    settings = [
        "fit", "--data", str(text_file), "--max-steps", "300", "--validations", "10", "--backbone", "LSTM",
        "--backbone.input-size", "16", "--backbone.hidden-size", "24", "--precision", "64-true", "--accelerator", "cpu",
        "--length", "32", "--carry",
    ]  # fmt: skip
    words = ["-m", "seqmodels", *settings, "--batch-size", "4", "--nodes", "2", "--devices", "1"]
    words += ["--runs", str(tmp_path / "two")]
    more = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400", "--rdzv-id", "seven"]
    more += ["--max-restarts", "3"]
    hosts = [["--rdzv-conf", f"is_host={answer},timeout=240"] for answer in ("true", "false")]
    running = [start(name, number, words, more + hosts[number]) for number, name in enumerate(machines)]
    checkpoints = wait(lambda: [*(tmp_path / "two").glob("*/*/checkpoints/previous.safetensors")], running)
    switch_off(machines[1])
    running[1].communicate()
    assert not (checkpoints[0].parent.parent / "result.json").exists(), "it had ended before: give it more steps"
    running[1] = start(machines[1], 1, words, more + hosts[1])
    said = [one.communicate(timeout=300)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0], said
    (run,) = (tmp_path / "two").glob("*/*")
    assert "resumed  at step" in said[0] + said[1]
    subprocess.run(
        [sys.executable, "-m", "seqmodels", *settings, "--batch-size", "8", "--runs", str(tmp_path / "one")],
        check=True, capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    (whole,) = (tmp_path / "one").glob("*/*")
    for name, tensor in load(whole).state_dict().items():
        torch.testing.assert_close(load(run).state_dict()[name], tensor, rtol=1e-6, atol=1e-9)
    lines = [(path / "metrics.csv").read_text().splitlines() for path in (run, whole)]
    assert [line.partition(",")[0] for line in lines[0]] == [line.partition(",")[0] for line in lines[1]]


def wait(found, running: list[subprocess.Popen[str]], seconds: float = 120):  # type: ignore[no-untyped-def]
    """What `found` gives as soon as it is something, while all processes run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        ended = [one for one in running if one.poll() is not None]
        if ended:
            break
        time.sleep(0.02)
    for one in running:
        one.kill()
    raise AssertionError([one.communicate()[0] for one in running])
