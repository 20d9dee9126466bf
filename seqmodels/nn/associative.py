"""The cell of all networks whose state is an associative memory: projections, a short convolution, and the memory.

A network is the terms of its recurrence (`terms`) and what becomes of its outputs (`readout`).
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.cell import Cell, CellState, last_output
from seqmodels.nn.chunkwise import Kernel, fastest, recurrent
from seqmodels.nn.min_gru import precise
from seqmodels.nn.norms import RMSNorm, unit_length
from seqmodels.nn.short_convolution import ShortConvolution
from seqmodels.state import where

Rest = tuple[Tensor, ...]
"""Features of the input beside queries, keys and values, part by part, (B, T, ...) each."""


class Terms(NamedTuple):
    """What a recurrence needs at every position; shapes as in `chunkwise.recurrent`."""

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor
    beta: Tensor


class Plan(NamedTuple):
    """What steps in place need of a cell, with all that no step changes computed once; see `nn/associative_steps.py`.

    The other parts of the features, R together, are scaled and shifted before they are given to the functions.
    """

    scale: Tensor
    """(R,)."""
    shift: Tensor
    """(R,)."""
    terms: Callable[[Tensor, Tensor, Tensor, Rest], Terms]
    """As `AssociativeCell.terms`; if `recall` is the usual one, with decays rather than their logarithms."""
    readout: Callable[[Tensor, Terms, Rest], Tensor]
    """As `AssociativeCell.readout`, for the matrix `out`."""
    out: Tensor
    """(D, H * V)."""


class AssociativeCell(Cell):
    """An associative memory from keys to values, read by queries; see `nn/chunkwise.py`.

    The state is `(h, S)` and, with a convolution, its last inputs: the output (B, D), which the next step does not
    need, the memory (B, H, K, V), and (B, W - 1, convolved).

    Args:
        input_size: features D of the inputs.
        hidden_size: features of the outputs.
        num_heads: heads H.
        groups: groups G of heads with the same queries and keys.
        key_size: features K of a key.
        value_size: features V of a value.
        rest: numbers of features beside queries, keys and values, part by part.
        convolution: positions that the short convolution sees; 0 for none.
    """

    delta = False
    """Whether the memory is written by the delta rule."""
    by_key = False
    """Whether decays are those of features of a key rather than of heads."""
    normalized = False
    """Whether queries and keys are scaled to length 1."""
    convolution_bias = False
    highway: str | None = "a"
    state_names = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        num_heads: int,
        groups: int | None = None,
        key_size: int,
        value_size: int,
        rest: tuple[int, ...],
        convolution: int = 0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if min(num_heads, key_size, value_size) < 1 or convolution < 0 or convolution == 1:
            raise InputError(
                f"{type(self).__name__} expects heads and sizes of at least 1 and a convolution of at least 2 "
                f"positions, or 0 for none, got num_heads={num_heads}, key_size={key_size}, value_size={value_size}, "
                f"convolution={convolution}"
            )
        groups = num_heads if groups is None else groups
        self.heads, self.groups, self.key_size, self.value_size = num_heads, groups, key_size, value_size
        self.mixed = 2 * groups * key_size + num_heads * value_size
        """Features of queries, keys and values together."""
        self.parts = [self.mixed, *rest]
        self.projection = nn.Linear(input_size, sum(self.parts), bias=False)
        self.convolution = ShortConvolution(self.mixed, convolution, self.convolution_bias) if convolution else None
        self.out = nn.Linear(num_heads * value_size, hidden_size, bias=False)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        memory = (self.hidden_size,), *self.memory_shapes
        return memory if self.convolution is None else (*memory, (self.convolution.width - 1, self.mixed))

    @property
    def memory_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the memory's tensors."""
        return ((self.heads, self.key_size, self.value_size),)

    @property
    def vector_size(self) -> None:
        return None

    @abstractmethod
    def terms(self, q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
        """The terms of the recurrence from q, k and v, (B, T, heads, features) each, and the other parts."""

    @abstractmethod
    def readout(self, o: Tensor, terms: Terms, rest: Rest) -> Tensor:
        """The inputs of the last projection, (B, T, H * V), from what was read, (B, T, H, V)."""

    def recall(self, terms: Terms, memory: CellState, kernel: Kernel) -> tuple[Tensor, CellState]:
        """What is read from the memory at each position, (B, T, H, V), and the memory after the last."""
        o, S = kernel(*terms, memory[0], delta=self.delta)
        return o, (S,)

    def plan(self) -> Plan:
        """The parts of a step in place, without gradients."""

        def terms(q: Tensor, k: Tensor, v: Tensor, rest: Rest) -> Terms:
            found = self.terms(q, k, v, rest)
            return found._replace(decay=found.decay.exp()) if usual else found

        usual, ones = type(self).recall is AssociativeCell.recall, self.out.weight.new_ones(sum(self.parts[1:]))
        return Plan(ones, torch.zeros_like(ones), terms, self.readout, self.out.weight)

    def project(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.projection(x))

    def advance(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> CellState:
        return self._run(projected.unsqueeze(1), state, None, recurrent)[1]

    def advance_(self, projected: Tensor, state: CellState, kernel: Kernel) -> CellState:
        """The same by another kernel for a single step, which may overwrite the memory."""
        return self._run(projected.unsqueeze(1), state, None, kernel)[1]

    def sequence(self, x: Tensor, state: CellState, lengths: Tensor | None = None) -> tuple[Tensor, CellState]:
        """See `Cell.sequence`: in chunks."""
        return self._run(self.project(x), state, lengths, fastest(x.device.type, self.delta, self.by_key))

    def _run(
        self, projected: Tensor, state: CellState, lengths: Tensor | None, kernel: Kernel
    ) -> tuple[Tensor, CellState]:
        terms, rest, before = self._terms(projected, state, lengths)
        if lengths is not None:  # at padding nothing decays and nothing is written
            beyond = torch.arange(projected.shape[1], device=projected.device) >= lengths[:, None]
            terms = self.masked(terms, beyond)
        given = state[1 : 1 + len(self.memory_shapes)]
        with full_precision(terms.q):
            o, memory = self.recall(terms, given, kernel)
        if lengths is not None:
            memory = cast(CellState, where(lengths > 0, memory, given))
        y = cast(Tensor, self.out(self.readout(o, terms, rest).to(projected.dtype)))
        return y, (last_output(y, lengths, state[0]), *memory, *before)

    def masked(self, terms: Terms, beyond: Tensor) -> Terms:
        """The terms with steps that change nothing at padding, where `beyond`, bool (B, T), is true."""
        hidden = beyond.unsqueeze(-1)
        decay = terms.decay.masked_fill(hidden.unsqueeze(-1) if terms.decay.ndim == 4 else hidden, 0.0)
        return terms._replace(decay=decay, beta=terms.beta.masked_fill(hidden, 0.0))

    def _terms(
        self, projected: Tensor, state: CellState, lengths: Tensor | None
    ) -> tuple[Terms, Rest, tuple[Tensor, ...]]:
        """Terms, other parts, and the last inputs of the convolution, if there is one."""
        mixed, *others = projected.split_with_sizes(self.parts, -1)
        before: tuple[Tensor, ...] = ()
        if self.convolution is not None:
            mixed, kept = self.convolution(mixed, state[-1], lengths)
            mixed, before = F.silu(mixed), (kept,)
        # In single precision at least: sums and products over many steps.
        mixed, rest = precise(mixed), tuple(precise(part) for part in others)
        keys = self.groups * self.key_size
        qk, v = mixed.split_with_sizes([2 * keys, self.heads * self.value_size], -1)
        qk = by_head(qk, 2 * self.groups)
        if self.normalized:
            qk = unit_length(qk, 1e-6)
        q, k, v = *qk.chunk(2, -2), by_head(v, self.heads)
        with full_precision(q):
            return self.terms(q, k, v, rest), rest, before

    def gates(self, projected: Tensor, state: CellState, weights: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The decay `a` and the writing strength `beta` of each head, or the decay of each feature of its keys."""
        terms, _, _ = self._terms(projected.unsqueeze(1), state, None)
        return {"a": terms.decay.exp().flatten(1), "beta": terms.beta.flatten(1)}

    def norms(self, projected: Tensor, state: CellState, following: CellState) -> dict[str, Tensor]:
        """Lengths of keys, and norms of the memory, of each head."""
        terms, _, _ = self._terms(projected.unsqueeze(1), state, None)
        return {"k": terms.k.squeeze(1).norm(dim=-1), "S": following[1].flatten(2).norm(dim=-1)}


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Without autocast, which would round products over many steps."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def unit(x: Tensor, least: Tensor) -> Tensor:
    """`x / sqrt(|x|^2 + least)` over the last dimension, `least` (1, 1, 1)."""
    rows = x.reshape(-1, 1, x.shape[-1])
    return (rows * torch.baddbmm(least, rows, rows.mT).rsqrt_()).view(x.shape)


def gated_unit(norm: RMSNorm, out: Tensor) -> tuple[Callable[[Tensor, Terms, Rest], Tensor], Tensor]:
    """`rms(o, norm)`, gated by SiLU of the first other part, before the matrix `out`: a readout, and another matrix."""
    (size,) = norm.normalized_shape
    least = out.new_tensor([[[size * cast(float, norm.eps)]]])
    weight = (norm.weight * size**0.5).repeat(out.shape[1] // size)
    return lambda o, _, rest: unit(o, least).flatten(2) * F.silu(rest[0]), out * weight


def by_head(x: Tensor, heads: int) -> Tensor:
    """Features (..., heads * size) as (..., heads, size)."""
    return x.reshape(*x.shape[:-1], heads, -1)


def initial_steps(heads: int, shortest: float = 1e-3, longest: float = 0.1) -> Tensor:
    """Biases (H,) with which softplus gives steps between these, uniform in their logarithm (Gu and Dao 2023)."""
    steps = torch.empty(heads).uniform_(math.log(shortest), math.log(longest)).exp()
    return steps + (-(-steps).expm1()).log()
