"""Strategies for several devices (DDP, FSDP), and the parts of a step that are computed twice."""

import gc
import sys
from collections.abc import Mapping
from typing import Any, Literal

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import Strategy
from torch import distributed

from seqmodels.errors import InputError
from seqmodels.nn.transformer import ResidualStack
from seqmodels.tasks import LanguageModel, SequenceTask
from seqmodels.tasks.fsdp import PIECES, FSDPStrategy, check_fsdp

StrategyName = Literal["auto", "ddp", "fsdp"]


def leave_group() -> None:
    """Leave the process group, if there is one, and end its threads.

    Lightning does so for GPUs alone. On CPUs, a thread of the group that drops the last tensor of an exchange needs the
    interpreter for it: if that has ended, the thread aborts the process, and if the interpreter waits for the thread
    meanwhile, both wait for ever. The last reference to a group is dropped here, where torch releases the interpreter.
    """
    if distributed.is_available() and distributed.is_initialized():
        group = distributed.distributed_c10d._get_default_group()
        distributed.destroy_process_group()
        gc.collect()  # other references may be part of a circle
        del group


def make_strategy(task: SequenceTask, settings: Mapping[str, Any], devices: int) -> Strategy | str:
    """The strategy for Lightning's trainer on so many devices of each node; `settings` are the arguments of `fit`.

    Raises:
        InputError: it does not support the other settings, torchrun or SLURM started another number of processes, or
            this is a notebook, whose code other processes cannot run.
    """
    nodes, precision = settings["nodes"], settings["precision"]
    found = [environment() for environment in (TorchElasticEnvironment, SLURMEnvironment) if environment.detect()]
    if devices * nodes > 1 and not found and hasattr(sys, "ps1"):
        raise InputError(
            f"devices={devices} was given in a notebook or an interactive session, which has one process; write the "
            "training into a script, or use seqmodels fit"
        )
    for environment in found:
        if (started := environment.world_size()) != devices * nodes:
            raise InputError(
                f"{started} processes were started, and devices={devices} on nodes={nodes} need {devices * nodes}; "
                "give --devices, those of each machine, and --nodes, or start as many"
            )
    if settings["strategy"] != "fsdp":
        return str(settings["strategy"])
    others = {
        f"average={settings['average']!r}; give none": settings["average"] != "none",
        "compile; leave it out": settings["compile"],
        PIECES: settings["recompute"] not in (None, "blocks"),
    }
    check_fsdp(task, "32-true" if precision == "auto" else precision, devices * nodes, others)
    return FSDPStrategy()


def set_recompute(task: SequenceTask, given: int | str | None, length: int | None = None) -> str:
    """Have a task keep fewer activations and compute them twice; a line that tells what is done, empty for nothing.

    Args:
        task: a LanguageModel for a number; one with Transformers or other residual stacks for blocks.
        given: the positions of a piece; blocks; None for neither.
        length: positions of the windows to come, if they are known.

    Raises:
        InputError: it does not fit the task.
    """
    stacks = [part for part in task.modules() if isinstance(part, ResidualStack)]
    for stack in stacks:
        stack.recomputed = given == "blocks"
    task.recompute = None
    if given is None:
        return ""
    said = f"recompute={given!r} was given"
    if not task.learns:
        raise InputError(f"{said}, and {task.name} counts: there is no backward pass; leave it out")
    if given == "blocks":
        if not stacks:
            raise InputError(f"{said}, and {task.name} has no residual blocks; give a number of positions, such as 256")
        return f"recompute {sum(len(stack.blocks) for stack in stacks)} blocks, each by itself"
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise InputError(f"{said}; expected a number of positions of at least 1, or blocks")
    if not isinstance(task, LanguageModel):
        raise InputError(f"{said}, and pieces are those of a text, for language models; give blocks or leave it out")
    if task.omega:
        raise InputError(f"{said}, and omega needs second derivatives through all steps; leave out one of the two")
    if length is not None and given >= length:
        return f"recompute nothing: a window of {length:,} is no longer than a piece of {given:,}"
    farthest = max((stack.window for stack in stacks if stack.attends), default=0)
    if given < farthest:
        raise InputError(
            f"{said}, and attention reaches back {farthest:,} positions, which the state before each piece would hold; "
            f"give {'blocks' if length is not None and length <= farthest else f'at least {farthest}, or blocks'}"
        )
    task.recompute = given
    if length is None:
        return f"recompute pieces of {given:,} positions"
    count, rest = -(-length // given), length % given
    last = f", the last of {rest:,}" if rest else ""
    return f"recompute {count:,} pieces of {given:,} position{'s' * (given > 1)}{last}"
