"""Multiplicative recurrences over a whole sequence, with a backward pass of their own.

The same as the loop over `MultiplicativeCell.advance` with fewer and larger operations: slopes of all steps at once, a
step back is two products, and the gradient of each weight is one product for all steps. Time is the first dimension;
letters as in `multiplicative`, `s = W_fh h_{t-1}`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqmodels.nn.packing import product

States = tuple[Tensor, ...]


def recur(factors: Tensor, z: Tensor, of_state: Tensor, from_factors: Tensor, state: States) -> States:
    """All states, `h` and for an LSTM `c`, (T, B, H) each; they can be differentiated once.

    Args:
        factors: of the inputs, (T, B, H).
        z: the inputs' part of the gates `i`, `f`, `g`, `o`, (T, B, 4 H), or of the candidate, (T, B, H).
        of_state: `W_fh`, (H, H).
        from_factors: `W_hf`, (4 H, H) or (H, H).
        state: before the first step, (B, H) each.
    """
    return _Recurrence.apply(factors, z, of_state, from_factors, *state)  # type: ignore[no-untyped-call,no-any-return]


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, factors: Tensor, z: Tensor, of_state: Tensor, from_factors: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        T, B, H = factors.shape
        states = tuple(tensor.new_empty(T + 1, B, H) for tensor in state)
        for tensor, start in zip(states, state, strict=True):
            tensor[0] = start
        s, a = torch.empty_like(factors), torch.empty_like(z)
        to_factors, to_gates = product(of_state, B), product(from_factors, B)
        activate, before = (_LSTM if len(state) > 1 else _Tanh)(a, *states), states[0].unbind()
        steps = zip(factors.unbind(), z.unbind(), s.unbind(), a.unbind(), strict=True)
        for t, (of_input, given, of_h, sums) in enumerate(steps):
            of_h.copy_(to_factors(before[t]))
            torch.add(given, to_gates(of_input * of_h), out=sums)
            activate(t)
        ctx.save_for_backward(factors, s, a, of_state, from_factors, *states)
        ctx.set_materialize_grads(False)
        return tuple(tensor[1:] for tensor in states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        factors, s, a, of_state, from_factors, *states = ctx.saved_tensors
        T, B, _ = factors.shape
        of_a, of_m, of_s = torch.empty_like(a), torch.empty_like(s), torch.empty_like(s)
        back = (_LSTMBack if len(states) > 1 else _TanhBack)(of_a, a, *states)
        to_m, to_h = product(from_factors.mT, B), product(of_state.mT, B)
        given = [None if gradient is None else gradient.unbind() for gradient in gradients]
        deltas = [torch.zeros_like(tensor[0]) for tensor in states]
        steps = list(zip(factors.unbind(), of_a.unbind(), of_m.unbind(), of_s.unbind(), strict=True))
        for t in reversed(range(T)):
            for delta, gradient in zip(deltas, given, strict=True):
                if gradient is not None:
                    delta.add_(gradient[t])
            of_input, gates, scaled, of_h = steps[t]
            back(t, *deltas)
            scaled.copy_(to_m(gates))
            torch.mul(scaled, of_input, out=of_h)
            deltas[0] = to_h(of_h)
        of_weights = of_s.flatten(0, 1).mT @ states[0][:-1].flatten(0, 1)
        of_maps = of_a.flatten(0, 1).mT @ (factors * s).flatten(0, 1)
        return of_m.mul_(s), of_a, of_weights, of_maps, *deltas


class _Tanh:
    """`h_t = tanh(a_t)`."""

    def __init__(self, a: Tensor, h: Tensor) -> None:
        self._a, self._h = a.unbind(), h[1:].unbind()

    def __call__(self, t: int) -> None:
        torch.tanh(self._a[t], out=self._h[t])


class _TanhBack:
    """From the gradient of `h_t` that of `a_t`."""

    def __init__(self, of_a: Tensor, a: Tensor, h: Tensor) -> None:
        self._of_a, self._slopes = of_a.unbind(), (1 - h[1:].square()).unbind()

    def __call__(self, t: int, of_h: Tensor) -> None:
        torch.mul(self._slopes[t], of_h, out=self._of_a[t])


class _LSTM:
    """Sums become gates, in place; then `c_t = f_t * c_{t-1} + i_t * g_t` and `h_t = o_t * tanh(c_t)`."""

    def __init__(self, a: Tensor, h: Tensor, c: Tensor) -> None:
        H = h.shape[-1]
        self._if, self._g, self._o = (part.unbind() for part in a.split_with_sizes([2 * H, H, H], -1))
        self._i, self._f = (part.unbind() for part in a[..., : 2 * H].chunk(2, -1))
        self._h, self._c, self._tanh = h.unbind(), c.unbind(), torch.empty_like(c[0])

    def __call__(self, t: int) -> None:
        self._if[t].sigmoid_()
        self._g[t].tanh_()
        self._o[t].sigmoid_()
        c = torch.mul(self._f[t], self._c[t], out=self._c[t + 1])
        c.addcmul_(self._i[t], self._g[t])
        torch.mul(self._o[t], torch.tanh(c, out=self._tanh), out=self._h[t + 1])


class _LSTMBack:
    """From the gradients of `h_t` and `c_t` those of `a_t` and, in place, of `c_{t-1}`."""

    def __init__(self, of_a: Tensor, a: Tensor, h: Tensor, c: Tensor) -> None:
        (T, B, H), (i, f, g, o) = h[1:].shape, a.chunk(4, -1)
        tanh = c[1:].tanh()
        of_c = a.new_empty(T, B, 3, H)  # slopes of c by the sums of i, f and g
        first, second, third = of_c.unbind(2)
        torch.mul(i, 1 - i, out=first).mul_(g)
        torch.mul(f, 1 - f, out=second).mul_(c[:-1])
        torch.mul(i, 1 - g.square(), out=third)
        of_o = (1 - o).mul_(o).mul_(tanh)
        direct = tanh.square_().neg_().add_(1).mul_(o)  # slopes of h by c
        self._of_c, self._of_o, self._direct, self._f = of_c.unbind(), of_o.unbind(), direct.unbind(), f.unbind()
        self._of_ifg = of_a.view(T, B, 4, H)[:, :, :3].unbind()
        self._of_last = of_a[..., 3 * H :].unbind()

    def __call__(self, t: int, of_h: Tensor, of_c: Tensor) -> None:
        torch.mul(self._of_o[t], of_h, out=self._of_last[t])
        of_c.addcmul_(of_h, self._direct[t])
        torch.mul(self._of_c[t], of_c.unsqueeze(1), out=self._of_ifg[t])
        of_c.mul_(self._f[t])
