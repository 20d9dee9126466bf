"""Softmax layer and cross-entropy in one, which never hold the logits of a whole batch."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqmodels.batch import IGNORE

LOGITS = 2**23
"""How many are held at a time: 32 MiB in single precision."""


def linear_nats(
    y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float = 0.0, logits: int = LOGITS
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `y @ weight.T + bias`, summed over the targets that count, in nats.

    It is `summed_nats` of the logits, and `smoothed_nats`, with the gradients computed on the way: logits are made for
    some rows at a time, and are gone when the next ones are made. Products are in the precision of autocast where that
    is on, logarithms and sums in single precision at least. There are no second derivatives.

    Args:
        y: what the softmax layer reads, (B, T, D).
        weight: of the softmax layer, (V, D).
        bias: of it, (V,).
        targets: int64 (B, T), IGNORE where nothing is scored.
        smoothing: share of the probability that is spread over all tokens (Szegedy et al. 2016).
        logits: how many are held at a time, at least one row.

    Returns:
        What is to be minimised, with smoothing, and the same without, which has no gradient.
    """
    device = y.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else y.dtype
    rows = max(1, logits // len(weight))
    flat = y.flatten(0, -2), targets.flatten()
    objective, nats = _LinearNats.apply(flat[0], weight, bias, flat[1], smoothing, rows, dtype)  # type: ignore[no-untyped-call]
    return objective, nats


class _LinearNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        smoothing: float,
        rows: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        learning, exact = any(ctx.needs_input_grad), torch.promote_types(dtype, torch.float32)
        with torch.autocast(y.device.type, enabled=False):
            y, w, b = y.to(dtype), weight.to(dtype), bias.to(dtype)
            dy, dw, db = torch.empty_like(y), torch.zeros_like(weight), torch.zeros_like(bias)
            nats = spread = torch.zeros((), dtype=exact, device=y.device)
            parts = (torch.split(tensor, rows) for tensor in (y, dy, targets))
            for part, down, target in zip(*parts, strict=True):
                logs = torch.addmm(b, part, w.T).to(exact).log_softmax(-1)
                scored = (target != IGNORE).to(exact).unsqueeze(1)
                target = target.clamp(min=0).unsqueeze(1)
                nats = nats - (logs.gather(1, target) * scored).sum()
                if smoothing:
                    spread = spread - (logs.mean(1, keepdim=True) * scored).sum()
                if learning:
                    p = logs.exp_()
                    if smoothing:
                        p -= smoothing / p.shape[1]
                    p.scatter_add_(1, target, torch.full_like(scored, smoothing - 1))
                    p = p.mul_(scored).to(dtype)
                    torch.mm(p, w, out=down)
                    if dw.dtype == dtype:
                        dw.addmm_(p.T, part)
                    else:
                        dw += p.T @ part
                    db += p.sum(0)
        if learning:
            ctx.save_for_backward(dy, dw, db)
        ctx.mark_non_differentiable(nats)
        return (1 - smoothing) * nats + smoothing * spread, nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_objective: Tensor, _: Tensor) -> Any:
        dy, dw, db = ctx.saved_tensors
        return dy * d_objective.to(dy.dtype), dw * d_objective, db * d_objective, None, None, None, None
