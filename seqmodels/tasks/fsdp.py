"""Fully sharded training (FSDP): each device holds a part of every weight and gathers those of a layer to use it."""

import contextlib
from collections.abc import Iterator
from functools import singledispatch
from itertools import chain
from typing import cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed import broadcast
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from seqmodels.nn import Attentive, Backbone, Bidirectional, RecurrentStack
from seqmodels.nn.transformer import PreNormStack


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
def _(network: PreNormStack) -> dict[nn.Module, tuple[str, ...]]:
    return dict.fromkeys(network.blocks, ("remember",))


@sharded_units.register
def _(network: Bidirectional) -> dict[nn.Module, tuple[str, ...]]:
    return {part: methods for way in network.directions for part, methods in sharded_units(way).items()}


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

    on_test_start = on_validation_start
    on_test_end = on_validation_end


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
