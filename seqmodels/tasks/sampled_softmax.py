"""Cross-entropy over a part of a large vocabulary: the sum over all others is estimated from a sample.

The sum of the softmax layer has the most frequent tokens, a new sample of the others in each step, each counted for all
that it was drawn from, and the token that is scored. This sum has the right mean, as importance sampling has it
(Bengio and Senécal 2003; Jean et al. 2015); here the sample is drawn without replacement and shared by a batch.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.batch import IGNORE


def sampled_nats(y: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, candidates: int) -> Tensor:
    """An estimate of the cross-entropy of `y @ weight.T + bias`, summed over the targets that count, in nats.

    Products are in the precision of autocast, logarithms and sums in single precision at least.

    Args:
        y: inputs of the softmax layer, (B, T, D).
        weight: its matrix, (V, D); its first tokens should be the most frequent ones.
        bias: its bias, (V,).
        targets: int64 (B, T), IGNORE where nothing is scored.
        candidates: tokens that are counted, at least 2 and less than V: half of them the first of the vocabulary,
            the others drawn.
    """
    counts = targets != IGNORE
    y, own = y[counts], targets[counts]
    chosen, stand_for = draw(len(weight), candidates, y.device)
    # Gathered at once, so that a gradient as large as the matrix is made once.
    weights, biases = (F.embedding(torch.cat((chosen, own)), of) for of in (weight, bias.unsqueeze(-1)))
    (of_chosen, of_own), (more, more_own) = (torch.split(part, [candidates, len(own)]) for part in (weights, biases))
    logits = F.linear(y, of_chosen).to(weight.dtype) + (more.squeeze(-1) + stand_for)
    column = chosen.new_full((len(weight),), candidates)
    column[chosen] = torch.arange(candidates, device=y.device)
    # The token that is scored is not counted once more; a column beyond the last takes those that were not chosen.
    again = F.pad(torch.zeros_like(logits, dtype=torch.bool), (0, 1)).scatter_(1, column[own].unsqueeze(-1), True)
    logits = logits.masked_fill(again[:, :-1], -math.inf)
    logit = (y * of_own).sum(-1) + more_own.squeeze(-1)
    nats: Tensor = torch.logaddexp(logits.logsumexp(-1), logit) - logit
    return nats.sum()


def draw(tokens: int, candidates: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids that are counted, (candidates,), and the logarithm of how many each of them stands for."""
    frequent = candidates // 2
    drawn = torch.randperm(tokens - frequent, device=device)[: candidates - frequent] + frequent
    stand_for = torch.zeros(candidates, device=device)
    stand_for[frequent:] = math.log((tokens - frequent) / len(drawn))
    return torch.cat((torch.arange(frequent, device=device), drawn)), stand_for
