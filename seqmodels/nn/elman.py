"""The whole sequence of vanilla recurrent networks, several of them at once, with a backward pass written out.

Torch's own kernel on a CPU records every step for the backward pass, which for small networks takes several times as
long as the arithmetic. Here a step back is one multiplication of matrices, and the gradient of the weights is one for
all steps together.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.nn.trace import Unrolled


def elman(z: Tensor, start: Tensor, weights: Tensor, relu: bool) -> Tensor:
    """`h_t = f(W h_{t-1} + z_t)` for N networks with B rows each.

    Args:
        z: what the inputs say, (N, B, T, H).
        start: the state before the first step, (N, B, H).
        weights: W of each network, (N, H, H).
        relu: whether f is ReLU rather than the hyperbolic tangent.

    Returns:
        All states, (N, B, T, H). They can be differentiated once.
    """
    return _Elman.apply(z, start, weights, relu)  # type: ignore[no-any-return,no-untyped-call]


class ElmanUnrolled(Unrolled):
    """What happened in a layer that was run by `elman`: the gradients of its states are found by one of its inputs.

    Args:
        cell: the cell.
        inputs: what it read, (B, T, D).
        z: what went into the nonlinearity beside the state, (B, T, H).
        h: the states, (B, T, H).
        weights: of each network, (N, H, H).
    """

    def __init__(self, cell: Any, inputs: Tensor, z: Tensor, h: Tensor, weights: Tensor) -> None:
        states: list[tuple[Tensor, ...]] = [(state,) for state in h.unbind(1)]
        super().__init__(cell, inputs, states, [{}] * h.shape[1], states)
        self.z, self.h, self.weights = z, h, weights

    def over_time(self) -> tuple[Tensor, ...]:
        return (self.h,)

    def deltas(self, error: Tensor) -> tuple[Tensor, ...]:
        """`dL/dh_t`: what the outputs say of it directly, and what comes back from the step after it."""
        direct, within = torch.autograd.grad(
            error, [self.h, self.z], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        by_network = within[:, 1:].reshape(len(self.weights), -1, within.shape[2])
        later = (by_network @ self.weights.detach()).view_as(within[:, 1:])
        return (direct + F.pad(later, (0, 0, 0, 1)),)


class _Elman(torch.autograd.Function):
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
            slope.mul_(delta)  # now the gradient of what enters the nonlinearity
            before.baddbmm_(slope, weights)
        by_network = slopes.permute(1, 0, 2, 3).flatten(1, 2)
        of_weights = by_network.mT @ states[:-1].permute(1, 0, 2, 3).flatten(1, 2)
        return slopes.permute(1, 2, 0, 3), deltas[0], of_weights, None
