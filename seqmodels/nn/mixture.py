"""A mixture of what a language model predicts, what was counted, and what it has just read, as a network."""

from typing import cast

import torch
from torch import Tensor, nn

from seqmodels.batch import BOS
from seqmodels.errors import InputError
from seqmodels.nn.backbone import Backbone, TokenIds
from seqmodels.nn.n_gram import NGram
from seqmodels.state import State

NONE = -1
"""In place of a token that the cache does not have."""


class Mixture(Backbone):
    """`p = (1 - a - b) p_model + a p_counts + b p_cache`: a language model with n-grams, a neural cache, or both.

    The cache (Grave, Joulin and Usunier 2017) has the outputs `h_i` of the network at the last positions, each with the
    token `x_{i+1}` that followed: `p_cache(w)` is in proportion to the sum of `exp(sharpness h_t . h_i)` over the `i`
    with `x_{i+1} = w`. While it is empty, its share goes to the model. Inputs are token ids, (B, T, 1), outputs
    log-probabilities, (B, T, V); the state is that of the parts, and the cache.

    Args:
        network: of the language model, whose `embedding` and `head` take the place of those made here.
        vocab_size: tokens V of the vocabulary.
        counts: n-grams of the same vocabulary; None for none.
        counts_weight: `a`.
        cache: positions that the cache has; 0 for no cache.
        cache_weight: `b`.
        cache_sharpness: see above.

    Raises:
        InputError: a weight is no share, or a size is negative.
    """

    input_size = 1

    def __init__(
        self, network: Backbone, vocab_size: int, counts: NGram | None = None, counts_weight: float = 0.2,
        cache: int = 0, cache_weight: float = 0.1, cache_sharpness: float = 0.3,
    ) -> None:  # fmt: skip
        super().__init__()
        weights = (counts_weight if counts is not None else 0.0, cache_weight if cache else 0.0)
        if min(counts_weight, cache_weight) < 0 or sum(weights) >= 1:
            given = f"counts_weight={counts_weight} and cache_weight={cache_weight}"
            raise InputError(f"{given} were given; expected shares of at least 0 that leave the model something")
        if cache < 0 or not 0 <= cache_sharpness < float("inf"):
            given = f"cache={cache} and cache_sharpness={cache_sharpness}"
            raise InputError(f"{given} were given; expected a number of positions, and a sharpness of at least 0")
        self.network, self.counts, self.weights = network, counts, weights
        self.cache, self.cache_sharpness = cache, cache_sharpness
        self.output_size, self.max_length, self.learns = vocab_size, network.max_length, network.learns
        self.embedding, self.head = network.ends(vocab_size)
        if counts is not None:
            counts.ends(vocab_size)

    def ends(self, vocab_size: int) -> tuple[nn.Module, nn.Module]:
        return TokenIds(vocab_size), nn.Identity()

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None, memory: State | None = None
    ) -> tuple[Tensor, State]:
        self._check(x, mask, memory)
        tokens = x.squeeze(-1).long()
        of_network, of_counts, of_cache = (None, None, None) if state is None else cast(tuple[State, ...], state)
        h, of_network = self.network(self.embedding(tokens), of_network, mask=mask)
        logits = self.head(h)
        p = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
        a, b = self.weights
        share, added = torch.full_like(p[..., :1], 1 - a), torch.zeros_like(p)
        if self.cache:
            cached, there, of_cache = self._cached(h, tokens, of_cache, mask)
            share, added = share - b * there, b * cached.to(p.dtype)
        if self.counts is not None:
            counted, of_counts = self.counts(x, of_counts, mask=mask)
            added = added + a * counted.to(p.dtype).exp()
        mixed = (share * p + added).clamp(min=torch.finfo(p.dtype).tiny).log()
        if mask is not None:
            mixed = mixed.masked_fill(~mask.unsqueeze(-1), 0)
        return mixed, (of_network, of_counts if of_counts is not None else (), of_cache if of_cache is not None else ())

    def _cached(
        self, h: Tensor, tokens: Tensor, state: State | None, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, State]:
        """Probabilities (B, T, V) of the cache, 1 where it has any token, (B, T, 1), and its state."""
        B, T, D = h.shape
        if state is None:
            keys, last = h.new_zeros(B, self.cache, D), h.new_zeros(B, D)
            values, known = tokens.new_full((B, self.cache), NONE), torch.zeros(B, dtype=torch.bool, device=h.device)
        else:
            keys, values, last, known = cast(tuple[Tensor, Tensor, Tensor, Tensor], state)
        order = None if mask is None else (~mask).long().argsort(dim=1, stable=True)  # real positions first
        if order is not None:
            tokens = tokens.gather(1, order)
            h = h.gather(1, order.unsqueeze(-1).expand_as(h))
        before = torch.cat([last.unsqueeze(1), h], 1)  # the outputs that each token followed
        new = tokens.masked_fill(tokens <= BOS, NONE)
        new = torch.cat([new[:, :1].masked_fill(~known.unsqueeze(1), NONE), new[:, 1:]], 1)
        keys, values = torch.cat([keys, before[:, :T]], 1), torch.cat([values, new], 1)
        scores = self.cache_sharpness * h @ keys.mT  # (B, T, cache + T)
        distance = (
            torch.arange(T, device=h.device)[:, None] + self.cache - torch.arange(values.shape[1], device=h.device)
        )
        seen = (distance >= 0) & (distance < self.cache) & (values >= 0).unsqueeze(1)
        there = seen.any(-1, keepdim=True)
        weights = (
            scores.to(torch.promote_types(h.dtype, torch.float32))
            .masked_fill(~seen, -torch.inf)
            .softmax(-1)
            .masked_fill(~there, 0)
        )
        p = weights.new_zeros(B, T, self.output_size).scatter_add(
            2, values.clamp(min=0).unsqueeze(1).expand_as(weights), weights
        )
        if mask is None or order is None:
            kept = keys[:, T:], values[:, T:], h[:, -1], torch.ones_like(known)
            return p, there.to(p.dtype), kept
        count = mask.sum(1)
        rows = count.unsqueeze(1) + torch.arange(self.cache, device=h.device)
        kept = (
            keys.gather(1, rows.unsqueeze(-1).expand(-1, -1, D)), values.gather(1, rows),
            before[torch.arange(B, device=h.device), count], known | (count > 0),
        )  # fmt: skip
        p = torch.empty_like(p).scatter(1, order.unsqueeze(-1).expand_as(p), p)
        return p, torch.empty_like(p[..., :1]).scatter(1, order.unsqueeze(-1), there.to(p.dtype)), kept
