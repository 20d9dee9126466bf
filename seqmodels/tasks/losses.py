"""The objective of a training step; softmax layer and cross-entropy in one, without the logits of a whole batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seqmodels.batch import IGNORE
from seqmodels.metrics import summed_nats
from seqmodels.state import State
from seqmodels.tasks.sampled_softmax import sampled_nats

LOGITS = 2**23
"""Logits held at a time on a CPU: 32 MiB in single precision."""
LOGITS_OF_GPU = 2**28
"""Logits held at a time on a GPU, which needs large products."""
EVEN = 64
"""Divisor of the sides of a product on a GPU: others take up to four times as long."""


class Losses(NamedTuple):
    """The result of a training step's forward pass."""

    objective: Tensor
    """Cross-entropy, with label smoothing if any, summed over the targets of a batch."""
    nats: Tensor
    """Cross-entropy without label smoothing, summed likewise."""
    penalty: Tensor | float
    """Added to the mean of the objective; a mean over this rank."""
    state: State
    """State after the batch."""


def scored(
    y: Tensor,
    head: nn.Module,
    targets: Tensor,
    smoothing: float,
    compiled: bool = False,
    candidates: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Objective and nats, see `Losses`, of the inputs `y` of the softmax layer `head`; arguments as of `linear_nats`.

    It computes in pieces, compiled where asked for, if logits are many and not capped; over some of the tokens, see
    `sampled_nats`, where `candidates` are given.
    """
    if candidates is not None and type(head) is nn.Linear:
        nats = sampled_nats(y, head.weight, head.bias, targets, candidates)
        return nats, nats.detach()
    if type(head) is nn.Linear and targets.numel() * head.out_features > LOGITS:
        return linear_nats(y, head.weight, head.bias, targets, smoothing, compiled=compiled)
    return scored_logits(head(y), targets, smoothing)


def scored_logits(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """`scored`, of logits (B, T, V)."""
    nats, _ = summed_nats(logits, targets)
    return summed_nats(logits, targets, smoothing)[0] if smoothing else nats, nats


def linear_nats(
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    smoothing: float = 0.0,
    logits: int | None = None,
    compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of `y @ weight.T + bias`, summed over the targets that count, in nats.

    `summed_nats` of the logits, with and without smoothing, and gradients computed in the forward pass: logits exist
    for some rows at a time. Products are in the precision of autocast, logarithms and sums in single precision at
    least. There are no second derivatives.

    Args:
        y: inputs of the softmax layer, (B, T, D).
        weight: its matrix, (V, D).
        bias: its bias, (V,).
        targets: int64 (B, T), IGNORE where nothing is scored.
        smoothing: label smoothing (Szegedy et al. 2016).
        logits: logits held at a time, at least one row; by default, a number that suits the device.
        compiled: compile the operations on logits.

    Returns:
        The objective with smoothing, and the same without, which has no gradient.
    """
    device = y.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else y.dtype
    if logits is None:
        logits = LOGITS_OF_GPU if y.is_cuda else LOGITS
    pieces = -(-targets.numel() // max(1, logits // len(weight)))
    rows = -(-targets.numel() // pieces)  # pieces of equal size
    objective, nats = _LinearNats.apply(  # type: ignore[no-untyped-call]
        y.flatten(0, -2), weight, bias, targets.flatten(), smoothing, rows, dtype, compiled, torch.is_grad_enabled()
    )
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
        compiled: bool,
        learning: bool,
    ) -> tuple[Tensor, Tensor]:
        learning, exact = learning and any(ctx.needs_input_grad), torch.promote_types(dtype, torch.float32)
        piece = _compiled_piece() if compiled else _piece
        with torch.autocast(y.device.type, enabled=False):
            y, w, b = y.to(dtype), weight.to(dtype), bias.to(dtype)
            more = -len(w) % EVEN if y.is_cuda else 0
            if more:  # tokens of probability 0
                w, b = F.pad(w, (0, 0, 0, more)), F.pad(b, (0, more), value=-torch.inf)
            dy = torch.empty_like(y) if learning else y
            dw, db = (one.new_zeros(of.shape if learning else 0) for one, of in ((weight, w), (bias, b)))
            nats = spread = torch.zeros((), dtype=exact, device=y.device)
            parts = (torch.split(tensor, rows) for tensor in (y, dy, targets))
            for part, down, target in zip(*parts, strict=True):
                own, wider, p = piece(torch.addmm(b, part, w.T), len(weight), target, smoothing, exact, learning)
                nats, spread = nats + own, spread + wider
                if p is not None:
                    torch.mm(p, w, out=down)
                    if dw.dtype == dtype:
                        dw.addmm_(p.T, part)
                    else:
                        dw += p.T @ part
                    db += p.sum(0)
        if learning:
            ctx.save_for_backward(dy, dw[: len(weight)], db[: len(bias)])
        ctx.mark_non_differentiable(nats)
        return (1 - smoothing) * nats + smoothing * spread, nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_objective: Tensor, _: Tensor) -> Any:
        dy, dw, db = ctx.saved_tensors
        return dy * d_objective.to(dy.dtype), dw * d_objective, db * d_objective, *[None] * 6


def _piece(
    logits: Tensor, tokens: int, target: Tensor, smoothing: float, exact: torch.dtype, learning: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Nats of some rows, the mean over all tokens for smoothing, and, where asked for, the gradient by the logits."""
    logs = logits.to(exact).log_softmax(-1)
    scored = (target != IGNORE).to(exact).unsqueeze(1)
    target = target.clamp(min=0).unsqueeze(1)
    nats = -(logs.gather(1, target) * scored).sum()
    spread = -(logs[:, :tokens].mean(1, keepdim=True) * scored).sum() if smoothing else torch.zeros_like(nats)
    if not learning:
        return nats, spread, None
    p = logs.exp_()
    if smoothing:
        p[:, :tokens] -= smoothing / tokens
    if torch.compiler.is_compiling():  # one pass with what is before and behind
        p = p - (1 - smoothing) * (torch.arange(p.shape[1], device=p.device) == target)
    else:
        p.scatter_add_(1, target, torch.full_like(scored, smoothing - 1))
    return nats, spread, p.mul_(scored).to(logits.dtype)


@functools.cache
def _compiled_piece() -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    """`_piece` with two passes over the logits rather than eight."""
    return torch.compile(_piece)
