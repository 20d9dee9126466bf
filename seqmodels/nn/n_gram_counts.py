"""Counts of n-grams and the discounts of Kneser and Ney, for `NGram`."""

from collections.abc import Iterator

import torch
from torch import Tensor

MOST = 32
"""Largest order."""
USUAL = (0.5, 1.0, 1.5)
"""Discounts where a text has too few n-grams to estimate them."""


def counted(tokens: Tensor, order: int, vocab_size: int, reserved: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The n-grams of a text by their order, from 1 on.

    An n-gram has the key `place of its first n - 1 tokens in the order below * V + last token`; of order 1, every token
    has one. Counts are those of Kneser-Ney: occurrences of the longest, and of all others different tokens before them,
    the start of the text being one. Tokens up to `reserved` are never predicted, and as last tokens count 0.

    Args:
        tokens: token ids (N,).
        order: of the longest.
        vocab_size: tokens V of the vocabulary.
        reserved: see above.

    Yields:
        Keys in their order, and counts, int64 (W,) each.
    """
    read = tokens.long()
    keys, places = torch.arange(vocab_size, device=read.device), read  # of the n-gram that ends at each token
    occurrences = read.bincount(minlength=vocab_size)
    for n in range(1, order + 1):
        if n == order:
            yield keys, occurrences * (keys % vocab_size > reserved)
            return
        longer = places[:-1] * vocab_size + read[n:]
        if len(longer):
            found, inverse, following = torch.unique(longer, return_inverse=True, return_counts=True)
        else:
            found = inverse = following = longer
        shorter = torch.empty_like(found)
        shorter[inverse] = places[1:]  # the n-gram behind the first token of each longer one
        different = shorter.bincount(minlength=len(keys))
        if len(places):
            different[places[0]] += 1  # before which nothing stands
        yield keys, different * (keys % vocab_size > reserved)
        keys, places, occurrences = found, inverse, following


def discounts(counts: Tensor) -> Tensor:
    """What is taken of counts of 0, 1, 2 and more, float64 (4,), by the numbers of n-grams that occur 1 to 4 times.

    (Chen and Goodman 1999, eq. 26.)
    """
    once, twice, thrice, often = ((counts == n).sum().item() for n in (1, 2, 3, 4))
    found = list(USUAL)
    if once and twice and thrice:
        y = once / (once + 2 * twice)
        estimated = [1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * often / thrice]
        if all(0 < value < n for n, value in enumerate(estimated, 1)):
            found = estimated
    return torch.tensor([0.0, *found], dtype=torch.float64, device=counts.device)


def discounted(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Discounted counts (W,) as fractions of the sums of their contexts, and what is left of these, (C,).

    `starts`, (C + 1,), are where the counts of each context begin.
    """
    taken = discounts(counts)[counts.clamp(max=3)]
    sizes = starts.diff()
    contexts = torch.arange(len(sizes), device=counts.device).repeat_interleave(sizes)
    used = slice(int(starts[0]), int(starts[-1]))
    sums, left = taken.new_zeros(2, len(sizes)).unbind()
    sums = sums.index_add(0, contexts, counts[used].double())
    left = left.index_add(0, contexts, taken[used])
    shares = torch.zeros_like(taken)
    shares[used] = (counts[used] - taken[used]) / sums[contexts].clamp(min=1)
    return shares, torch.where(sums > 0, left / sums.clamp(min=1), 1.0)
