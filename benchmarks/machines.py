"""What a second machine gains: two network namespaces of this one, with a wire of a given rate between them.

    python -m benchmarks.machines --mbit 100 --accumulate 1 4 16

It needs Linux, iproute2 and root; the network of the machine itself is not touched. Each of the two has a core, so that
the gain is that of two machines where there are two cores.
"""

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.measure import Comparison, compare, made_up_text
from seqmodels.analysis.learning_curves import read_metrics

ROOT = Path(__file__).parents[1]
ADDRESSES = "10.77.0.1", "10.77.0.2"


@contextlib.contextmanager
def wired(mbit: float | None = None) -> Iterator[tuple[str, str]]:
    """Names of two namespaces with one end of a wire each, which carries so many megabits a second each way.

    Raises:
        OSError, subprocess.CalledProcessError: there can be none here.
    """
    names = f"left-{os.getpid()}", f"right-{os.getpid()}"

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    try:
        for name in names:
            run("ip", "netns", "add", name)
        run("ip", "-n", names[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", name, "link", "set", "wire", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            if mbit is not None:
                rate = ["rate", f"{mbit:g}mbit", "burst", "64k", "latency", "200ms"]
                run("tc", "-n", name, "qdisc", "add", "dev", "wire", "root", "tbf", *rate)
        yield names
    finally:
        for name in names:
            switch_off(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def switch_off(machine: str) -> None:
    """End all its processes at once; those of `torchrun` are in sessions of their own."""
    pids = subprocess.run(["ip", "netns", "pids", machine], capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def start(machine: str, number: int, words: Sequence[str], more: Sequence[str]) -> subprocess.Popen[str]:
    """`torchrun` on a machine, one process with one thread; `more` are its own arguments, `words` the program and its
    arguments.
    """
    places = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "wire"}
    # Shared stores are told of to a machine that joins at the beginning only (torch 2.13).
    places |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    return subprocess.Popen(
        ["ip", "netns", "exec", machine, *torchrun, "--local-addr", ADDRESSES[number], *more, *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | places, start_new_session=True,
    )  # fmt: skip


def start_both(machines: tuple[str, str], words: Sequence[str]) -> list[subprocess.Popen[str]]:
    """`torchrun` on both, which meet at the address of the first."""
    meeting = ["--master-addr", ADDRESSES[0], "--master-port", "29500"]
    return [
        start(machine, number, words, ["--node-rank", str(number), *meeting]) for number, machine in enumerate(machines)
    ]


def gains(
    machines: tuple[str, str], text: Path, accumulate: Sequence[int], steps: int, rounds: int
) -> Iterator[Comparison]:
    """Tokens per second of two machines by those of one, for numbers of batches that make a step."""
    for batches in accumulate:
        one, two = (partial(rate, machines[:count], text, batches, steps) for count in (1, 2))
        what = f"Train LSTM 2x256, {batches} batches a step, two machines by one"
        yield compare(what, two, one, unit="tokens/s", rounds=rounds, warm_up=False)


def rate(machines: tuple[str, ...], text: Path, batches: int, steps: int) -> float:
    """Tokens per second of one machine or two, 16x64 tokens a batch, from the log of a run."""
    with tempfile.TemporaryDirectory() as runs:
        words = [
            "-m", "seqmodels", "fit", "--data", str(text), "--tokenizer", "char", "--carry", "--batch-size", "16",
            "--length", "64", "--backbone", "LSTM", "--backbone.input-size", "128", "--backbone.hidden-size", "256",
            "--backbone.num-layers", "2", "--max-steps", str(steps), "--validations", "1", "--accelerator", "cpu",
            "--no-diagnostics", "--accumulate", str(batches), "--nodes", str(len(machines)), "--devices", "1",
            "--runs", runs,
        ]  # fmt: skip
        if len(machines) == 2:
            running = start_both((machines[0], machines[1]), words)
            said = [one.communicate()[0] for one in running]
            if any(one.returncode for one in running):
                raise RuntimeError(said[0][-2000:])
        else:
            command = ["ip", "netns", "exec", *machines, sys.executable, *words]
            subprocess.run(
                command, check=True, capture_output=True,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        (log,) = Path(runs).rglob("metrics.csv")
        rates = [row["train/tokens_per_second"] for row in read_metrics(log) if "train/tokens_per_second" in row]
    return statistics.median(rates)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each number of batches."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machines", description="What a second machine gains.")
    parser.add_argument("--mbit", type=float, help="megabits a second of the wire (default: as fast as it goes)")
    parser.add_argument(
        "--accumulate", type=int, nargs="+", default=[1, 4, 16], help="batches a step (default: 1 4 16)"
    )
    parser.add_argument("--steps", type=int, default=60, help="of each run (default: 60), at least 40")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (default: 3)")
    given = parser.parse_args(arguments)
    if given.steps < 40:
        parser.error(f"--steps {given.steps} was given; expected at least 40, since every 20th is timed")
    try:
        with wired(given.mbit) as machines, made_up_text(2_000_000) as text:
            for comparison in gains(machines, text, given.accumulate, given.steps, given.rounds):
                print(comparison.line(), flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        parser.error(f"there are no network namespaces here ({error}); they need Linux, iproute2 and root")


if __name__ == "__main__":
    main()
