"""Where in a source to look: attention with one head, as it came to recurrent decoders.

Any network as a decoder: it starts from the summary of a source, and looks at the source while it writes.
"""

from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell
from seqmodels.nn.trace import Trace, in_turn
from seqmodels.state import State, repeat, where

Attention = Literal["none", "mean", "additive", "dot", "general"]
"""What a decoder sees of a source: its summary, the mean of it, or what an alignment finds at each step."""

Memory = tuple[Tensor, Tensor, Tensor]
"""Which positions are real, bool (M, S); keys (M, S, K); values (M, S, D)."""


class Alignment(nn.Module):
    """Weights for the positions of a source by how well each goes with a query, and the mean of the source under them.

    Args:
        kind: the score of a query `q` and a position `h`: additive, `v' tanh(W_q q + W_h h)` (Bahdanau et al. 2015);
            dot, `q' h`; general, `q' W_h h` (Luong et al. 2015, section 3.1).
        query_size: features Q of the queries.
        memory_size: features D of the source.

    Raises:
        InputError: dot was asked for, and the sizes differ.
    """

    def __init__(self, kind: Literal["additive", "dot", "general"], query_size: int, memory_size: int) -> None:
        super().__init__()
        if kind == "dot" and query_size != memory_size:
            raise InputError(
                f"attention='dot' multiplies outputs of the decoder with those of the encoder, and they have "
                f"{query_size} and {memory_size} features; make them alike, or choose general"
            )
        self.kind = kind
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size, bias=False)
            self.score = nn.Parameter(torch.empty(query_size).uniform_(-1, 1) * query_size**-0.5)

    def remember(self, source: Tensor, mask: Tensor) -> Memory:
        """What there is to look at, in a source (M, S, D) with mask (M, S)."""
        return mask, self.key(source), source

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look at a source.

        Args:
            query: (B, T, Q), the rows of one row of the memory side by side.
            memory: what `remember` returned, for M rows, M a divisor of B.

        Returns:
            The mean of the source under the weights, (B, T, D), and the weights, (B, T, S).
        """
        real, keys, values = memory
        q = query.reshape(len(real), -1, query.shape[2])  # (M, B / M * T, Q)
        if self.kind == "additive":
            scores = (self.query(q).unsqueeze(2) + keys.unsqueeze(1)).tanh() @ self.score.to(keys.dtype)
        else:
            scores = q @ keys.mT
        weights = scores.masked_fill(~real.unsqueeze(1), -torch.inf).softmax(-1)
        seen = weights.to(values.dtype) @ values
        shape = query.shape[:2]
        return seen.view(*shape, -1), weights.view(*shape, -1)


def check_attention(kind: str) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: it lists those that are.
    """
    if kind not in get_args(Attention):
        raise InputError(f"attention={kind!r} was given; choose one of {', '.join(get_args(Attention))}")


class Seen(NamedTuple):
    """What a decoder is given of a source."""

    start: State
    """The state to begin with; an empty tuple where the network begins from its own."""
    summary: Tensor
    """One vector for all of it, (M, D)."""
    aligned: Memory | tuple[()]
    """What there is to look at; empty where nothing is looked at."""


