"""Where in a source to look: attention with one head, as it came to recurrent decoders."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from seqmodels.errors import InputError

Attention = Literal["none", "mean", "additive", "dot", "general"]
"""What a decoder sees of a source: its summary, the mean of it, or what an alignment finds at each step."""

Memory = tuple[Tensor, Tensor, Tensor]
"""Which positions are real, bool (M, S); keys (M, S, K); values (M, S, D)."""


class Alignment(nn.Module):
    """Weights for the positions of a source by how well each goes with a query, and the mean of the source under them.

    Args:
        kind: the score of a query `q` and a position `h`: additive, `v' tanh(W_q q + W_h h)` (Bahdanau et al. 2015);
            dot, `q' h`; general, `q' W_h h` (Luong et al. 2015, section 3.1).
        query_size: features Q of the queries.
        memory_size: features D of the source.

    Raises:
        InputError: dot was asked for, and the sizes differ.
    """

    def __init__(self, kind: Literal["additive", "dot", "general"], query_size: int, memory_size: int) -> None:
        super().__init__()
        if kind == "dot" and query_size != memory_size:
            raise InputError(
                f"attention='dot' multiplies outputs of the decoder with those of the encoder, and they have "
                f"{query_size} and {memory_size} features; make them alike, or choose general"
            )
        self.kind = kind
        self.key = nn.Identity() if kind == "dot" else nn.Linear(memory_size, query_size, bias=False)
        if kind == "additive":
            self.query = nn.Linear(query_size, query_size, bias=False)
            self.score = nn.Parameter(torch.empty(query_size).uniform_(-1, 1) * query_size**-0.5)

    def remember(self, source: Tensor, mask: Tensor) -> Memory:
        """What there is to look at, in a source (M, S, D) with mask (M, S)."""
        return mask, self.key(source), source

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Look at a source.

        Args:
            query: (B, T, Q), the rows of one row of the memory side by side.
            memory: what `remember` returned, for M rows, M a divisor of B.

        Returns:
            The mean of the source under the weights, (B, T, D), and the weights, (B, T, S).
        """
        real, keys, values = memory
        q = query.reshape(len(real), -1, query.shape[2])  # (M, B / M * T, Q)
        if self.kind == "additive":
            scores = (self.query(q).unsqueeze(2) + keys.unsqueeze(1)).tanh() @ self.score.to(keys.dtype)
        else:
            scores = q @ keys.mT
        weights = scores.masked_fill(~real.unsqueeze(1), -torch.inf).softmax(-1)
        seen = weights.to(values.dtype) @ values
        shape = query.shape[:2]
        return seen.view(*shape, -1), weights.view(*shape, -1)


def check_attention(kind: str) -> None:
    """Refuse a name that is not known.

    Raises:
        InputError: it lists those that are.
    """
    if kind not in get_args(Attention):
        raise InputError(f"attention={kind!r} was given; choose one of {', '.join(get_args(Attention))}")
