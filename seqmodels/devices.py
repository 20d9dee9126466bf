"""How several devices share the work: alike, or each with a part of the weights."""

from typing import Any, Literal, get_args

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.averaging import Average

Sharing = Literal["auto", "ddp", "fsdp"]


def make_strategy(
    sharing: Sharing, devices: int, nodes: int, task: SequenceTask, average: Average, precision: str
) -> Strategy | str:
    """What Lightning's trainer takes for a strategy.

    Args:
        sharing: ddp, where every device has all weights; fsdp, where each has a part of every one and of what the
            optimiser keeps (FSDP2); auto for ddp where there are several devices.
        devices: how many on each machine.
        nodes: how many machines.
        task: what is trained.
        average: of the weights.
        precision: see `fit`.

    Raises:
        InputError: it is not known, or does not go together with the rest, or torchrun or SLURM has started another
            number of processes.
    """
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if environment.detect() and (started := environment().world_size()) != devices * nodes:
            raise InputError(
                f"{started} processes were started, and devices={devices} on nodes={nodes} need {devices * nodes}; "
                "give --devices, those of each machine, and --nodes, or start as many"
            )
    if sharing not in get_args(Sharing):
        raise InputError(f"the strategy {sharing!r} is not known; choose one of {', '.join(get_args(Sharing))}")
    if sharing != "fsdp":
        return sharing
    wrong: dict[str, Any] = {
        f"optimizer={task.optimizer!r}; give adamw": task.optimizer != "adamw",
        f"average={average!r}; give none": average != "none",
        f"precision={precision!r}; give 32-true or bf16-mixed": precision not in ("auto", "32-true", "bf16-mixed"),
        f"devices={devices}; give at least 2": devices * nodes == 1,
    }
    for what, found in wrong.items():
        if found:
            raise InputError(f"strategy='fsdp', where each device has a part of every weight, was given with {what}")
    return ModelParallelStrategy(devices * nodes, 1, save_distributed_checkpoint=False)
