"""Strategies for several devices (DDP, FSDP), and the parts of a training step that are compiled."""

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
from seqmodels.tasks import SequenceTask
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


MANY = 4096
"""Smallest vocabulary for which compiling the loss is worth its time."""


def compile_steps(task: SequenceTask) -> None:
    """Compile layers of attention and the loss of a large vocabulary.

    Raises:
        InputError: there is neither; compiling does not speed up the kernels of recurrent layers.
    """
    stacks = [part for part in task.modules() if isinstance(part, ResidualStack)]
    if not stacks and task.tokenizer.vocab_size < MANY:
        raise InputError(
            f"compile was given, and {task.name} has neither layers of attention nor {MANY:,} tokens to predict: there "
            "is nothing to gain; leave it out"
        )
    for stack in stacks:
        stack.compiled = True
    task.compiled = True
