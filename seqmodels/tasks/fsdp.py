"""Fully sharded training (FSDP): each device holds a part of every weight and gathers those of a layer to use it."""

import contextlib
from collections.abc import Iterator, Mapping
from functools import singledispatch
from itertools import chain
from pathlib import Path
from typing import Any, cast

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed import broadcast
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from seqmodels.errors import InputError
from seqmodels.nn import Attentive, Backbone, Bidirectional, RecurrentStack, Sequential
from seqmodels.nn.transformer import ResidualStack


@singledispatch
def sharded_units(network: Backbone) -> dict[nn.Module, tuple[str, ...]]:
    """Parts of a network whose weights are gathered together, by default the network as a whole.

    Each comes with its methods, other than `forward`, that are called from outside and use weights; none of these calls
    another, or `forward`. Weights in no part are gathered all the time.
    """
    return {network: ("remember",)}


@sharded_units.register
def _(network: RecurrentStack) -> dict[nn.Module, tuple[str, ...]]:
    return dict.fromkeys(network.layers, ("step", "sequence"))


@sharded_units.register
def _(network: ResidualStack) -> dict[nn.Module, tuple[str, ...]]:
    return dict.fromkeys(network.blocks, ("remember",))


@sharded_units.register
def _(network: Bidirectional) -> dict[nn.Module, tuple[str, ...]]:
    return {part: methods for way in network.directions for part, methods in sharded_units(way).items()}


@sharded_units.register
def _(network: Sequential) -> dict[nn.Module, tuple[str, ...]]:
    return {unit: methods for part in network.parts for unit, methods in sharded_units(part).items()}


@sharded_units.register
def _(network: Attentive) -> dict[nn.Module, tuple[str, ...]]:
    return {network: ("remember", "aligned")} if network.stepwise else sharded_units(network.network)


class FSDPMixin(pl.LightningModule):
    """Fully sharded training of a task (FSDP2; Zhao et al. 2023); no effect under another strategy.

    Layers are gathered one by one in training. Evaluation holds whole weights instead, since devices process different
    amounts of text and would wait for one another.
    """

    _gathered: contextlib.ExitStack | None = None

    def configure_model(self) -> None:
        """Called by Lightning before it builds the optimizer: shard the weights if its strategy has a mesh."""
        if self.device_mesh is None or isinstance(self, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        units: dict[nn.Module, tuple[str, ...]] = {}
        for network in self.children():
            units |= sharded_units(network) if isinstance(network, Backbone) else {}
        units[self] = ("losses",)  # last: embeddings, softmax layer, and all else that is left
        # Autocast would keep a half-precision copy of every whole weight until the backward pass. Layers are gathered
        # in half precision instead; embeddings are not, since the residual stream starts with them.
        half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        mixed = self.trainer.precision == "bf16-mixed"
        for unit, methods in units.items():
            unit.to(self.trainer.strategy.root_device)
            for tensor in chain(unit.parameters(), unit.buffers()):
                if not isinstance(tensor, DTensor):  # sharded before, as a part of another
                    broadcast(tensor.detach(), src=0)  # ranks may have drawn different ones
            fully_shard(unit, mesh=mesh, mp_policy=half if mixed and unit is not self else MixedPrecisionPolicy())
            for name in methods:
                register_fsdp_forward_method(unit, name)

    def on_validation_start(self) -> None:
        """Gather whole weights on all devices."""
        self._gathered = contextlib.ExitStack()
        self._gathered.enter_context(whole_weights(self))

    def on_validation_end(self) -> None:
        """Shard them again."""
        assert self._gathered is not None
        self._gathered.close()

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end


def whole_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor as a whole, on every device; any other tensor unchanged."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """This device's part of a sharded tensor; any other tensor unchanged."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextlib.contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Hold whole weights on every device, so that each can use the model by itself.

    Gradients may be taken with respect to anything but weights. All devices enter it together. No effect on a model
    that is not sharded.
    """
    units = [unit for unit in module.modules() if isinstance(unit, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.set_reshard_after_backward(False, recurse=False)
        unit.set_requires_gradient_sync(False, recurse=False)
        unit.unshard()
    halved = any(p.dtype == torch.bfloat16 for unit in units for p in cast(nn.Module, unit).parameters())
    kind = next((p.device.type for p in module.parameters()), "cpu")
    try:
        with torch.autocast(kind, torch.bfloat16) if halved else contextlib.nullcontext():
            yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(cast(nn.Module, unit) is not module, recurse=False)
            unit.set_reshard_after_backward(True, recurse=False)
            unit.set_requires_gradient_sync(True, recurse=False)
            unit.reshard()


class FSDPStrategy(ModelParallelStrategy):
    """Lightning's FSDP2 over all devices of a trainer, with the checkpoints of a single process:
    `Trainer(devices=2, strategy=FSDPStrategy(), inference_mode=False)`.

    Lightning numbers the optimizer's states in the order of the module's parameters, torch in that of the optimizer's
    groups, which differs where matrices and vectors have groups of their own. Here they are numbered as in torch.
    """

    def __init__(self) -> None:
        super().__init__("auto", 1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes  # Lightning's default is one device of each node
        super().setup_environment()

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


PIECES = "recompute by positions, whose gradients are those of whole weights; give blocks, or leave it out"
"""What does not go together with weights in parts, and the remedy."""


def check_fsdp(task: "FSDPMixin", precision: str, devices: int, others: Mapping[str, bool]) -> None:
    """Refuse (InputError) what does not go together with weights in parts.

    Args:
        task: whose optimizer must be adamw.
        precision: of the trainer.
        devices: of all nodes.
        others: further settings in words, each with the remedy, and whether it is the case.
    """
    optimizer = getattr(task, "optimizer", "adamw")
    wrong = {
        f"optimizer={optimizer!r}; give adamw": optimizer != "adamw",
        f"precision={precision!r}; give 32-true or bf16-mixed": precision not in ("32-true", "bf16-mixed"),
        f"devices={devices}; give at least 2": devices == 1,
        **others,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise InputError(f"strategy='fsdp', where each device has a part of every weight, was given with {what}")
