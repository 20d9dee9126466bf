"""Networks that read one token after another and keep the state to themselves, which is what writing needs.

A network is a function: what it remembered before a step is still there after it, so a step copies what has grown. Who
writes needs the last state only. A stepper goes on from a state in the same way, in place.
"""

from typing import TYPE_CHECKING, cast

from torch import Tensor

from seqmodels.state import State, select

if TYPE_CHECKING:
    from seqmodels.nn.backbone import Backbone


class Stepper:
    """Any network, one token a row at a time: by its own `forward`.

    Args:
        network: in evaluation mode.
        inputs: what each token is embedded as, (V, D).
        state: before the first step; None at the start.
    """

    recordable = False
    """Whether each `step` does the same to the same memory as the one before, until `prepare` tells of another."""

    def __init__(self, network: "Backbone", inputs: Tensor, state: State | None) -> None:
        self._network, self._inputs, self._state = network, inputs, state

    def __call__(self, tokens: Tensor) -> Tensor:
        """Read the next token of each row, (B,); returns the outputs after it, (B, output_size)."""
        self.prepare()
        return self.step(tokens)

    def prepare(self) -> bool:
        """What has to be done before each step outside of it; returns whether the next one works on other memory."""
        return False

    def step(self, tokens: Tensor) -> Tensor:
        """See `__call__`, which is `prepare` and this."""
        y, self._state = self._network(self._inputs[tokens].unsqueeze(1), self._state)
        return cast(Tensor, y.squeeze(1))

    def select(self, rows: Tensor) -> None:
        """Go on with these rows, in the order given, (N,)."""
        if self._state is not None:
            self._state = select(self._state, rows)
