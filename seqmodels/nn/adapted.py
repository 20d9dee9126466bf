"""Any module of the form `y, state = module(x, state)` as a network: sizes, padding and a recorded constructor."""

import functools
import inspect
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.trace import Trace
from seqmodels.state import State, map_state, select


class Adapted(Backbone):
    """A module of the form `y, state = module(x, state)` behind the `Backbone` contract; made by `as_backbone`.

    Its state is `(unread, own)`: the module's own state, and a bool (B,) that is true for rows of which nothing but
    padding was read so far, or an empty tuple where there are none.
    """

    module: nn.Module

    @abstractmethod
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        name = type(module).__name__
        sizes = [getattr(module, "input_size", None), getattr(module, "output_size", None)]
        sizes[1] = getattr(module, "hidden_size", None) if sizes[1] is None else sizes[1]
        if not all(type(size) is int and size > 0 for size in sizes):
            raise InputError(
                f"{name} has input_size={sizes[0]!r} and output_size={sizes[1]!r}; set self.input_size and "
                "self.output_size, the features of x and of y, in its constructor"
            )
        self.module, self.input_size, self.output_size = module, *sizes  # type: ignore[assignment]
        self.max_length = getattr(module, "max_length", None)

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`. A module with an argument `mask` is given it; for others, rows are cut at padding."""
        self._check(x, mask, memory)
        return read(self.module, self.output_size, x, state, mask)

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: where there is no padding, by the module's own `traced(x, state)`, if it has one."""
        own = getattr(self.module, "traced", None)
        if own is None or mask is not None or (state is not None and state[0] != ()):
            return super().traced(x, state, mask=mask, memory=memory)
        self._check(x, mask, memory)
        y, end, trace = own(x, None if state is None else state[1])
        return y, ((), end), trace


def read(
    module: nn.Module, size: int, x: Tensor, state: State | None = None, mask: Tensor | None = None
) -> tuple[Tensor, State]:
    """Outputs (B, T, size) of a module, and the state of `Adapted`; arguments as of `Backbone.forward`.

    Raises:
        InputError: outputs have another shape, or rows of different lengths have states of different shapes.
    """
    unread, own = ((), None) if state is None else state
    if "mask" in inspect.signature(module.forward).parameters:
        y, own = _checked(module, size, x, own, mask=mask)
    elif mask is None and isinstance(unread, tuple):
        y, own = _checked(module, size, x, own)
    else:
        return _cut(module, size, x, unread, own, mask)
    return y, ((), own)


def _checked(
    module: nn.Module, size: int, x: Tensor, state: State | None, **mask: Tensor | None
) -> tuple[Tensor, State]:
    y, state = module(x, state, **mask)
    if y.shape != (wanted := (*x.shape[:2], size)):
        name = type(module).__name__
        raise InputError(f"{name} returned outputs {tuple(y.shape)}; expected {tuple(wanted)}, by its output_size")
    return y, state


def _cut(
    module: nn.Module, size: int, x: Tensor, unread: State, own: State | None, mask: Tensor | None
) -> tuple[Tensor, State]:
    """Rows with as many real positions each are read together, without padding."""
    real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    counts, order = real.sum(1), real.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
    packed = x.gather(1, order.unsqueeze(-1).expand_as(x))
    fresh = torch.full_like(counts, own is None, dtype=torch.bool) if isinstance(unread, tuple) else unread
    y, ends = x.new_zeros(*x.shape[:2], size), list[tuple[Tensor, State]]()
    for count, new in sorted(set(zip(counts.tolist(), fresh.tolist(), strict=True))):
        rows = ((counts == count) & (fresh == new)).nonzero().squeeze(1)
        start = None if new or own is None else select(own, rows)
        if count:
            part, end = _checked(module, size, packed[rows, :count], start)
            y = y.to(part.dtype).index_put((rows.unsqueeze(1), torch.arange(count, device=x.device)), part)
            ends.append((rows, end))
        elif start is not None:
            ends.append((rows, start))
    fresh = fresh & (counts == 0)
    y = torch.zeros_like(y).scatter(1, order.unsqueeze(-1).expand(-1, -1, size), y)
    return y, (fresh if bool(fresh.any()) else (), _joined(type(module).__name__, ends, len(x)))


def _joined(name: str, parts: list[tuple[Tensor, State]], rows: int) -> State:
    """One state of the states of some rows each; of rows that have none, zeros."""

    def join(*tensors: Tensor) -> Tensor:
        if len({tensor.shape[1:] for tensor in tensors}) > 1:
            raise InputError(
                f"the state of {name} grows with the positions, so that rows of different lengths have no common one; "
                "give its forward an argument mask=None, bool (B, T), False at padding"
            )
        whole = tensors[0].new_zeros(rows, *tensors[0].shape[1:])
        for (places, _), tensor in zip(parts, tensors, strict=True):
            whole = whole.index_copy(0, places, tensor)
        return whole

    return map_state(join, *(state for _, state in parts)) if parts else ()


def as_backbone(module: Any) -> type[Backbone]:
    """A network class of a class of modules whose forward is `(x, state) -> (y, state)`, also as a decorator.

    The module takes inputs (B, T, D) and the state that it returned before, or None at the start; a state is a tensor
    or nested tuples of them, batch first. It sets `input_size` and `output_size` (or `hidden_size`). Its constructor
    takes plain values, which a checkpoint records. `check_network` checks it against the laws.

    Methods that a module may have: `traced(x, state)`, which also returns a `Trace` with gates and units, and
    `recurrent_maps()`, matrices (D, D) by name; both are shown in reports. A forward with `mask` does its own padding.

    Raises:
        InputError: this is no class of modules. When the network is made: it has no sizes.
    """
    if not (isinstance(module, type) and issubclass(module, nn.Module)):
        own = f", here {type(module).__name__}" if isinstance(module, nn.Module) else ""
        raise InputError(
            f"as_backbone was given {' '.join(repr(module).split()):.60}; expected a class of modules{own}, since a "
            "checkpoint records how a network is made"
        )
    if issubclass(module, Backbone):
        return module

    @functools.wraps(module.__init__)
    def init(self: Adapted, *args: Any, **kwargs: Any) -> None:
        Adapted.__init__(self, module(*args, **kwargs))

    names = {"__doc__": module.__doc__, "__module__": module.__module__, "__qualname__": module.__qualname__}
    return type(module.__name__, (Adapted,), {**names, "__init__": init})