class Attentive(Backbone):
    """A network that writes with a source in view.

    Its first state is made of the summary of the source, by a linear map and a hyperbolic tangent (Cho et al. 2014).
    What it sees of the source at a step is, with `attention`

    - none, only that (Sutskever et al. 2014); mean likewise, with the mean of the source for its summary;
    - additive, the source under the alignment of the output before, which goes into the step (Bahdanau et al. 2015);
    - dot or general, the source under the alignment of the output of the step, which is corrected by what was seen,
      `tanh(W [seen; output])` (Luong et al. 2015).

    The state is `(state of the network, what the next step needs)`.

    Args:
        network: any network that looks back only, best a recurrent one.
        memory_size: features of the source.
        attention: none, mean, additive, dot or general.
        input_feeding: with none and mean, each step is given the summary, too; with dot and general, the corrected
            output of the step before (Luong et al. 2015, section 3.3). Additive attention feeds what it saw anyway.
    """

    def __init__(
        self, network: Backbone, memory_size: int, attention: Attention = "additive", input_feeding: bool = False
    ) -> None:
        super().__init__()
        check_attention(attention)
        if not network.causal or network.memory_size is not None:
            raise InputError("a decoder is expected to look back only, and not to attend to a memory by itself already")
        if attention in ("none", "mean") and network.state_size is None and not input_feeding:
            raise InputError(
                f"{type(network).__name__} cannot start from a vector, and with attention={attention!r} would see "
                "nothing of the source; give input_feeding=True or another attention"
            )
        self.network, self.attention, self.input_feeding = network, attention, input_feeding
        self.input_size, self.output_size, self.memory_size = network.input_size, network.output_size, memory_size
        self.max_length = network.max_length
        size = network.output_size
        self.start = None if network.state_size is None else nn.Linear(memory_size, network.state_size)
        self.align = self.correct = self.feed = None
        if attention not in ("none", "mean"):
            self.align = Alignment(attention, size, memory_size)  # type: ignore[arg-type]
            self.correct = nn.Linear(memory_size + size, size)
        if attention == "additive":
            self.begin = nn.Linear(memory_size, size)
            self.feed = nn.Linear(memory_size, network.input_size, bias=False)
        elif input_feeding:
            fed = memory_size if self.align is None else size
            self.feed = nn.Linear(fed, network.input_size, bias=False)

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor) -> State:
        """See `Backbone.remember`."""
        if self.attention == "mean":
            summary = (source * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        start: State = () if self.start is None else self.network.as_state(self.start(summary).tanh())
        aligned = () if self.align is None else self.align.remember(source, mask)
        return tuple(Seen(start, summary, aligned))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        """See `Backbone.forward`."""
        y, state, _ = self._run(x, state, mask, memory)
        return y, state

    def aligned(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """See `Backbone.aligned`."""
        return self._run(x, state, mask, memory)

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: what there is inside the network, and the alignment as attention to the memory."""
        parts: list[Trace] = []
        y, state, weights = self._run(x, state, mask, memory, parts)
        trace = in_turn(parts) if len(parts) > 1 else parts[0]
        if weights is not None:
            trace.cross["alignment"] = weights.unsqueeze(1)
        return y, state, trace

    def cells(self) -> dict[str, Cell]:
        """See `Backbone.cells`: those of the network."""
        return self.network.cells()

    def units(self) -> dict[nn.Module, tuple[str, ...]]:
        """See `Backbone.units`: those of the network, or all as one that is used anew at each step."""
        return self.network.units() if self.feed is None or self.align is None else {self: ("remember", "aligned")}

    def _run(
        self,
        x: Tensor,
        state: State | None,
        mask: Tensor | None,
        memory: State | None,
        parts: list[Trace] | None = None,
    ) -> tuple[Tensor, State, Tensor | None]:
        """`forward`, and the weights where it looks at something; traces of the network go to a list where one is."""
        self._check(x, mask, memory)
        seen = Seen(*cast(tuple[State, ...], memory))  # type: ignore[arg-type]
        beams = len(x) // len(seen.summary)
        inner, before = self._begun(seen, beams) if state is None else cast(tuple[State, State], state)
        if self.align is None:
            if self.feed is not None:
                x = x + self.feed(seen.summary).repeat_interleave(beams, 0).unsqueeze(1)
            y, inner = self._inside(x, inner, mask, parts)
            return y, (inner, before), None
        if self.feed is None:
            y, inner = self._inside(x, inner, mask, parts)
            y, weights = self._corrected(y, *self.align(y, seen.aligned))
            return y if mask is None else y * mask.unsqueeze(-1), (inner, before), weights
        return self._step_by_step(x, inner, before, mask, seen, parts)

    def _inside(
        self, x: Tensor, inner: State | None, mask: Tensor | None, parts: list[Trace] | None
    ) -> tuple[Tensor, State]:
        """Run the network, and keep its trace where one is asked for."""
        if parts is None:
            return self.network(x, inner, mask=mask)  # type: ignore[no-any-return]
        y, state, trace = self.network.traced(x, inner, mask=mask)
        parts.append(trace)
        return y, state

    def _begun(self, seen: Seen, beams: int) -> tuple[State | None, State]:
        """The network's state, and what the first step needs."""
        inner = None if self.start is None else repeat(seen.start, beams)
        if self.attention == "additive":
            return inner, self.begin(seen.summary).tanh().repeat_interleave(beams, 0)
        if self.align is not None and self.feed is not None:
            return inner, seen.summary.new_zeros(len(seen.summary) * beams, self.output_size)
        return inner, ()

    def _corrected(self, y: Tensor, seen: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The output with what was seen of the source."""
        assert self.correct is not None
        return self.correct(torch.cat((seen.to(y.dtype), y), -1)).tanh(), weights

    def _step_by_step(
        self,
        x: Tensor,
        inner: State | None,
        before: State,
        mask: Tensor | None,
        seen: Seen,
        parts: list[Trace] | None,
    ) -> tuple[Tensor, State, Tensor]:
        """Where a step needs what the one before has seen."""
        assert self.align is not None
        assert self.feed is not None
        outputs, alignments = [], []
        for t in range(x.shape[1]):
            real = None if mask is None else mask[:, t : t + 1]
            last = cast(Tensor, before).unsqueeze(1)
            if self.attention == "additive":
                context, weights = self.align(last, seen.aligned)
                plain, inner = self._inside(x[:, t : t + 1] + self.feed(context), inner, real, parts)
                y, _ = self._corrected(plain, context, weights)
                following = plain
            else:
                plain, inner = self._inside(x[:, t : t + 1] + self.feed(last), inner, real, parts)
                y, weights = self._corrected(plain, *self.align(plain, seen.aligned))
                following = y
            following = following.squeeze(1)
            before = following if real is None else where(real.squeeze(1), following, before)
            outputs.append(y if real is None else y * real.unsqueeze(-1))
            alignments.append(weights)
        assert inner is not None
        return torch.cat(outputs, 1), (inner, before), torch.cat(alignments, 1)
