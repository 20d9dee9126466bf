"""Recurrent layers unrolled in time, for gradients with respect to their states and through single steps.

The vanilla RNN has a kernel for it. On a CPU, torch's kernel records every step for the backward pass, which takes
small networks several times as long as the arithmetic. Here a step back is one matrix product, and the gradient of the
weights is one product for all steps.
"""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone
from seqmodels.nn.cell import Cell, CellState
from seqmodels.nn.dropout import variational_dropout
from seqmodels.nn.recurrent import RecurrentStack
from seqmodels.nn.rnn_lstm_gru import RNNCell
from seqmodels.state import State, where


@dataclass
class Unrolled:
    """The states of one layer at T positions, with its cell and its inputs, (B, T, D)."""

    cell: Cell
    inputs: Tensor
    states: list[CellState]
    """The state after each position, on the path of the gradient from later outputs to earlier inputs. Its tensors are
    independent of each other: a gradient with respect to `c` does not pass through `h` of the same position."""
    computed: list[CellState]
    """The states as `Cell.advance` returned them: a gradient with respect to `c` is the total one, through `h`, too.
    Undefined at padding."""

    def over_time(self) -> CellState:
        """The states of all positions, (B, T, H) for each of their tensors."""
        return tuple(torch.stack(tensors, 1) for tensors in zip(*self.states, strict=True))

    def deltas(self, loss: Tensor) -> CellState:
        """`dL/dh_t`, and `dL/dc_t` where there is one, at all positions: (B, T, H) each."""
        kinds = len(self.states[0])
        flat = [tensor for state in self.states for tensor in state]
        moving = [number for number, tensor in enumerate(flat) if tensor.requires_grad]  # all but stabilisers
        gradients = torch.autograd.grad(
            loss, [flat[number] for number in moving], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        found = [torch.zeros_like(tensor) for tensor in flat]
        for number, gradient in zip(moving, gradients, strict=True):
            found[number] = gradient
        return tuple(torch.stack(found[kind::kinds], 1) for kind in range(kinds))


def unroll(
    network: Backbone, x: Tensor, state: State | None = None, mask: Tensor | None = None, *, fused: bool = False
) -> tuple[Tensor, list[Unrolled]]:
    """The outputs of a stack of recurrent layers, step by step, and the states that they were computed through.

    Arguments as of `Backbone.forward`; `fused` lets layers without padding run in one kernel, see `unroll_fused`.

    Returns:
        Outputs (B, T, output_size), and the states of each layer, from the first to the last.

    Raises:
        InputError: the network is no stack of recurrent layers.
    """
    if not isinstance(network, RecurrentStack):
        raise InputError(f"{type(network).__name__} is no stack of recurrent layers and cannot be unrolled")
    layers: list[Unrolled] = []
    starts = cast(tuple[CellState, ...], network.initial_state(len(x)) if state is None else state)
    for cell, start in zip(network.cells, starts, strict=True):
        if layers:
            x = variational_dropout(x, network.dropout, network.training)
        layers.append(unroll_fused(cell, x, start) if fused and mask is None else unroll_cell(cell, x, start, mask))
        x = layers[-1].over_time()[0]
    return x if mask is None else x * mask.unsqueeze(-1), layers


def unroll_cell(cell: Cell, x: Tensor, state: CellState, mask: Tensor | None = None) -> Unrolled:
    """One layer by its cell's equation, on inputs (B, T, D); padding, where `mask` is False, keeps its state."""
    weights = cell.weights()
    layer = Unrolled(cell, x, [], [])
    for t, z in enumerate(cell.project(x).unbind(1)):
        following = cell.advance(z, state, weights)
        layer.computed.append(following)
        if mask is not None:
            following = cast(CellState, where(mask[:, t], following, state))
        state = tuple(tensor.view_as(tensor) for tensor in following)
        layer.states.append(state)
    return layer


@singledispatch
def unroll_fused(cell: Cell, x: Tensor, state: CellState) -> Unrolled:
    """One layer by the fastest implementation for its cell.

    Its single states need not be on the path of the gradient; `Unrolled.deltas` finds their gradients all the same.
    """
    return unroll_cell(cell, x, state)


@unroll_fused.register
def _(cell: RNNCell, x: Tensor, state: CellState) -> Unrolled:
    weights = tuple(weight.unsqueeze(0) for weight in cell.weights())
    return unroll_elman(cell, x, cell.project(x), state, weights, cell.nonlinearity is torch.relu)


@singledispatch
def step_vjp(cell: Cell, z: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState) -> CellState:
    """The vector-Jacobian product of one step: `delta` times the derivative of the next state by the state before.

    It is a function of the weights alone; the state before the step is a constant. Arguments are as of `Cell.advance`,
    with any number of dimensions before the last, and `delta`, the gradient with respect to the next state.
    """
    with torch.enable_grad():
        before = tuple(tensor.detach().requires_grad_() for tensor in state)
        after = cell.advance(z.detach(), before, weights)
        moving = [number for number, tensor in enumerate(after) if tensor.requires_grad]  # all but stabilisers
        return torch.autograd.grad(
            [after[number] for number in moving], before, [delta[number] for number in moving],
            create_graph=True, allow_unused=True, materialize_grads=True,
        )  # fmt: skip


@step_vjp.register
def _(cell: RNNCell, z: Tensor, state: CellState, weights: tuple[Tensor, ...], delta: CellState) -> CellState:
    """`(delta * f'(a)) W_rec`, with the slope of `f` a constant, too (Pascanu et al. 2013)."""
    with torch.no_grad():
        (h,) = cell.advance(z, state, weights)
        slope = 1 - h.square() if cell.nonlinearity is torch.tanh else (h > 0).to(h.dtype)
    return ((delta[0] * slope) @ weights[0],)


def unroll_elman(
    cell: Cell, x: Tensor, z: Tensor, state: CellState, weights: tuple[Tensor, ...], relu: bool
) -> Unrolled:
    """A vanilla layer in one kernel, or N of them in one batch. Their states can be differentiated once.

    From inputs (N * B, T, D), the result of `Cell.project`, (N * B, T, H), the state before the first step, (N * B, H),
    recurrent matrices (N, H, H) and biases (N, H), with ReLU or else the hyperbolic tangent.
    """
    recurrent, bias = weights
    N, H = bias.shape
    z = z + bias.repeat_interleave(len(z) // N, 0).unsqueeze(1)
    h = _Elman.apply(z.view(N, -1, *z.shape[1:]), state[0].view(N, -1, H), recurrent, relu)  # type: ignore[no-untyped-call]
    return _ElmanLayer(cell, x, z, h.flatten(0, 1), recurrent)


class _ElmanLayer(Unrolled):
    """A layer that was run by `_Elman`: gradients of its states follow from the gradient of `z`."""

    def __init__(self, cell: Cell, inputs: Tensor, z: Tensor, h: Tensor, weights: Tensor) -> None:
        states: list[CellState] = [(state,) for state in h.unbind(1)]
        super().__init__(cell, inputs, states, states)
        self.z, self.h, self.weights = z, h, weights

    def over_time(self) -> CellState:
        return (self.h,)

    def deltas(self, loss: Tensor) -> CellState:
        """`dL/dh_t`: the part from the output of the step, and the part from the step after it."""
        direct, within = torch.autograd.grad(
            loss, [self.h, self.z], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        by_network = within[:, 1:].reshape(len(self.weights), -1, within.shape[2])
        later = (by_network @ self.weights.detach()).view_as(within[:, 1:])
        return (direct + F.pad(later, (0, 0, 0, 1)),)


class _Elman(torch.autograd.Function):
    """`h_t = f(W h_{t-1} + z_t)`: `z` (N, B, T, H), initial states (N, B, H) and W (N, H, H) to states (N, B, T, H)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, start: Tensor, weights: Tensor, relu: bool) -> Tensor:
        states = torch.cat((start.unsqueeze(0), z.permute(2, 0, 1, 3)))  # time first: (T + 1, N, B, H), a copy
        transposed = weights.mT.contiguous()
        for before, after in zip(states[:-1].unbind(), states[1:].unbind(), strict=True):
            after.baddbmm_(before, transposed)
            after.relu_() if relu else after.tanh_()
        ctx.save_for_backward(states, weights)
        ctx.relu = relu
        return states[1:].permute(1, 2, 0, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, weights = ctx.saved_tensors
        slopes = (states[1:] > 0).to(states.dtype) if ctx.relu else 1 - states[1:].square()
        deltas = torch.cat((torch.zeros_like(states[:1]), gradient.permute(2, 0, 1, 3)))  # of the start, too
        steps = zip(deltas[:-1].unbind(), deltas[1:].unbind(), slopes.unbind(), strict=True)
        for before, delta, slope in reversed(list(steps)):
            slope.mul_(delta)  # now the gradient of z
            before.baddbmm_(slope, weights)
        by_network = slopes.permute(1, 0, 2, 3).flatten(1, 2)
        of_weights = by_network.mT @ states[:-1].permute(1, 0, 2, 3).flatten(1, 2)
        return slopes.permute(1, 2, 0, 3), deltas[0], of_weights, None
