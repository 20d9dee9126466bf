"""Any network as the decoder of an encoded source, with or without single-head attention.

The decoder starts from a summary of the source and attends to its positions at each step.
"""

from typing import Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.trace import Trace, concatenate
from seqmodels.state import State, repeat, where

Attention = Literal["none", "mean", "additive", "dot", "general"]
"""What a decoder sees of a source: a summary, the mean of all positions, or a weighted mean at each step."""

Bridge = Literal["linear", "copy"]
"""How the state of the encoder becomes the initial one of the decoder."""

Memory = tuple[Tensor, Tensor, Tensor]
"""The mask, bool (M, S); keys (M, S, K); values (M, S, D)."""


class Alignment(nn.Module):
    """Attention weights over the positions of a source, and the mean of the source under them.

    Args:
        kind: the score of a query `q` and a position `h`: additive, `v' tanh(W_q q + W_h h)` (Bahdanau et al. 2015);
            dot, `q' h`; general, `q' W_h h` (Luong et al. 2015, section 3.1).
        query_size: features Q of the queries.
        memory_size: features D of the source.

    Raises:
        InputError: the kind is dot, and the sizes differ.
    """

    def __init__(self, kind: Literal["additive", "dot", "general"], query_size: int, memory_size: int) -> None:
        super().__init__()
        if kind == "dot" and query_size != memory_size:
            raise InputError(
                f"attention='dot' multiplies outputs of the decoder with those of the encoder, and they have "
                f"{query_size} and {memory_size} features; give both the same size, or choose general"
            )
        self.kind = kind
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size, bias=False)
            self.score = nn.Parameter(torch.empty(query_size).uniform_(-1, 1) * query_size**-0.5)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Attend with queries (B, T, Q) to M sources, M a divisor of B; rows that share one are next to each other.

        Returns the mean of the source under the weights, (B, T, D), and the weights, (B, T, S).
        """
        real, keys, values = memory
        q = query.reshape(len(real), -1, query.shape[2])  # (M, B / M * T, Q)
        if self.kind == "additive":
            scores = (self.query(q).unsqueeze(2) + keys.unsqueeze(1)).tanh() @ self.score.to(keys.dtype)
        else:
            scores = q @ keys.mT
        weights = scores.masked_fill(~real.unsqueeze(1), -torch.inf).softmax(-1)
        context = weights.to(values.dtype) @ values
        shape = query.shape[:2]
        return context.view(*shape, -1), weights.view(*shape, -1)


class Encoded(NamedTuple):
    """The memory of a decoder."""

    start: State  # the initial state of the network; an empty tuple for its own
    summary: Tensor  # one vector for each source, (M, D)
    aligned: Memory | tuple[()]  # keys and values; empty without attention


class Attentive(Backbone):
    """Any causal network as a decoder.

    The initial state of a recurrent network is computed from the summary of the source, by a linear map and a
    hyperbolic tangent (Cho et al. 2014); or, with the bridge copy, it is the last state of the encoder, a recurrent
    network with a state of the same size (Sutskever et al. 2014). At each step the decoder sees, with `attention`

    - none, nothing more (Sutskever et al. 2014); with mean likewise, but the mean of the source for a summary;
    - additive, the source under the alignment of the previous output, as an input of the step (Bahdanau et al. 2015);
    - dot or general, the source under the alignment of the output `h` of the step, which becomes
      `tanh(W [context; h])` (Luong et al. 2015).

    The state is `(state of the network, input of the next step)`.

    Args:
        network: any causal network without a memory, preferably a recurrent one.
        memory_size: features of the source.
        attention: none, mean, additive, dot or general.
        input_feeding: with none and mean, add the summary to the input of each step; with dot and general, the output
            of the previous step (Luong et al. 2015, section 3.3). Additive attention always feeds its context.
        bridge: linear or copy.
    """

    def __init__(
        self,
        network: Backbone,
        memory_size: int,
        attention: Attention = "additive",
        input_feeding: bool = False,
        bridge: Bridge = "linear",
    ) -> None:
        super().__init__()
        if bridge not in get_args(Bridge):
            raise InputError(f"bridge={bridge!r} was given; choose one of {', '.join(get_args(Bridge))}")
        if bridge == "copy" and not isinstance(network, RecurrentStack):
            raise InputError(
                f"bridge='copy' gives the decoder the state of the encoder, and {type(network).__name__} starts from "
                "none; leave it out, or take a recurrent network"
            )
        if attention not in get_args(Attention):
            raise InputError(f"attention={attention!r} was given; choose one of {', '.join(get_args(Attention))}")
        if not network.causal or network.memory_size is not None:
            raise InputError(
                f"Attentive expects a causal network without a memory of its own, got {type(network).__name__}"
            )
        state_size = network.state_size if isinstance(network, RecurrentStack) else None
        if attention in ("none", "mean") and state_size is None and not input_feeding and bridge == "linear":
            why = " and has matrices as states" if isinstance(network, RecurrentStack) else ""
            raise InputError(
                f"{type(network).__name__} cannot start from a vector{why}, and with attention={attention!r} would see "
                "nothing of the source; give input_feeding=True or another attention"
            )
        self.network, self.attention, self.input_feeding, self.bridge = network, attention, input_feeding, bridge
        self.input_size, self.output_size, self.memory_size = network.input_size, network.output_size, memory_size
        self.max_length = network.max_length
        size = network.output_size
        mapped = state_size is not None and bridge == "linear"
        self.start = nn.Linear(memory_size, state_size) if mapped else None  # type: ignore[arg-type]
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

    @property
    def stepwise(self) -> bool:
        """Whether a step needs the attention of the step before, so that positions are read one by one."""
        return self.align is not None and self.feed is not None

    def remember(self, source: Tensor, mask: Tensor, summary: Tensor, state: State = ()) -> State:
        """See `Backbone.remember`; the bridge copy also needs the state of the encoder."""
        if self.attention == "mean":
            summary = (source * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
        start = state if self.bridge == "copy" else ()
        if self.start is not None:
            start = cast(RecurrentStack, self.network).as_state(self.start(summary).tanh())
        aligned = () if self.align is None else (mask, self.align.key(source), source)
        return tuple(Encoded(start, summary, aligned))

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        y, state, _ = self._decode(x, state, mask, memory)
        return y, state

    def traced(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State, Trace]:
        """See `Backbone.traced`: the trace of the network, and the alignment as attention to the memory."""
        parts: list[Trace] = []
        y, state, weights = self._decode(x, state, mask, memory, parts)
        trace = concatenate(parts) if len(parts) > 1 else parts[0]
        if weights is not None:
            trace.cross["alignment"] = weights.unsqueeze(1)
        return y, state, trace

    def aligned(self, x: Tensor, state: State | None = None, *, memory: State) -> tuple[Tensor, State, Tensor | None]:
        """The same as `forward`, and the attention weights, (B, T, S); None without attention."""
        return self._decode(x, state, None, memory)

    def _decode(
        self,
        x: Tensor,
        state: State | None,
        mask: Tensor | None,
        memory: State | None,
        parts: list[Trace] | None = None,
    ) -> tuple[Tensor, State, Tensor | None]:
        """`aligned`, with a mask; traces of the network are appended to `parts` where given."""
        self._check(x, mask, memory)
        source = Encoded(*cast(tuple[State, ...], memory))  # type: ignore[arg-type]
        beams = len(x) // len(source.summary)
        inner, fed = self._initial(source, beams) if state is None else cast(tuple[State, State], state)
        if self.stepwise:
            return self._step_by_step(x, inner, fed, mask, source, parts)
        if self.feed is not None:
            x = x + self.feed(source.summary).repeat_interleave(beams, 0).unsqueeze(1)
        y, inner = self._run(x, inner, mask, parts)
        if self.align is None:
            return y, (inner, fed), None
        context, weights = self.align(y, source.aligned)
        y = self._corrected(y, context)
        return y if mask is None else y * mask.unsqueeze(-1), (inner, fed), weights

    def _run(
        self, x: Tensor, inner: State | None, mask: Tensor | None, parts: list[Trace] | None
    ) -> tuple[Tensor, State]:
        """Run the network, and append its trace to `parts` where given."""
        if parts is None:
            return self.network(x, inner, mask=mask)  # type: ignore[no-any-return]
        y, state, trace = self.network.traced(x, inner, mask=mask)
        parts.append(trace)
        return y, state

    def _initial(self, source: Encoded, beams: int) -> tuple[State | None, State]:
        """The network's initial state, and the input of the first step."""
        inner = None if source.start == () else repeat(source.start, beams)
        if self.attention == "additive":
            return inner, self.begin(source.summary).tanh().repeat_interleave(beams, 0)
        if self.stepwise:
            return inner, source.summary.new_zeros(len(source.summary) * beams, self.output_size)
        return inner, ()

    def _corrected(self, y: Tensor, context: Tensor) -> Tensor:
        """The output, combined with the context."""
        assert self.correct is not None
        return cast(Tensor, self.correct(torch.cat((context.to(y.dtype), y), -1)).tanh())

    def _step_by_step(
        self,
        x: Tensor,
        inner: State | None,
        before: State,
        mask: Tensor | None,
        source: Encoded,
        parts: list[Trace] | None,
    ) -> tuple[Tensor, State, Tensor]:
        """`_decode` where a step needs the attention of the step before."""
        align, feed = cast(tuple[nn.Module, nn.Module], (self.align, self.feed))
        outputs, alignments = [], []
        for t in range(x.shape[1]):
            real = None if mask is None else mask[:, t : t + 1]
            last = cast(Tensor, before).unsqueeze(1)
            if self.attention == "additive":
                context, weights = align(last, source.aligned)
                following, inner = self._run(x[:, t : t + 1] + feed(context), inner, real, parts)
                y = self._corrected(following, context)
            else:
                plain, inner = self._run(x[:, t : t + 1] + feed(last), inner, real, parts)
                context, weights = align(plain, source.aligned)
                y = following = self._corrected(plain, context)
            following = following.squeeze(1)
            before = following if real is None else where(real.squeeze(1), following, before)
            outputs.append(y if real is None else y * real.unsqueeze(-1))
            alignments.append(weights)
        return torch.cat(outputs, 1), (cast(State, inner), before), torch.cat(alignments, 1)


def aligned(
    network: Backbone, x: Tensor, state: State | None = None, *, memory: State
) -> tuple[Tensor, State, Tensor | None]:
    """The outputs and the state of a network with a memory, and its attention to it, (B, T, S); see `Backbone.forward`.

    Weights are the mean over heads and layers; None where the network does not attend to single positions.
    """
    if isinstance(network, Attentive):  # without tracing the network inside
        return network.aligned(x, state, memory=memory)
    y, state, trace = network.traced(x, state, memory=memory)
    return y, state, torch.stack(list(trace.cross.values())).mean((0, 2)) if trace.cross else None
