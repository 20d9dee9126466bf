"""Keys that a user has in the environment and on the command line: found nowhere in what a run leaves."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.forks import forked
from benchmarks.reliability.promise import Promise, none_of
from benchmarks.reliability.runs import Kind, train, write_data

SECRET = "b7e1a90c" * 5
"""As long as a key of W&B, and in the letters of one."""
PLACES = {
    "WANDB_API_KEY": {"WANDB_API_KEY": SECRET},
    "HF_TOKEN": {"HF_TOKEN": SECRET},
    "AWS_SECRET_ACCESS_KEY": {"AWS_SECRET_ACCESS_KEY": SECRET},
    "DATABASE_PASSWORD": {"DATABASE_PASSWORD": SECRET},
    "the command line": {},
}


def run(folder: Path, small: bool) -> Iterator[Promise]:
    """With tracking by W&B, offline, and without; the run is stopped and resumed, too."""
    write_data(folder)
    trouble, cases = [], 0
    for name, variables in list(PLACES.items())[: 2 if small else None]:
        for wandb in (False, True):
            cases += 1
            runs = folder / f"secrets-{cases}"

            def work(variables: dict[str, str] = variables, wandb: bool = wandb, runs: Path = runs) -> None:
                os.environ.update(variables, WANDB_MODE="offline")
                if not variables:
                    sys.argv += ["--api-key", SECRET, f"--token={SECRET}"]
                begun = train(Kind(), folder, runs, steps=4, wandb=wandb)
                train(Kind(), folder, runs, steps=8, wandb=wandb, resume=begun)

            if code := forked(work, folder / "secrets.log"):
                trouble.append(f"{name}: ended with {code}: {(folder / 'secrets.log').read_text()[-300:]}")
            trouble += [f"{name}: {path}" for path in runs.rglob("*") if path.is_file() and _has(path)]
    yield none_of("Planted keys found in a run folder", cases, len(trouble), tuple(trouble))


def _has(path: Path) -> bool:
    return SECRET.encode() in path.read_bytes()
