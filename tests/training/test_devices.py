"""Two processes with half the batch each do what one process does with all of it: with whole weights, or parts of them.

They are started by torchrun, once for all cases.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shared_work
import torch
from pairs import write_pairs
from shared_work import CASES, USUAL, figures
from torch.testing import assert_close

from seqmodels import InputError, fit, load
from seqmodels.checkpoints.saved import read_checkpoint

ROOT = Path(__file__).parents[2]
TRIED = [pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow) for name in CASES]
Runs = tuple[dict[str, Path], dict[str, Path]]


@pytest.fixture(scope="module")
def folder(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_pairs(tmp_path_factory.mktemp("devices"))
    (found / "text.txt").write_bytes(text_file.read_bytes())
    return found


@pytest.fixture(scope="module")
def runs(folder: Path, request: pytest.FixtureRequest) -> Runs:
    """Run folders of every case that is tried: of one process, and of two."""
    names = list(CASES) if request.config.getoption("--slow") else USUAL
    alone = {name: shared_work.run(name, folder, 1) for name in names}
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(ROOT / "tests/shared_work.py")]
    places = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words, str(folder), *names],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | places,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second = ((folder / f"runs-{rank}.json").read_text() for rank in (0, 1))
    assert first == second  # the process that writes nothing knows the folder, too
    together = {name: Path(run) for name, run in json.loads(first).items()}
    return alone, together


@pytest.mark.parametrize("name", TRIED)
def test_two_processes_are_one(runs: Runs, folder: Path, name: str) -> None:
    alone, together = (one[name] for one in runs)
    assert list((folder / "2" / name).glob("*/*")) == [together]
    found, wanted = figures(together), figures(alone)
    assert found.keys() == wanted.keys()
    for key in wanted:  # what is logged in training is rounded to single precision
        tolerance = max(CASES[name].tolerance, 2**-23 if key.startswith("train/") else 0.0)
        assert_close(found[key], wanted[key], rtol=tolerance, atol=tolerance / 10)
    if name == "pairs":
        assert {"val/bleu", "val/chrf", "val/exact_match", "val/token_accuracy"} <= set(figures(together))
    ours, theirs = (content(run)["state_dict"] for run in (together, alone))
    assert ours.keys() == theirs.keys()
    ours, theirs = (torch.cat([tensor.double().flatten() for tensor in one.values()]) for one in (ours, theirs))
    assert (ours - theirs).norm() < CASES[name].tolerance * theirs.norm()


def content(run: Path) -> dict[str, Any]:
    return read_checkpoint(run / "checkpoints" / "last.safetensors")


def test_gradients_are_sent_once_a_step(runs: Runs, folder: Path) -> None:
    """Not for each of the batches that are accumulated."""
    for name, batches in (("windows", 2), ("lanes", 1)):
        assert CASES[name].settings.get("accumulate", 1) == batches
        assert int((folder / "sent" / f"{name} of 2").read_text()) == shared_work.STEPS


@pytest.mark.parametrize("name", [case for case in TRIED if str(case.values[0]).startswith("fsdp")])
def test_a_checkpoint_of_parts_is_one_file_like_any_other(runs: Runs, name: str) -> None:
    alone, together = (one[name] for one in runs)
    load(together)
    (ours,), (theirs,) = (content(run)["optimizer_states"] for run in (together, alone))
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    for number, kept in theirs["state"].items():
        assert {key: value.shape for key, value in ours["state"][number].items()} == {
            key: value.shape for key, value in kept.items()
        }


def test_each_process_holds_its_part(runs: Runs, folder: Path) -> None:
    """Of weights and moments; a matrix or vector of an odd length is cut a little unevenly."""
    for name, least, most in (("fsdp-lstm", 0.49, 0.51), ("windows", 1.0, 1.0)):
        weights, moments = json.loads((folder / "held" / name / "0 of 1.json").read_text())
        assert moments == 2 * weights
        parts = [json.loads((folder / "held" / name / f"{rank} of 2.json").read_text()) for rank in (0, 1)]
        for part in parts:
            assert least * weights <= part[0] <= most * weights
            assert part[1] == 2 * part[0]


def test_resumed_by_another_number_of_processes(runs: Runs, folder: Path) -> None:
    """Two with parts of the weights go on from what one has saved, and one from what two have."""
    alone, together = runs
    resumed = shared_work.run("fsdp-lstm", folder, 1, resume=folder / "2" / "fsdp-lstm.safetensors")
    whole = content(alone["fsdp-lstm"])["state_dict"]
    for run in (resumed, together["resumed"]):
        assert_close(content(run)["state_dict"], whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "zero"}, "strategy='zero' was given; choose one of auto, ddp, fsdp"),
        ({"average": "swa"}, "average='swa' was given; choose one of none, ema, stalled"),
        ({"precision": "8"}, "precision='8' was given; choose one of auto"),
        ({"strategy": "fsdp"}, "devices=1; give at least 2"),
        ({"strategy": "fsdp", "devices": 2, "average": "ema"}, "average='ema'; give none"),
        ({"strategy": "fsdp", "devices": 2, "precision": "16-mixed"}, "precision='16-mixed'; give 32-true or"),
        ({"nodes": 0}, "nodes=0 was given"),
    ],
)
def test_refused(folder: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(*CASES["windows"].build(folder, 1), max_steps=1, accelerator="cpu", runs=str(tmp_path), **settings)
    assert not list(tmp_path.iterdir())


def test_muon_needs_whole_matrices(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="optimizer='muon'; give adamw"):
        fit(*CASES["muon"].build(folder, 1), max_steps=1, devices=2, strategy="fsdp", accelerator="cpu")


def test_as_many_processes_as_were_started(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each would train alone, and all would write."""
    for name in ("RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(InputError, match="2 processes were started, and devices=1 on nodes=1 need 1"):
        fit(*CASES["windows"].build(folder, 1), max_steps=1, accelerator="cpu", runs=str(tmp_path))


def test_one_process_has_nothing_to_gather(folder: Path) -> None:
    from seqmodels.tasks.fsdp import whole_tensor, whole_weights

    task, _ = CASES["windows"].build(folder, 1)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    with whole_weights(task):
        assert_close(task.state_dict(), before)
    assert whole_tensor(torch.ones(2)).tolist() == [1, 1]


ENDING = """
import gc, sys
import torch
from torch import distributed, nn
from seqmodels.training.strategy import leave_group

sys.setswitchinterval(1000)  # threads of the group hardly get the interpreter
gc.disable()
for _ in range(25):
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    circle = [nn.parallel.DistributedDataParallel(nn.Linear(1, 1))]  # has a reference to the group
    circle.append(circle)
    del circle
    for _ in range(300):
        distributed.all_reduce(torch.ones(1000), async_op=True)
    leave_group()
"""


@pytest.mark.slow
def test_threads_of_a_group_end_before_the_process() -> None:
    """Without `leave_group`, about every second such process aborts; without its own reference, none ends."""
    subprocess.run([sys.executable, "-c", ENDING], check=True, timeout=100)


FIFTY = """
import os, socket, sys
from pathlib import Path
import shared_work

folder = Path(sys.argv[1])
for number in range(50):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in "01":
        if not (process := os.fork()):
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0", "WORLD_SIZE": "2"}
            os.environ |= {"LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1"}
            os.environ["MASTER_PORT"] = str(port)
            shared_work.run(("windows", "fsdp-lstm")[number % 2], folder / str(number), 2)
            sys.exit()
        ranks.append(process)
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ranks]
    assert codes == [0, 0], (number, codes)
"""


@pytest.mark.slow
def test_fifty_ends(folder: Path, tmp_path: Path) -> None:
    """Two processes end without an abort, forked from one that has imported everything; put load beside it."""
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "text.txt").write_bytes((folder / "text.txt").read_bytes())
    places = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", FIFTY, str(tmp_path)]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | places)
    assert (done.returncode, done.stderr) == (0, "")
