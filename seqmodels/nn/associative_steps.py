"""One step after another of an associative cell, in place, with few operations: for generation.

All that no step changes is computed once. With a short convolution, the last inputs lie in a ring whose weights turn
with it, so nothing moves; what is not convolved has weights there that are zero but for the current input, and biases
are the weights of a slot of ones.
"""

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.nn.associative import AssociativeCell, Terms, by_head, unit
from seqmodels.nn.cell import CellState
from seqmodels.nn.chunkwise import recurrent_
from seqmodels.nn.short_convolution import ShortConvolution
from seqmodels.state import select


class AssociativeSteps:
    """Steps of B rows. The given state is not changed."""

    def __init__(self, cell: AssociativeCell, state: CellState) -> None:
        self._cell, self._plan = cell, cell.plan()
        self._plain_recall = type(cell).recall is AssociativeCell.recall
        scale, shift = self._plan.scale, self._plan.shift
        self._least = scale.new_tensor([[[1e-6]]])
        weight, convolution = cell.projection.weight, cell.convolution
        if convolution is None:
            factors = torch.cat((weight.new_ones(cell.mixed), scale))
            self._bias = torch.cat((weight.new_zeros(cell.mixed), shift))
            self._projection = (weight * factors.unsqueeze(1)).mT.contiguous()
        else:
            self._projection = weight.mT.contiguous()
            self._turned = _turned(convolution, scale, shift)
        self._out = self._plan.out.mT.contiguous()
        memory = state[1 : 1 + len(cell.memory_shapes)]
        if self._plain_recall:  # heads of a group side by side, (B, G, K, heads * V): their keys are not repeated
            S = memory[0].contiguous()
            by_group = S.view(len(S), cell.groups, -1, *S.shape[2:]).transpose(2, 3)
            memory = (by_group.flatten(3),)
        self._bind(memory, state[1 + len(memory) :])

    def _bind(self, memory: CellState, before: CellState) -> None:
        """Room for as many rows as a memory and the last inputs of a convolution have, and views of its parts."""
        cell, B = self._cell, len(memory[0])
        self.memory = tuple(t.clone(memory_format=torch.contiguous_format) for t in memory)
        total = sum(cell.parts)
        self._features = memory[0].new_empty(B, total)
        if cell.convolution is not None:
            W = cell.convolution.width
            self._ring = memory[0].new_zeros(W + 1, B, total)
            self._ring[: W - 1, :, : cell.mixed] = before[0].transpose(0, 1)
            self._ring[W] = 1
            self._slots, self._at, self._products = self._ring.unbind(), W - 2, torch.empty_like(self._ring)
        mixed, *rest = self._features.unsqueeze(1).split_with_sizes(cell.parts, -1)
        qk, v = mixed.split_with_sizes([2 * cell.groups * cell.key_size, cell.heads * cell.value_size], -1)
        self._mixed, self._rest = mixed, tuple(rest)
        self._qk, self._v = by_head(qk, 2 * cell.groups), by_head(v, cell.heads)  # views, (B, 1, heads, features)

    def __call__(self, x: Tensor, h: Tensor) -> Tensor:
        """`x` and the output for the input `h`, (B, D) both."""
        cell, plan = self._cell, self._plan
        if cell.convolution is None:
            torch.addmm(self._bias, h, self._projection, out=self._features)
        else:
            self._at = (self._at + 1) % cell.convolution.width
            torch.mm(h, self._projection, out=self._slots[self._at])
            torch.mul(self._ring, self._turned[self._at], out=self._products)
            torch.sum(self._products, 0, out=self._features)
            F.silu(self._mixed, inplace=True)
        qk = unit(self._qk, self._least) if cell.normalized else self._qk
        q, k = qk.chunk(2, 2)
        terms = plan.terms(q, k, self._v, self._rest)
        if self._plain_recall:
            o = self._written(terms)
        else:
            o, following = cell.recall(terms, self.memory, recurrent_)
            for own, tensor in zip(self.memory, following, strict=True):
                if own is not tensor:
                    own.copy_(tensor)
        return torch.addmm(x, plan.readout(o, terms, self._rest).squeeze(1), self._out)

    def _written(self, terms: Terms) -> Tensor:
        """What is read after the memory has decayed and has been written, (B, 1, H, V); it is overwritten."""
        q, k, v, a, beta = terms
        B, G, K, width = self.memory[0].shape
        memory = self.memory[0].view(B * G, K, width)
        if a.ndim == 4:
            memory.mul_(a.reshape(B * G, K, 1))
        else:
            memory.view(B * G, K, -1, v.shape[3]).mul_(a.reshape(B * G, 1, -1, 1))
        query, key, value = q.reshape(B * G, 1, K), k.reshape(B * G, 1, K), v.reshape(B * G, 1, width)
        if self._cell.delta:
            value = torch.baddbmm(value, key, memory, alpha=-1)
        value = (value.view(v.shape) * beta.unsqueeze(-1)).view(B * G, 1, width)
        memory.baddbmm_(key.mT, value)
        return torch.bmm(query, memory).view(v.shape)

    def select(self, rows: Tensor) -> None:
        """Continue with the given rows, (N,), in their order."""
        before: CellState = ()
        if self._cell.convolution is not None:
            W = self._cell.convolution.width
            last = [(self._at + age) % W for age in range(2, W + 1)]  # the oldest first
            before = (self._ring[last][:, rows, : self._cell.mixed].transpose(0, 1),)
        self._bind(cast(CellState, select(self.memory, rows)), before)


def _turned(convolution: ShortConvolution, scale: Tensor, shift: Tensor) -> list[Tensor]:
    """Weights of the slots of a ring, (W + 1, 1, features), for each slot that may be the current one."""
    W, taps = convolution.width, convolution.weight.squeeze(1).mT  # (W, convolved), the current one last
    none = taps.new_zeros(W - 1, len(scale))
    taps = torch.cat((taps, torch.cat((none, scale[None]))), 1)
    bias = taps.new_zeros(convolution.weight.shape[0]) if convolution.bias is None else convolution.bias
    ones = torch.cat((bias, shift))[None]
    return [torch.cat((taps.roll(at + 1, 0), ones)).unsqueeze(1) for at in range(W)]
