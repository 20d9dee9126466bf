"""Vectors of character n-grams, from which fastText and floret make those of unknown words."""

import functools
import re
import struct
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

WORDS_AT_ONCE = 1 << 12
"""Words whose vectors are made at a time."""
MURMUR_SEED = 2166136261


class Subwords:
    """Character n-grams, each with one of `buckets` vectors by its hash (Bojanowski et al. 2017, section 3.2).

    Args:
        rows: the vectors, float32 (R, D).
        shortest: fewest characters of an n-gram, at least 1; the marks around a word count.
        longest: most characters.
        buckets: number of buckets; by default R.
        kept: rows by bucket where the model was pruned; by default the row of a bucket has its number.
        hashes: for floret, number of rows of each n-gram and of the whole word, from 1 to 4; 0 for fastText.
        marks: in front of a word and behind it.
    """

    def __init__(
        self, rows: Tensor, shortest: int, longest: int, buckets: int | None = None,
        kept: Mapping[int, int] | None = None, hashes: int = 0, marks: tuple[bytes, bytes] = (b"<", b">"),
    ) -> None:  # fmt: skip
        self.rows, self.shortest, self.longest, self.kept = rows, shortest, longest, kept
        self.buckets, self.hashes, self.marks = buckets or len(rows), hashes, marks

    def rows_of(self, word: bytes) -> list[int]:
        """The rows of a word in UTF-8; none for `</s>`, the end of a line."""
        if word == b"</s>":
            return []
        marked = self.marks[0] + word + self.marks[1]
        if self.hashes:
            grams = [marked, *ngrams(marked, self.shortest, self.longest)]
            found = [number % self.buckets for gram in grams for number in murmur3(gram)[: self.hashes]]
        else:
            found = [fnv1a(gram) % self.buckets for gram in ngrams(marked, self.shortest, self.longest)]
        return found if self.kept is None else [self.kept[number] for number in found if number in self.kept]

    def vector(self, word: str) -> Tensor | None:
        """The mean over the n-grams of a word that has no vector of its own, (D,); None where it has no n-grams."""
        found = self.rows_of(word.encode())
        return self.rows[found].mean(0) if found else None

    def joined(self, words: Sequence[bytes], own: Tensor) -> Tensor:
        """Means over the vectors of words and of their n-grams, which are fastText's vectors of the words.

        Args:
            words: N words in UTF-8.
            own: their own vectors, float32 (N, D), which are overwritten; of floret, only those without n-grams count.
        """
        for first in range(0, len(words), WORDS_AT_ONCE):
            piece = slice(first, first + WORDS_AT_ONCE)
            found = [self.rows_of(word) for word in words[piece]]
            counts = torch.tensor([len(numbers) for numbers in found])
            flat = torch.tensor([number for numbers in found for number in numbers], dtype=torch.int64)
            sums = F.embedding_bag(flat, self.rows, counts.cumsum(0) - counts, mode="sum") if len(flat) else 0
            mine = (counts == 0).long() if self.hashes else torch.ones_like(counts)
            own[piece] = (mine[:, None] * own[piece] + sums) / (mine + counts)[:, None]
        return own


def ngrams(marked: bytes, shortest: int, longest: int) -> list[bytes]:
    """The n-grams of a word in UTF-8 between its marks, of `shortest` to `longest` characters; no mark alone is one."""
    letters = re.findall(rb"[^\x80-\xbf][\x80-\xbf]*", marked)
    ends = (0, len(letters) - 1)
    return [
        b"".join(letters[first : first + size])
        for first in range(len(letters))
        for size in range(shortest, min(longest, len(letters) - first) + 1)
        if size > 1 or first not in ends
    ]


@functools.lru_cache(1 << 18)  # most words share their n-grams with others
def fnv1a(key: bytes) -> int:
    """32-bit FNV-1a over bytes that are taken as signed, as fastText does."""
    number = 2166136261
    for byte in key:
        number = ((number ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return number


@functools.lru_cache(1 << 18)
def murmur3(key: bytes, seed: int = MURMUR_SEED) -> tuple[int, int, int, int]:
    """MurmurHash3 of 128 bits for x64 (Appleby), as four numbers of 32 bits, the lower half of each word first."""
    every, one, two = 0xFFFFFFFFFFFFFFFF, 0x87C37B91114253D5, 0x4CF5AD432745937F

    def turned(number: int, bits: int) -> int:
        return ((number << bits) | (number >> (64 - bits))) & every

    def mixed(number: int) -> int:
        number = (number ^ (number >> 33)) * 0xFF51AFD7ED558CCD & every
        number = (number ^ (number >> 33)) * 0xC4CEB9FE1A85EC53 & every
        return number ^ (number >> 33)

    low = high = seed
    for first in range(0, len(key) + 1, 16):
        block = key[first : first + 16]
        left, right = struct.unpack("<QQ", block.ljust(16, b"\0"))
        low ^= turned(left * one & every, 31) * two & every
        high_part = turned(right * two & every, 33) * one & every
        if len(block) < 16:  # the rest
            high ^= high_part
            break
        low = ((turned(low, 27) + high) * 5 + 0x52DCE729) & every
        high = ((turned(high ^ high_part, 31) + low) * 5 + 0x38495AB5) & every
    low, high = low ^ len(key), high ^ len(key)
    low = (low + high) & every
    high = (high + low) & every
    low, high = mixed(low), mixed(high)
    low = (low + high) & every
    high = (high + low) & every
    return low & 0xFFFFFFFF, low >> 32, high & 0xFFFFFFFF, high >> 32
