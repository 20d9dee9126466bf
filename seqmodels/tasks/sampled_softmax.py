"""Cross-entropy over a part of a large vocabulary: the sum over all others is estimated from a sample.

The sum of the softmax layer has the most frequent tokens, a new sample of the others in each step, each counted for all
that it was drawn from, and the token that is scored. This sum has the right mean, as importance sampling has it
(Bengio and Senécal 2003; Jean et al. 2015); here the sample is drawn without replacement and shared by a batch.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqmodels.batch import IGNORE


def sampled_nats(
    y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, candidates: int, rows: int = 1024
) -> tuple[Tensor, Tensor]:
    """An estimate of the cross-entropy of `y @ weight.T + bias`, summed over the targets that count, in nats.

    Gradients are computed in the forward pass, products in the precision of autocast, logarithms and sums in single
    precision at least. There are no second derivatives.

    Args:
        y: inputs of the softmax layer, (B, T, D).
        weight: its matrix, (V, D); its first tokens should be the most frequent ones.
        bias: its bias, (V,).
        targets: int64 (B, T), IGNORE where nothing is scored.
        candidates: tokens that are counted, at least 2 and less than V: half of them the first of the vocabulary,
            the others drawn.
        rows: positions whose logits are held at a time.

    Returns:
        The estimate, twice; the second has no gradient.
    """
    device = y.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else y.dtype
    chosen, stand_for = draw(len(weight), candidates, y.device)
    objective: Tensor = _SampledNats.apply(  # type: ignore[no-untyped-call]
        y.flatten(0, -2), weight, bias, targets.flatten(), chosen, stand_for, rows, dtype, torch.is_grad_enabled()
    )
    return objective, objective.detach()


def draw(tokens: int, candidates: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids that are counted, (candidates,), and the logarithm of how many each of them stands for."""
    frequent = candidates // 2
    drawn = torch.randperm(tokens - frequent, device=device)[: candidates - frequent] + frequent
    stand_for = torch.zeros(candidates, device=device)
    stand_for[frequent:] = math.log((tokens - frequent) / len(drawn))
    return torch.cat((torch.arange(frequent, device=device), drawn)), stand_for


class _SampledNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        y: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        chosen: Tensor,
        stand_for: Tensor,
        rows: int,
        dtype: torch.dtype,
        learning: bool,
    ) -> Tensor:
        learning, exact = learning and any(ctx.needs_input_grad), torch.promote_types(dtype, torch.float32)
        with torch.autocast(y.device.type, enabled=False):
            column = torch.full_like(bias, -1, dtype=torch.int64)
            column[chosen] = torch.arange(len(chosen), device=y.device)
            w, b = weight[chosen].to(dtype), bias[chosen].to(exact) + stand_for.to(exact)
            y, given = y.to(dtype), y
            dy, nats = torch.empty_like(given) if learning else given, torch.zeros((), dtype=exact, device=y.device)
            dw, db = (one.new_zeros(of.shape if learning else 0) for one, of in ((weight, weight), (bias, bias)))
            of_chosen, of_b = (one.new_zeros(one.shape if learning else 0, dtype=exact) for one in (w, b))
            parts = (torch.split(tensor, rows) for tensor in (y, dy, targets))
            for part, down, target in zip(*parts, strict=True):
                counted = target != IGNORE
                token = target.clamp(min=0)
                own_weight = weight[token]
                own = (part.to(exact) * own_weight.to(exact)).sum(-1) + bias[token].to(exact)
                logits = (part @ w.T).to(exact).add_(b)
                place = column[token]  # whose token is scored already
                here = place >= 0
                logits[here, place[here]] = -math.inf
                total = torch.logaddexp(logits.logsumexp(-1), own)
                nats = nats + ((total - own) * counted).sum()
                if not learning:
                    continue
                p = logits.sub_(total.unsqueeze(-1)).exp_().mul_(counted.unsqueeze(-1))
                p_own = ((own - total).exp() - 1) * counted
                of_b += p.sum(0)
                p = p.to(dtype)
                of_chosen += p.T @ part
                down.copy_((p @ w).to(exact) + p_own.unsqueeze(-1) * own_weight)
                dw.index_add_(0, token, (p_own.unsqueeze(-1) * part).to(dw.dtype))
                db.index_add_(0, token, p_own.to(db.dtype))
            if learning:
                dw.index_add_(0, chosen, of_chosen.to(dw.dtype))
                db.index_add_(0, chosen, of_b.to(db.dtype))
        if learning:
            ctx.save_for_backward(dy, dw, db)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_nats: Tensor) -> Any:
        dy, dw, db = ctx.saved_tensors
        return dy * d_nats.to(dy.dtype), dw * d_nats, db * d_nats, *[None] * 6
