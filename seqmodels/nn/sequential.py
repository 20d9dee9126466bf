"""Networks one above the other, each of which reads the outputs of the one below."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.trace import Trace
from seqmodels.state import State


class Sequential(Backbone):
    """Networks in sequence, such as layers that read both directions of the layer below, or layers of several widths.

    The state is a tuple with the state of each network. If one of them is not causal, the whole is not.

    Args:
        networks: from the first to the last; none of them attends to a memory.

    Raises:
        InputError: there is none, or sizes do not fit.
    """

    def __init__(self, networks: list[Backbone]) -> None:
        super().__init__()
        if not networks or any(network.memory_size is not None for network in networks):
            raise InputError("Sequential expects at least one network, and none that attends to a memory")
        for number, (below, above) in enumerate(pairwise(networks), 1):
            if below.output_size != above.input_size:
                raise InputError(
                    f"network {number} of Sequential has {below.output_size} outputs and network {number + 1} takes "
                    f"{above.input_size} inputs; make them alike"
                )
        self.networks = nn.ModuleList(networks)
        self.input_size, self.output_size = networks[0].input_size, networks[-1].output_size
        self.causal = all(network.causal for network in networks)
        self.max_length = min((n.max_length for n in networks if n.max_length is not None), default=None)

    @property
    def parts(self) -> list[Backbone]:
        """The networks, from the first to the last."""
        return cast(list[Backbone], list(self.networks))

    def initial_state(self, rows: int) -> State:
        """The state before the first position, for a batch of `rows` rows."""
        return tuple(part.initial_state(rows) for part in self.parts)  # type: ignore[operator]

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        return self._run(x, state, mask, memory, None)

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`; names begin with the number of the network: `2.1.h`."""
        trace = Trace()
        y, state = self._run(x, state, mask, memory, trace)
        return y, state, trace

    def _run(
        self, x: Tensor, state: State | None, mask: Tensor | None, memory: State | None, trace: Trace | None
    ) -> tuple[Tensor, State]:
        """`forward`, which fills `trace` where one is given."""
        self._check(x, mask, memory, state)
        starts = [None] * len(self.networks) if state is None else state
        ends: list[State] = []
        for number, (network, start) in enumerate(zip(self.parts, starts, strict=True), 1):
            if trace is None:
                x, end = network(x, start, mask=mask)
            else:
                x, end, inside = network.traced(x, start, mask=mask)
                trace.take(inside, f"{number}.{{}}".format)
            ends.append(end)
        return x, tuple(ends) if self.causal else ()

    def summary(self, y: Tensor, mask: Tensor) -> Tensor:
        """See `Backbone.summary`: that of the last network."""
        return self.parts[-1].summary(y, mask)
