"""BPE-dropout: words are re-segmented in every epoch (Provilkov, Emelianenko and Voita 2020)."""

import functools
import itertools
import random
from json import loads

import tokenizers
from tokenizers import models

from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError

VARIANTS = 8
"""Most segmentations of a word within an epoch: they are drawn once, and then chosen among."""


class BpeDropout:
    """Segments words into subwords while single merges are left out at random.

    The segmentation of a text depends on the seed, the epoch and its number alone, so that a resumed run sees the
    same; the library's own dropout has a random state that cannot be set.

    Args:
        tokenizer: byte-level BPE of this package.
        rate: probability of leaving out a merge, at each step of a word.
        seed: random seed.

    Raises:
        InputError: the tokenizer is not BPE with merges, or the rate is not a probability below 1.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float, seed: int) -> None:
        description = loads(tokenizer.json)
        if not 0 <= rate < 1:
            raise InputError(f"bpe_dropout={rate} was given; expected a rate in [0, 1)")
        if description["model"]["type"] != "BPE" or not description["model"]["merges"]:
            raise InputError("bpe_dropout leaves out merges of a bpe vocabulary; give tokenizer='bpe'")
        self.tokenizer, self.rate, self.seed = tokenizer, rate, seed
        self.vocab: dict[str, int] = description["model"]["vocab"]
        self.ranks = {tuple(pair): rank for rank, pair in enumerate(_pairs(description["model"]["merges"]))}
        inner = tokenizers.Tokenizer.from_str(tokenizer.json)
        assert isinstance(inner.model, models.BPE)
        self._words = inner.pre_tokenizer.pre_tokenize_str
        self._variants = functools.lru_cache(maxsize=1 << 17)(self._draw)

    def encode(self, text: str, epoch: int, number: int) -> list[int]:
        """Token ids of text number `number`, segmented for an epoch."""
        rng = random.Random(f"{self.seed} {epoch} {number}")
        ids: list[int] = []
        for word, _ in self._words(text):
            ids += self._variants(word, epoch, rng.randrange(VARIANTS))
        return ids

    def _draw(self, word: str, epoch: int, variant: int) -> list[int]:
        rng = random.Random(f"{self.seed} {epoch} {variant} {word}")
        return [self.vocab[piece] for piece in self.segment(word, rng)]

    def segment(self, word: str, rng: random.Random) -> list[str]:
        """Subwords of a word, which is spelled in the byte-level alphabet."""
        pieces = list(word)
        while len(pieces) > 1:
            found = [
                (rank, place)
                for place, pair in enumerate(itertools.pairwise(pieces))
                if (rank := self.ranks.get(pair)) is not None and rng.random() >= self.rate
            ]
            if not found:
                break
            _, place = min(found)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces


def _pairs(merges: list[str] | list[list[str]]) -> list[list[str]]:
    """Merges as pairs, in either notation of the tokenizers library."""
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
