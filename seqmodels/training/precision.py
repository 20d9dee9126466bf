"""Which precision a training computes in where nobody says: the one that is faster."""

import contextlib
import time
from pathlib import Path
from typing import Literal, get_args

import torch

from seqmodels.batch import Batch
from seqmodels.environment import multiplies_bf16
from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.tasks import SequenceTask

Mixed = Literal["32-true", "bf16-mixed"]

LEAST = 0.3
"""Seconds that are measured at least, in each precision."""


def choose_precision(
    task: SequenceTask, batch: Batch, accelerator: str, before: Path | None, ranks: int
) -> tuple[Mixed, str]:
    """bf16-mixed where the hardware multiplies matrices in it and that is faster, else 32-true.

    On a CPU it depends on the network: large recurrent layers gain half, small Transformers lose a fifth. So a few
    steps are timed in both. Several processes would not find the same, and a GPU always gains: neither is timed.

    Args:
        task: what is to be trained; it stays as it is, and so does chance.
        batch: of its data.
        accelerator: cpu or gpu.
        before: folder of the run that goes on, whose precision is kept.
        ranks: processes that share the work.

    Returns:
        The precision, and why, in words.
    """
    if not multiplies_bf16("cuda" if accelerator == "gpu" else "cpu"):
        return "32-true", "the hardware has no bfloat16"
    if before is not None and (known := _of(before)):
        return known, "as before"
    if accelerator == "gpu" or ranks > 1:
        return "bf16-mixed", "the hardware has it"
    single, half = (seconds_per_step(task, batch, mixed) for mixed in (False, True))
    why = f"bf16 is {single / half:.2f} times as fast as single precision"
    return "bf16-mixed" if half < single else "32-true", why


def seconds_per_step(task: SequenceTask, batch: Batch, mixed: bool) -> float:
    """How long a pass forwards and backwards takes on the CPU, the first one left out.

    Args:
        task: which computes; it is left without gradients.
        batch: on what.
        mixed: in bfloat16, else in single precision.
    """
    times: list[float] = []
    with torch.random.fork_rng(devices=[]):
        while len(times) < 2 or sum(times[1:]) < LEAST:
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                losses = task.losses(task.prepared(batch), None)
                objective = losses.objective / batch.targets.numel() + losses.penalty
            objective.backward()  # type: ignore[no-untyped-call]
            times.append(time.perf_counter() - began)
    for parameter in task.parameters():
        parameter.grad = None
    return sum(times[1:]) / (len(times) - 1)


def _of(folder: Path) -> Mixed | None:
    """What a run computed in, as its env.json says."""
    with contextlib.suppress(InputError):
        known = read_json(folder / "env.json").get("precision")
        return next((mixed for mixed in get_args(Mixed) if mixed == known), None)
    return None
