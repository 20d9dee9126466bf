"""Another commit of this package beside this one: the same topics, in turn, a process for each."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.measure import Comparison
from benchmarks.pace import PACE
from seqmodels.errors import InputError

ROOT = Path(__file__).parents[1]


@contextmanager
def checked_out(ref: str) -> Iterator[tuple[Path, str]]:
    """A temporary folder with another commit, and its name; the benchmarks in it are those of this commit.

    Raises:
        InputError: there is none.
    """
    try:
        found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except (subprocess.CalledProcessError, OSError) as error:
        raise InputError(f"{ref!r} was given; expected a commit, branch or tag of {ROOT}") from error
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / "tree"
        _git("worktree", "add", "--detach", "--quiet", str(tree), found)
        try:
            shutil.rmtree(tree / "benchmarks", ignore_errors=True)
            shutil.copytree(ROOT / "benchmarks", tree / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
            yield tree, found[:12]
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def compare_commits(topic: str, tree: Path, arguments: Sequence[str]) -> Iterator[Comparison]:
    """The comparisons of a topic, with this commit as ours and another as the rival, in turns of one round each.

    A topic that one of them cannot run ends there, with a line that says why.
    """
    with ExitStack() as stack:
        sides = [stack.enter_context(_worker(root, topic, arguments)) for root in (ROOT, tree)]
        number = 0
        while all(side.is_running for side in sides):
            for side in sides if number % 2 == 0 else reversed(sides):
                side.go()
            number += 1
            while all(side.records for side in sides):
                ours, theirs = (side.records.pop(0) for side in sides)
                rounds = [tuple(record["ours_by_round"]) for record in (ours, theirs)]
                yield Comparison(ours["what"], ours["unit"], "", *rounds)
        for side, name in zip(sides, ("this commit", "the other one"), strict=True):
            if side.error:
                print(f"{topic} ended early at {name}: {side.error}", flush=True)


class _Worker:
    """A process that runs one topic at one commit, a round at a time."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process, self._errors = process, errors
        self.records: list[dict[str, Any]] = []
        self.is_running, self.error = True, ""

    def go(self) -> None:
        """Let it go on until it waits for its next turn, or ends."""
        if not self.is_running:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(RECORD):
                self.records.append(json.loads(line.removeprefix(RECORD)))
            elif line.startswith(READY):
                return
        self.is_running = False
        if self._process.wait():
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            self.error = lines[-1] if lines else f"exit code {self._process.returncode}"


READY, RECORD = "\x1eready", "\x1erecord "
"""Beginnings of the lines that a worker writes to its parent."""


@contextmanager
def _worker(root: Path, topic: str, arguments: Sequence[str]) -> Iterator[_Worker]:
    words = [sys.executable, "-m", "benchmarks.against", topic, *arguments]
    places = {**os.environ, "PYTHONPATH": str(root)}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            words, cwd=root, env=places, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            yield _Worker(process, errors)
        finally:
            process.kill()


def work(topic: str, rounds: int, small: bool) -> None:
    """Run a topic without rivals, one round whenever a line comes in."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what topics print

    def turn() -> None:
        print(READY, file=out, flush=True)
        wait()

    def wait() -> None:
        if not sys.stdin.readline():
            raise SystemExit(1)  # the parent has ended

    wait()
    from benchmarks.topics import TOPICS  # in its turn, too

    PACE.alone, PACE.turn = True, turn
    for comparison in TOPICS[topic](rounds=rounds, small=small):
        print(RECORD + json.dumps(comparison.record()), file=out, flush=True)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), "--small" in sys.argv)
