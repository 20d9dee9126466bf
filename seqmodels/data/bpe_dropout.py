"""Words in other pieces each time: BPE-dropout (Provilkov, Emelianenko and Voita 2020)."""

import functools
import itertools
import random
from json import loads

import tokenizers
from tokenizers import models

from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError

VARIANTS = 8
"""In how many ways a word is cut within an epoch, at most: drawn once each, and then chosen among."""


class BpeDropout:
    """Cuts words into subwords while single merges are left out at random.

    What a text becomes follows from the seed, the epoch, its number and nothing else, so that a resumed run sees the
    same; the library's own dropout draws from a chance that cannot be set.

    Args:
        tokenizer: byte-level BPE of this package.
        rate: of merges left out at each step of a word.
        seed: what chance depends on.

    Raises:
        InputError: the tokenizer is no BPE with merges, or the rate no rate.
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
        self._variants = functools.lru_cache(maxsize=1 << 17)(self._drawn)

    def encode(self, text: str, epoch: int, number: int) -> list[int]:
        """Token ids of a text, other ones in each epoch.

        Args:
            text: what to cut.
            epoch: number of the epoch.
            number: which text it is.
        """
        chance = random.Random(f"{self.seed} {epoch} {number}")
        ids: list[int] = []
        for word, _ in self._words(text):
            ids += self._variants(word, epoch, chance.randrange(VARIANTS))
        return ids

    def _drawn(self, word: str, epoch: int, variant: int) -> list[int]:
        chance = random.Random(f"{self.seed} {epoch} {variant} {word}")
        return [self.vocab[piece] for piece in self.cut(word, chance)]

    def cut(self, word: str, chance: random.Random) -> list[str]:
        """The pieces of a word of letters of the byte-level alphabet."""
        pieces = list(word)
        while len(pieces) > 1:
            found = [
                (rank, place)
                for place, pair in enumerate(itertools.pairwise(pieces))
                if (rank := self.ranks.get(pair)) is not None and chance.random() >= self.rate
            ]
            if not found:
                break
            _, place = min(found)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        return pieces


def _pairs(merges: list[str] | list[list[str]]) -> list[list[str]]:
    """Merges as pairs, however the library's version writes them."""
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
