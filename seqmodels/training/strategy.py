"""Strategies for several devices (DDP, FSDP), and the parts of a training step that are compiled."""

import gc
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch import distributed
from torch.optim import Optimizer

from seqmodels.errors import InputError
from seqmodels.nn.transformer import PreNormStack
from seqmodels.tasks import SequenceTask

StrategyName = Literal["auto", "ddp", "fsdp"]


class FSDPStrategy(ModelParallelStrategy):
    """Lightning's FSDP2, with the checkpoints of a single process.

    Lightning numbers the optimizer's states in the order of the module's parameters, torch in that of the optimizer's
    groups, which differs where matrices and vectors have groups of their own. Here they are numbered as in torch.
    """

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The full state on the first device; an empty one on the others."""
        from torch.distributed.checkpoint import state_dict as whole  # takes half a second

        assert self.model is not None
        plain = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        kept: dict[str, Any] = whole.get_optimizer_state_dict(
            self.model, plain, options=whole.StateDictOptions(full_state_dict=True, cpu_offload=True)
        )
        if self.global_rank:
            return kept
        names = (name for group in kept["param_groups"] for name in group["params"])
        return _renamed(kept, {name: number for number, name in enumerate(names)})

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Restore this device's part of weights and optimizer states; returns the whole content."""
        from torch.distributed.checkpoint import state_dict as whole

        assert self.model is not None
        options = whole.StateDictOptions(full_state_dict=True)
        content = self.checkpoint_io.load_checkpoint(checkpoint_path)
        whole.set_model_state_dict(self.model, content["state_dict"], options=options)
        called = {parameter: name for name, parameter in self.model.named_parameters()}
        for optimizer, kept in zip(self.optimizers, content["optimizer_states"], strict=True):
            names = (called[parameter] for group in optimizer.param_groups for parameter in group["params"])
            state = _renamed(kept, dict(enumerate(names)))
            whole.set_optimizer_state_dict(self.model, optimizer, state, options=options)
        return content


def _renamed(kept: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    """The state of an optimizer under other names of its parameters."""
    return {
        "state": {names[name]: state for name, state in kept["state"].items()},
        "param_groups": [
            group | {"params": [names[name] for name in group["params"]]} for group in kept["param_groups"]
        ],
    }


def leave_group() -> None:
    """Leave the process group, if there is one, and end its threads.

    Lightning does so for GPUs alone. On CPUs, threads of the group may still hold tensors of the last exchange. One
    that waits for the interpreter to release them, and finds that it has ended, aborts the process; here they get it.
    """
    if distributed.is_available() and distributed.is_initialized():
        time.sleep(0.5)
        distributed.destroy_process_group()
        gc.collect()  # the threads end with the last reference, which may be one of a circle


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
    wrong = {
        f"optimizer={task.optimizer!r}; give adamw": task.optimizer != "adamw",
        f"average={settings['average']!r}; give none": settings["average"] != "none",
        f"precision={precision!r}; give 32-true or bf16-mixed": precision not in ("auto", "32-true", "bf16-mixed"),
        f"devices={devices}; give at least 2": devices * nodes == 1,
        "compile; leave it out": settings["compile"],
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise InputError(f"strategy='fsdp', where each device has a part of every weight, was given with {what}")
    return FSDPStrategy(devices * nodes, 1, save_distributed_checkpoint=False)


MANY = 4096
"""Smallest vocabulary for which compiling the loss is worth its time."""


def compile_steps(task: SequenceTask) -> None:
    """Compile layers of attention and the loss of a large vocabulary.

    Raises:
        InputError: there is neither; compiling does not speed up the kernels of recurrent layers.
    """
    stacks = [part for part in task.modules() if isinstance(part, PreNormStack)]
    if not stacks and task.tokenizer.vocab_size < MANY:
        raise InputError(
            f"compile was given, and {task.name} has neither layers of attention nor {MANY:,} tokens to predict: there "
            "is nothing to gain; leave it out"
        )
    for stack in stacks:
        stack.compiled = True
    task.compiled = True
