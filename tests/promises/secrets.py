"""Keys that a user has in the environment and on the command line: found nowhere in a run folder."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from promises.forks import forked, tail
from promises.runs import Kind, train, write_data

SECRET = "b7e1a90c" * 5
"""As long as a key of W&B, and in the letters of one."""
PLACES = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DATABASE_PASSWORD", "the command line")


def planted(folder: Path, place: str, tracked: bool) -> str:
    """Files of a run in which a key is found; it is stopped and resumed, and tracked by W&B and TensorBoard, or not."""
    write_data(folder)
    logger = ["wandb"] + ["tensorboard"] * bool(find_spec("tensorboard")) if tracked else None
    runs, log = folder / "runs", folder / "log"

    def work() -> None:
        if place == "the command line":
            sys.argv += ["--api-key", SECRET, f"--token={SECRET}"]
        else:
            os.environ[place] = SECRET
        os.environ["WANDB_MODE"] = "offline"
        begun = train(Kind(), folder, runs, steps=4, logger=logger)
        train(Kind(), folder, runs, steps=8, logger=logger, resume=begun)

    if code := forked(work, log):
        return f"ended with {code}: {tail(log)}"
    files = [path for path in runs.rglob("*") if path.is_file()]
    assert files
    return ", ".join(str(path) for path in files if SECRET.encode() in path.read_bytes())
