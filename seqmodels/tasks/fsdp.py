"""Weights that devices share: each holds a part of every one, and gathers those of a layer when it needs them."""

import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed import broadcast
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from seqmodels.nn import Backbone


class FSDPMixin(pl.LightningModule):
    """What a task needs for fully sharded training (FSDP2; Zhao et al. 2023), and nothing under another strategy.

    Layers are gathered one by one in training. Evaluation holds whole weights instead, since devices read and write
    different amounts of text and would wait for one another.
    """

    _gathered: contextlib.ExitStack | None = None

    def configure_model(self) -> None:
        """Called by Lightning before it makes the optimiser: share the weights where its strategy has a mesh."""
        if self.device_mesh is None or isinstance(self, FSDPModule):
            return
        mesh = self.device_mesh["data_parallel"]
        networks = [module for module in self.children() if isinstance(module, Backbone)]
        units: dict[nn.Module, tuple[str, ...]] = {}
        for network in networks:
            units |= network.units()
        units[self] = ("losses",)  # last: embeddings, softmax layer, and what else is left
        # Autocast would keep a half precision copy of every whole weight until the backward pass. Layers are gathered
        # in half precision instead; embeddings are not, since what layers add up begins with them.
        half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        mixed = self.trainer.precision == "bf16-mixed"
        for unit, methods in units.items():
            unit.to(self.trainer.strategy.root_device)
            for tensor in chain(unit.parameters(), unit.buffers()):
                if not isinstance(tensor, DTensor):  # shared before, as a part of another
                    broadcast(tensor.detach(), src=0)  # processes may have drawn others
            fully_shard(unit, mesh=mesh, mp_policy=half if mixed and unit is not self else MixedPrecisionPolicy())
            for name in methods:
                register_fsdp_forward_method(unit, name)

    def on_validation_start(self) -> None:
        """Gather whole weights, on all devices at once."""
        self._gathered = contextlib.ExitStack()
        self._gathered.enter_context(whole(self))

    def on_validation_end(self) -> None:
        """Let go of them."""
        assert self._gathered is not None
        self._gathered.close()

    on_test_start = on_validation_start
    on_test_end = on_validation_end


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor of which devices have parts, or what they would sum to, as one; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """This device's part of a tensor, or all of it where it is not shared."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@contextlib.contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """While it lasts, every device has all weights, so that one can use the model without the others, and take
    gradients of what it computes by anything but weights.

    All devices enter it together. Where weights are not shared, nothing happens.
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
