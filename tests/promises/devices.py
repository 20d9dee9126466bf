"""Two processes that train together, killed and resumed beside two that were left alone."""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from promises.numbers import Spoils
from promises.runs import EXIT_CODES, Ends, Kind, difference, only, train, write_data

POINTS = ("mid-epoch", "wrap", "validation")


def killed(folder: Path, layout: str) -> dict[str, str]:
    """SIGTERM to the first process alone, and SIGKILL to both, at each point; resumed by two processes."""
    write_data(folder)
    whole, results = folder / "whole", {}
    code, told = _pair(folder, whole, layout)
    assert code == 0, told
    for point in POINTS:
        for number, wanted in EXIT_CODES.items():
            part = folder / f"{point}-{number.name}"
            code, _ = _pair(folder, part, layout, "--end", point, "--signal", str(int(number)))
            again, told = _pair(folder, part, layout, "--resume", str(only(part)))
            why = f"ended with {code}, resuming with {again}: {told[-300:]}" if (code, again) != (wanted, 0) else ""
            results[f"{layout} {number.name} at {point}"] = why or difference(only(whole), only(part))
    return results


def _pair(folder: Path, runs: Path, layout: str, *words: str) -> tuple[int, str]:
    """Run two processes, started by Lightning; returns the exit code of the first, and its errors."""
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    given = [sys.executable, "-m", "promises.devices", str(folder), str(runs), layout, *words]
    done = subprocess.run(
        given, cwd=tests, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, start_new_session=True,
        timeout=300,
    )  # fmt: skip
    return done.returncode, done.stderr


def spoilt(folder: Path) -> str:
    """The second process alone has a loss that is NaN, in three steps; empty if both skip them."""
    write_data(folder)
    runs = folder / "runs"
    code, told = _pair(folder, runs, "lanes", "--spoil")
    path = only(runs) / "nonfinite_steps.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    seen = [(line["step"], line["rank"], line["loss"] == "nan") for line in lines]
    wanted = [(step, rank, rank == 1) for step in (15, 16, 17) for rank in (0, 1)]
    return "" if (code, seen) == (0, wanted) else f"ended with {code}, wrote {seen}: {told[-300:]}"


class SpoilsSecond(Spoils):
    """Of two processes, only the second has such a loss."""

    def _now(self, trainer: pl.Trainer) -> bool:
        return trainer.global_rank == 1 and super()._now(trainer)


class EndsFirst(Ends):
    """Of two processes, the first is sent SIGTERM, or both SIGKILL."""

    def _send(self, trainer: pl.Trainer) -> None:
        self.sent_at = trainer.global_step
        if self.number == signal.SIGKILL:
            os.killpg(0, signal.SIGKILL)
        if trainer.is_global_zero:
            super()._send(trainer)


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser()
    for name in ("folder", "runs"):
        parser.add_argument(name, type=Path)
    parser.add_argument("layout")
    for name in ("--end", "--resume"):
        parser.add_argument(name)
    parser.add_argument("--signal", type=int)
    parser.add_argument("--spoil", action="store_true")
    given = parser.parse_args()
    settings: dict[str, Any] = {} if given.resume is None else {"resume": given.resume}
    callbacks: list[pl.Callback] = [SpoilsSecond("loss", 14, 3)] if given.spoil else []
    if given.end is not None:
        callbacks.append(EndsFirst(given.end, given.signal))
    kind = Kind("LSTM", given.layout)
    train(kind, given.folder, given.runs, callbacks=tuple(callbacks), devices=2, accelerator="cpu", **settings)


if __name__ == "__main__":
    main()
