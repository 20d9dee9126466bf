"""Vectors of character n-grams, from which fastText makes those of unknown words."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

WORDS_AT_ONCE = 1 << 12
"""Words whose vectors are made at a time."""


class Subwords:
    """Character n-grams, each with one of `buckets` vectors by its hash (Bojanowski et al. 2017, section 3.2).

    Args:
        rows: the vectors, float32 (buckets, D).
        shortest: fewest characters of an n-gram, at least 1; the marks `<` and `>` around a word count.
        longest: most characters.
    """

    def __init__(self, rows: Tensor, shortest: int, longest: int) -> None:
        self.rows, self.shortest, self.longest = rows, shortest, longest

    def vector(self, word: str) -> Tensor | None:
        """The mean over the n-grams of a word that has no vector of its own, (D,); None where it has no n-grams."""
        found = buckets_of(word.encode(), self.shortest, self.longest, len(self.rows))
        return self.rows[found].mean(0) if found else None

    def joined(self, words: Sequence[bytes], own: Tensor) -> Tensor:
        """Means over the vectors of words and of their n-grams, which are fastText's vectors of the words.

        Args:
            words: N words in UTF-8; `</s>`, the end of a line, has no n-grams.
            own: their own vectors, float32 (N, D), which are overwritten.
        """
        for first in range(0, len(words), WORDS_AT_ONCE):
            piece = slice(first, first + WORDS_AT_ONCE)
            found = [
                [] if word == b"</s>" else buckets_of(word, self.shortest, self.longest, len(self.rows))
                for word in words[piece]
            ]
            counts = torch.tensor([len(numbers) for numbers in found])
            flat = torch.tensor([number for numbers in found for number in numbers], dtype=torch.int64)
            sums = F.embedding_bag(flat, self.rows, counts.cumsum(0) - counts, mode="sum") if len(flat) else 0
            own[piece] = (own[piece] + sums) / (1 + counts[:, None])
        return own


def buckets_of(word: bytes, shortest: int, longest: int, buckets: int) -> list[int]:
    """The buckets of the n-grams of a word in UTF-8, of `shortest` to `longest` characters.

    The hash is 32-bit FNV-1a over the bytes of UTF-8, which are taken as signed, as fastText does. The marks `<` and
    `>` alone are no n-grams.
    """
    letters = re.findall(rb"[^\x80-\xbf][\x80-\xbf]*", b"<" + word + b">")
    found = []
    for first in range(len(letters)):
        number = 2166136261
        for last in range(first, min(first + longest, len(letters))):
            for byte in letters[last]:
                number = ((number ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
            size = last - first + 1
            if size >= shortest and not (size == 1 and last in (0, len(letters) - 1)):
                found.append(number % buckets)
    return found
