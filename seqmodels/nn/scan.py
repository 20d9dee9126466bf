"""The linear recurrence `h_t = a_t * h_{t-1} + b_t`, in parallel over time."""

import math
from typing import Any

import torch
from torch import Tensor

ENOUGH = 1 << 12
"""Features of a step, over all rows, from which on a processor gains nothing by taking several steps at once."""


def scan(a: Tensor, b: Tensor, start: Tensor, pieces: int | None = None) -> Tensor:
    """All states of the recurrence `h_t = a_t * h_{t-1} + b_t` (Martin and Cundy 2018), feature by feature.

    Time is cut into pieces that run side by side, each as if it began at zero; then the states at their ends are passed
    on from piece to piece and added in. With T pieces of one step or one piece of T steps that is a plain loop; with
    sqrt(T) pieces it takes 2 sqrt(T) steps one after the other, however many there are.

    Args:
        a: factors (B, T, D); up to 1 in size, or products over a piece may overflow.
        b: summands (B, T, D).
        start: the state before the first step, (B, D).
        pieces: how many; where not given, one on a processor that a single step keeps busy, else sqrt(T).

    Returns:
        h: (B, T, D), in double precision where `b` is, else in single precision.
    """
    dtype = torch.float64 if b.dtype == torch.float64 else torch.float32  # a sum of many steps
    B, T, D = b.shape
    if pieces is None:
        pieces = 1 if b.device.type == "cpu" and B * D >= ENOUGH else math.isqrt(T)
    return _Scan.apply(a.to(dtype), b.to(dtype), start.to(dtype), pieces)  # type: ignore[no-any-return,no-untyped-call]


class _Scan(torch.autograd.Function):
    """The gradient of the recurrence is the same recurrence, backwards in time: `g_t = dL/dh_t + a_{t+1} * g_{t+1}`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, pieces: int) -> Tensor:
        h = _forwards(a, b, start, pieces)
        ctx.save_for_backward(a, h, start)
        ctx.pieces = pieces
        return h

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, h, start = ctx.saved_tensors
        factors = torch.cat((a[:, 1:], torch.zeros_like(a[:, :1])), 1).flip(1)
        g = _Scan.apply(factors, gradients[0].flip(1), torch.zeros_like(start), ctx.pieces).flip(1)  # type: ignore[no-untyped-call]
        before = torch.cat((start.unsqueeze(1), h[:, :-1]), 1)
        return g * before, g, g[:, 0] * a[:, 0], None


def _forwards(a: Tensor, b: Tensor, start: Tensor, pieces: int) -> Tensor:
    B, T, D = b.shape
    length = -(-T // pieces)
    if missing := length * pieces - T:  # steps after the last, which nobody reads
        a, b = (torch.cat((tensor, tensor.new_zeros(B, missing, D)), 1) for tensor in (a, b))
    a, b = a.view(B, -1, length, D), b.view(B, -1, length, D)
    h = torch.empty_like(b)
    h[:, :, 0] = b[:, :, 0]
    h[:, 0, 0] += a[:, 0, 0] * start
    for t in range(1, length):
        torch.addcmul(b[:, :, t], a[:, :, t], h[:, :, t - 1], out=h[:, :, t])
    if pieces > 1:
        products = a.cumprod(2)
        for piece in range(1, a.shape[1]):
            h[:, piece].addcmul_(products[:, piece], h[:, piece - 1, -1:])
    return h.view(B, -1, D)[:, :T]
