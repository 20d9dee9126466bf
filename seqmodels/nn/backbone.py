"""The contract that every network keeps.

Letters in shapes, here and everywhere: B rows of the batch, T positions in time, S positions of keys or of a
source, D features, H heads, V vocabulary.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seqmodels.config import Recorded
from seqmodels.errors import InputError
from seqmodels.nn.cell import Cell
from seqmodels.nn.trace import Trace, Unrolled
from seqmodels.state import State, first_tensor


class Backbone(Recorded, nn.Module, ABC):
    """A network as a function of inputs and state: `y, state = backbone(x, state)`.

    Training on a window, carrying the state across truncated BPTT, writing one token after another, reordering
    beams and measuring gradients through time are all this one call. What every network promises is written
    down in `tests/test_laws.py`.
    """

    input_size: int
    """Features D of `x`."""
    output_size: int
    """Features D of `y`."""
    max_length: int | None = None
    """Most positions that one stream may have, from its start; None where there is no such limit."""
    causal: bool = True
    """Whether outputs depend on nothing that comes later. A network that looks both ways reads a text as a whole: it
    goes on from no state, and the state that it returns is empty."""
    memory_size: int | None = None
    """Features of what it attends to beside its inputs, such as a source to be translated; None for nothing."""
    state_size: int | None = None
    """Features of a row's state where it is always as large, whatever was read; None where it grows."""

    unrolls: bool = False
    """Whether all of it is recurrent layers, whose steps `unrolled` shows."""

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """Read T inputs and go on from `state`.

        Args:
            x: inputs, (B, T, input_size).
            state: what an earlier call returned for the same rows, or None at the start.
            mask: bool (B, T), False at padding, which changes neither outputs nor state; None where all is real.
            memory: what `remember` made of a source, where the network attends to one. It may have fewer rows: then
                as many rows of `x` as there are for each, side by side, share it, as the beams of a sentence do.

        Returns:
            Outputs (B, T, output_size), zero at padding, and the state after the last position.
        """

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor) -> State:
        """What is kept of a source to attend to. It is projected once, for all positions to come, and is no state.

        Args:
            source: what was read of it, (B, S, memory_size).
            mask: bool (B, S), False at padding.
            summary: one vector for all of it, (B, memory_size).

        Returns:
            Tensors, nested as those of a state and batch first.

        Raises:
            InputError: the network attends to nothing.
        """
        raise InputError(f"{type(self).__name__} attends to no memory")

    def aligned(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """What `forward` returns, and how much each position attended to each of the memory, (B, T, S).

        Weights are those of the mean head, and of the mean layer, where there are several; None where the network
        attends to nothing, or to all alike.
        """
        return *self(x, state, mask=mask, memory=memory), None

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """What `forward` returns, and what the network had inside at each position."""
        y, state = self(x, state, mask=mask, memory=memory)
        return y, state, Trace(units={"1": y})

    def unrolled(
        self, x: Tensor, state: State | None = None, mask: Tensor | None = None, lightly: bool = False
    ) -> tuple[Tensor, list[Unrolled]]:
        """What `forward` returns first, step by step; see `RecurrentStack.unrolled`.

        Raises:
            InputError: the network is no stack of recurrent layers.
        """
        raise InputError(f"{type(self).__name__} is no stack of recurrent layers, and has no steps to unroll")

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """One vector for all that was read, (B, output_size): the last output.

        Args:
            y: outputs (B, T, output_size).
            mask: bool (B, T), False at padding.
        """
        last = torch.arange(1, y.shape[1] + 1, device=y.device).mul(mask).argmax(1)
        return y[torch.arange(len(y), device=y.device), last]

    def as_state(self, features: Tensor) -> State:
        """The state that some features stand for, where `state_size` says how many there are.

        Args:
            features: (B, state_size).

        Raises:
            InputError: the state is not of one size.
        """
        raise InputError(f"the state of {type(self).__name__} grows with what it reads; it is not made of a vector")

    def cells(self) -> dict[str, Cell]:
        """Its recurrent cells, by the layer that `Trace` names their states after: `1` for those of `1.h`."""
        return {}

    def units(self) -> dict[nn.Module, tuple[str, ...]]:
        """Parts whose weights are gathered together where devices share them, each with those of its methods beside
        `forward` that are called from outside and use weights; none of these calls another, or `forward`. What no
        part has, is there all the time.
        """
        return {self: ("remember",)}

    def _check(self, x: Tensor, mask: Tensor | None, memory: State | None) -> None:
        """Refuse shapes that the contract does not allow, before they fail somewhere deep inside."""
        name = type(self).__name__
        if x.ndim != 3 or x.shape[-1] != self.input_size or x.shape[1] == 0:
            raise InputError(f"{name} expects inputs (B, T, {self.input_size}) with T >= 1, got {tuple(x.shape)}")
        if mask is not None and mask.shape != x.shape[:2]:
            raise InputError(f"{name} expects a mask of shape {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
        if memory is not None and self.memory_size is None:
            raise InputError(f"{name} attends to no memory; leave memory=None")
        if memory is None and self.memory_size is not None:
            raise InputError(f"{name} attends to a memory; give it what its remember() makes of a source")
        if memory is not None and len(x) % len(first_tensor(memory)):
            raise InputError(
                f"{name} expects as many rows for each row of the memory, got {len(x)} and {len(first_tensor(memory))}"
            )
