"""BPE-dropout: words are re-segmented in every epoch (Provilkov, Emelianenko and Voita 2020)."""

import functools
import itertools
import random
from collections.abc import Iterable
from json import loads
from typing import Any

import tokenizers

from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError

VARIANTS = 8
"""Most segmentations of a word within an epoch: they are drawn once, and then chosen among."""


class BpeDropout:
    """Segments words into subwords while single merges are left out at random.

    The segmentation of a text depends on the seed, the epoch and its number alone, so that a resumed run sees the
    same; the library's own dropout has a random state that cannot be set. At a rate of 0 it is that of `encode`. As in
    the paper, a merge left out may come after the next one; sentencepiece 0.2.3 leaves it out for good, so that texts
    are cut finer at the same rate.

    Args:
        tokenizer: any BPE with merges.
        rate: probability of leaving out a merge, at each step of a word.
        seed: random seed.

    Raises:
        InputError: the tokenizer is not BPE with merges, or the rate is not a probability below 1.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float, seed: int) -> None:
        description = loads(tokenizer.json)
        model: dict[str, Any] = description["model"]
        if not 0 <= rate < 1:
            raise InputError(f"bpe_dropout={rate} was given; expected a rate in [0, 1)")
        if model["type"] != "BPE" or not model["merges"]:
            raise InputError("bpe_dropout leaves out merges of a bpe vocabulary; give tokenizer='bpe'")
        self.tokenizer, self.rate, self.seed = tokenizer, rate, seed
        self.vocab: dict[str, int] = model["vocab"]
        self.first, self.last = (model.get(name) or "" for name in ("continuing_subword_prefix", "end_of_word_suffix"))
        self.unknown, self.fuses = model.get("unk_token"), model.get("fuse_unk")
        self.by_bytes, self.whole = model.get("byte_fallback"), model.get("ignore_merges")
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        self.ranks = {(one, other): rank for rank, (one, other) in enumerate(pairs)}
        inner = tokenizers.Tokenizer.from_str(tokenizer.json)
        self._normalizer, self._pre_tokenizer = inner.normalizer, inner.pre_tokenizer
        self._variants = functools.lru_cache(maxsize=1 << 17)(self._draw)

    def growth(self, texts: Iterable[str]) -> float:
        """How many times as long texts usually are; compares with the tokenizer on the way, at a rate of 0.

        Raises:
            InputError: the tokenizer does more than normalize, cut into words and merge, such as with tokens added.
        """
        lengths = [(1, 1)]
        for text in texts:
            ids = [i for word in self._words(text) for i in self._ids(self.segment(word, None))]
            if self.tokenizer._outer(ids) != self.tokenizer.encode(text):
                raise InputError(f"bpe_dropout cannot cut {text!r:.60} as this tokenizer does; leave it out")
            lengths.append((len(ids) + 1, len(self.encode(text, 0, len(lengths))) + 1))
        ratios = sorted(cut / whole for whole, cut in lengths)
        return ratios[len(ratios) * 9 // 10]

    def encode(self, text: str, epoch: int, number: int) -> list[int]:
        """Token ids of text number `number`, segmented for an epoch."""
        rng = random.Random(f"{self.seed} {epoch} {number}")
        words = (self._variants(word, epoch, rng.randrange(VARIANTS)) for word in self._words(text))
        return self.tokenizer._outer(list(itertools.chain.from_iterable(words)))

    def _words(self, text: str) -> list[str]:
        text = self._normalizer.normalize_str(text) if self._normalizer else text
        words = self._pre_tokenizer.pre_tokenize_str(text) if self._pre_tokenizer else [(text, (0, len(text)))]
        return [word for word, _ in words]

    def _draw(self, word: str, epoch: int, variant: int) -> list[int]:
        return self._ids(self.segment(word, random.Random(f"{self.seed} {epoch} {variant} {word}")))

    def segment(self, word: str, rng: random.Random | None) -> list[str]:
        """Subwords of a word, as the pre-tokenizer spells it; without a random generator, no merge is left out."""
        if self.whole and rng is None and word in self.vocab:
            return [word]
        pieces = [self.first * (place > 0) + letter for place, letter in enumerate(word)]
        pieces[-1:] = [piece + self.last for piece in pieces[-1:]]
        while len(pieces) > 1:
            found = [
                (rank, place)
                for place, pair in enumerate(itertools.pairwise(pieces))
                if (rank := self.ranks.get(pair)) is not None and (rng is None or rng.random() >= self.rate)
            ]
            if not found:
                break
            _, place = min(found)
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1].removeprefix(self.first)]
        return pieces

    def _ids(self, pieces: list[str]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            if piece in self.vocab:
                ids.append(self.vocab[piece])
                continue
            names = [f"<0x{byte:02X}>" for byte in piece.encode()]
            if self.by_bytes and all(name in self.vocab for name in names):
                ids += [self.vocab[name] for name in names]
            elif self.unknown in self.vocab and not (self.fuses and ids[-1:] == [self.vocab[self.unknown]]):
                ids.append(self.vocab[self.unknown])
        return ids
