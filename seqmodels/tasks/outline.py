"""A bound on what a constructor of a model may make, where a file of unknown origin describes it."""

import contextlib
import threading
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from seqmodels.errors import InputError


@contextlib.contextmanager
def at_most(count: int = 4_000, on_meta: bool = False) -> Iterator[None]:
    """Stop a constructor of this thread that makes more parameters than that, by an InputError from inside it.

    A Transformer of 300 layers has 4,000. With `on_meta`, the memory of a parameter is freed as soon as it is made,
    before it is initialized.
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
        yield
    finally:
        hook.remove()
