"""Two processes that train together, killed and resumed beside two that were left alone."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from benchmarks.reliability.numbers import Spoils
from benchmarks.reliability.promise import Promise, all_of
from benchmarks.reliability.resume import difference
from benchmarks.reliability.runs import LAYOUTS, Ends, Kind, train, write_data

ROOT = Path(__file__).parents[2]
POINTS = ("mid-epoch", "wrap", "validation")


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """SIGTERM to the first process alone, and SIGKILL to both, on all layouts."""
    write_data(folder)
    results = {}
    for layout in LAYOUTS[1:2] if small else LAYOUTS:
        whole = folder / f"{layout}-whole"
        _pair(folder, whole, layout)
        for point in POINTS[:1] if small else POINTS:
            for number in (signal.SIGTERM, signal.SIGKILL):
                part = folder / f"{layout}-{point}-{number.name}"
                code, _ = _pair(folder, part, layout, "--end", point, "--signal", str(int(number)))
                wanted = -signal.SIGKILL if number == signal.SIGKILL else 128 + signal.SIGTERM
                (begun,) = part.glob("*/*")
                again, told = _pair(folder, part, layout, "--resume", str(begun))
                why = f"ended with {code}, resuming with {again}: {told[-300:]}" if (code, again) != (wanted, 0) else ""
                results[f"{layout} {number.name} at {point}"] = why or difference(next(whole.glob("*/*")), begun)
    yield all_of("Two processes killed and resumed: equal to the bit, the state carried by each included", results)
    yield all_of("A loss of one of two processes that is not finite: both skip the step", {"lanes": _spoilt(folder)})


def _pair(folder: Path, runs: Path, layout: str, *words: str) -> tuple[int, str]:
    """Two processes, by Lightning's own launcher; gives the code of the first, and what it said."""
    given = [sys.executable, "-m", "benchmarks.reliability.devices", str(folder), str(runs), layout, *words]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, start_new_session=True, timeout=300)
    return done.returncode, done.stderr


def _spoilt(folder: Path) -> str:
    """The second process alone has a loss that is NaN, in three steps; empty if all is as it should be."""
    runs = folder / "spoilt"
    code, told = _pair(folder, runs, "lanes", "--spoil")
    (begun,) = runs.glob("*/*")
    path = begun / "bad_steps.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    seen = [(line["step"], line["rank"], line["loss"] == "nan") for line in lines]
    wanted = [(step, rank, rank == 1) for step in (15, 16, 17) for rank in (0, 1)]
    return "" if (code, seen) == (0, wanted) else f"ended with {code}, wrote {seen}: {told[-300:]}"


class _SpoilsSecond(Spoils):
    """Of two processes, only the second has such a loss."""

    def _now(self, trainer: pl.Trainer) -> bool:
        return trainer.global_rank == 1 and super()._now(trainer)


class _EndsFirst(Ends):
    """Of two processes, the first is sent SIGTERM, or both SIGKILL."""

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        if self.number == signal.SIGKILL:
            os.killpg(0, signal.SIGKILL)
        if trainer.is_global_zero:
            super()._send(trainer)


def worker(arguments: Sequence[str] | None = None) -> None:
    """One of the two."""
    parser = argparse.ArgumentParser()
    for name in ("folder", "runs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("layout")
    for name in ("--end", "--resume"):
        parser.add_argument(name)
    parser.add_argument("--signal", type=int)
    parser.add_argument("--spoil", action="store_true")
    given = parser.parse_args(arguments)
    settings: dict[str, Any] = {} if given.resume is None else {"resume": given.resume}
    callbacks: list[pl.Callback] = [_SpoilsSecond("loss", 14, 3)] if given.spoil else []
    if given.end is not None:
        callbacks.append(_EndsFirst(given.end, given.signal))
    kind = Kind("LSTM", given.layout)
    train(kind, given.folder, given.runs, callbacks=tuple(callbacks), devices=2, accelerator="cpu", **settings)


if __name__ == "__main__":
    worker()
