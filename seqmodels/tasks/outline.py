"""A bound on what a constructor of a model may make, where a file of unknown origin describes it."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from seqmodels.errors import InputError

FILLING = {
    *(getattr(Tensor, name) for name in ("normal_", "uniform_", "fill_", "zero_")),
    *(getattr(nn.init, name) for name in ("normal_", "uniform_", "constant_", "kaiming_uniform_", "trunc_normal_")),
}
"""Functions that give a tensor its first values."""
RANDOM = {torch.rand, torch.randn}
"""Functions that make one of random values."""
SCALING = {Tensor.mul, Tensor.div}
"""Functions that make one of another, of its shape and type where that is multiplied by a number."""


class _Unfilled(TorchFunctionMode):
    """Weights without memory get no values: torch would import its compiler to see what comes out, which takes seconds.

    What else a constructor does with them is left to torch.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in FILLING and (tensor := args[0] if args else given["tensor"]).is_meta:
            return tensor
        if func in SCALING and args[0].is_meta and args[0].is_floating_point() and isinstance(args[1], float):
            return args[0].new_empty(args[0].shape)
        if func in RANDOM and given.get("device") == torch.device("meta"):
            return torch.empty(*args, **{name: value for name, value in given.items() if name != "generator"})
        return func(*args, **given)


@contextlib.contextmanager
def at_most(count: int = 4_000, on_meta: bool = False) -> Iterator[None]:
    """Stop a constructor of this thread that makes more parameters than that, by an InputError from inside it.

    A Transformer of 300 layers has 4,000. With `on_meta`, the memory of a parameter is freed as soon as it is made,
    before it is initialized. Parameters on torch's meta device are not initialized.
    """
    mine, left = threading.get_ident(), [count]

    def count_down(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:
        if threading.get_ident() != mine:
            return parameter
        left[0] -= 1
        if left[0] < 0:
            raise InputError(f"it would have more than {count:,} parameters; expected fewer layers")
        if on_meta and not parameter.is_meta:  # a tied one stays the same parameter
            parameter = nn.Parameter(parameter.to("meta"), parameter.requires_grad)
        return parameter

    hook = register_module_parameter_registration_hook(count_down)  # type: ignore[arg-type]
    try:
        with _Unfilled():
            yield
    finally:
        hook.remove()
