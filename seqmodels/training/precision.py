"""The faster precision of a training, if the user chose none."""

import contextlib
import time
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from seqmodels.batch import Batch
from seqmodels.environment import multiplies_bf16
from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.tasks import SequenceTask

Mixed = Literal["32-true", "bf16-mixed"]

MIN_SECONDS = 0.3
"""Seconds of measurement in each precision, at least."""


def choose_precision(
    task: SequenceTask, batch: Batch, accelerator: str, before: Path | None, ranks: int
) -> tuple[Mixed, str]:
    """bf16-mixed if the hardware multiplies matrices in bfloat16 and it is faster, else 32-true.

    On a CPU it depends on the network: large recurrent layers gain half, small Transformers lose a fifth. So a few
    steps are timed in both. Neither is timed on a GPU, which always gains, nor with several processes, which could
    disagree.

    Args:
        task: not changed, and neither is the random state.
        batch: of its data.
        accelerator: cpu, gpu or mps.
        before: folder of the resumed run, whose precision is kept.
        ranks: the number of processes.

    Returns:
        The precision, and the reason in words.
    """
    if accelerator == "mps":
        return "32-true", "bf16 was not tried on Apple GPUs"
    if not multiplies_bf16("cuda" if accelerator == "gpu" else "cpu"):
        return "32-true", "the hardware has no bfloat16"
    if before is not None:
        with contextlib.suppress(InputError):  # env.json is missing or damaged
            known: Any = read_json(before / "env.json").get("precision")
            if known in get_args(Mixed):
                return known, "as before the run was resumed"
    if accelerator == "gpu" or ranks > 1:
        return "bf16-mixed", "the hardware has it"
    single, half = seconds_per_step(task, batch)
    why = f"bf16 is {single / half:.2f} times as fast as single precision"
    return "bf16-mixed" if half < single else "32-true", why


def seconds_per_step(task: SequenceTask, batch: Batch) -> tuple[float, float]:
    """Shortest time of a forward and a backward pass on the CPU, in single precision and in bfloat16.

    The first of each does not count. They take turns, so that a moment in which the machine is slow is no disadvantage
    of either; gradients are set to None.
    """
    times: dict[bool, list[float]] = {False: [], True: []}
    with torch.random.fork_rng(devices=[]):
        while any(len(taken) < 3 or sum(taken[1:]) < MIN_SECONDS for taken in times.values()):
            for mixed, taken in times.items():
                taken.append(_seconds(task, batch, mixed))
    for parameter in task.parameters():
        parameter.grad = None
    return min(times[False][1:]), min(times[True][1:])


def _seconds(task: SequenceTask, batch: Batch, mixed: bool) -> float:
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        losses = task.losses(task.prepared(batch), None)
        objective = losses.objective / batch.targets.numel() + losses.penalty
    objective.backward()  # type: ignore[no-untyped-call]
    return time.perf_counter() - began
