"""Run them: `python -m benchmarks.reliability [topic ...] [--folder PATH]`."""

import argparse
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.reliability.promise import Promise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the topics that are asked for, and print tables as they go; returns in how many something was not kept."""
    topics = ("order", "signals", "numbers", "saves", "secrets", "devices", "cost", "resume", "files", "stream")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description="What is promised, and kept.")
    parser.add_argument(
        "topics",
        nargs="*",
        metavar="topic",
        help=f"{', '.join(topics)}; all where none is given; docs/promises.md says what each tries",
    )
    parser.add_argument("--folder", type=Path, help="where runs are made, and kept; else they are temporary")
    parser.add_argument("--small", action="store_true", help="few cases of each: shows that it works")
    given = parser.parse_args(arguments)
    if unknown := [topic for topic in given.topics if topic not in topics]:
        parser.error(f"there is no topic {unknown[0]!r}; choose from {', '.join(topics)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).absolute()
        # Before anything is imported that reads them. Forked processes must find no threads.
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        os.environ["OMP_NUM_THREADS"] = "1"
        return _tables(folder, given.topics or topics, given.small)


def _tables(folder: Path, topics: Sequence[str], small: bool) -> int:
    import torch

    from benchmarks.reliability import cost, devices, files, numbers, order, resume, saves, secrets, signals, stream
    from seqmodels.environment import describe_environment

    torch.set_num_threads(1)
    programs: dict[str, Callable[[Path, bool], Iterator[Promise]]] = {
        "order": order.run,
        "signals": signals.run,
        "numbers": numbers.run,
        "saves": saves.run,
        "secrets": secrets.run,
        "devices": devices.run,
        "cost": cost.run,
        "resume": resume.run,
        "files": files.run,
        "stream": stream.run,
    }
    around = describe_environment(torch.device("cpu"))
    print(
        f"{around['device']}, {around['cores']} cores, torch {around['versions']['torch']}, commit {around['commit']}"
    )
    broken = 0
    for topic in topics:
        print(f"\n{topic}\n\n| Promised | Found | Wanted | Kept |\n|---|---|---|---|", flush=True)
        (folder / topic).mkdir(parents=True, exist_ok=True)
        # In a process of its own: what it uses may start threads, after which the next topic could not fork.
        if (pid := os.fork()) == 0:
            os._exit(_topic(programs[topic](folder / topic, small)))
        broken += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
    return broken


def _topic(promises: "Iterator[Promise]") -> int:
    """Print a line for each promise; 0 if all were kept."""
    began, broken = time.perf_counter(), False
    try:
        for promise in promises:
            print("\n".join([promise.row(), *(f"  {line}" for line in promise.trouble)]), flush=True)
            broken |= not promise.kept
        print(f"\n{time.perf_counter() - began:,.0f} s", flush=True)
    except BaseException:
        traceback.print_exc()
        broken = True
    return int(broken)


if __name__ == "__main__":
    raise SystemExit(min(main(), 100))
