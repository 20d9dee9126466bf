"""The contract that every network keeps.

Letters in shapes, here and everywhere: B rows of the batch, T positions in time, S positions of keys or of a
source, D features, H heads, V vocabulary.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.recorded import Recorded
from seqmodels.state import State


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

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read T inputs and go on from `state`.

        Args:
            x: inputs, (B, T, input_size).
            state: what an earlier call returned for the same rows, or None at the start.
            mask: bool (B, T), False at padding, which changes neither outputs nor state; None where all is real.
            memory: (B, S, D) to attend to. The networks so far attend to none and refuse it.

        Returns:
            Outputs (B, T, output_size), zero at padding, and the state after the last position.
        """

    def _check(self, x: Tensor, mask: Tensor | None, memory: Tensor | None) -> None:
        """Refuse shapes that the contract does not allow, before they fail somewhere deep inside."""
        name = type(self).__name__
        if x.ndim != 3 or x.shape[-1] != self.input_size or x.shape[1] == 0:
            raise InputError(f"{name} expects inputs (B, T, {self.input_size}) with T >= 1, got {tuple(x.shape)}")
        if mask is not None and mask.shape != x.shape[:2]:
            raise InputError(f"{name} expects a mask of shape {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
        if memory is not None:
            raise InputError(f"{name} attends to no memory; leave memory=None")
