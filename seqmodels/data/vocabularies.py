"""Vocabularies under the special tokens: in what order, of which bytes, of which words."""

import functools
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels.batch import SPECIAL_TOKENS, UNK
from seqmodels.errors import InputError


def numbered(tokens: Iterable[str]) -> dict[str, int]:
    """Ids for tokens, the special ones first."""
    return {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}


@functools.cache
def _byte_of() -> dict[str, int]:
    """Which byte each letter of the byte-level alphabet stands for (Radford et al. 2019).

    Printable Latin-1 letters stand for themselves, the other bytes for the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


def spelled_bytes(piece: str) -> bytes:
    """The bytes that a token in the byte-level alphabet spells; one that is not in that alphabet stands for itself."""
    if all(letter in _byte_of() for letter in piece):
        return bytes(_byte_of()[letter] for letter in piece)
    return piece.encode()


def word_level(texts: Iterable[str], vocab_size: int | None, min_count: int) -> str:
    """The JSON of a tokenizer of words, the most frequent first; see `Tokenizer.word`."""
    least = len(SPECIAL_TOKENS) + 2
    if (vocab_size is not None and vocab_size < least) or min_count < 1:
        raise InputError(
            f"vocab_size={vocab_size} and min_count={min_count} were given; a vocabulary of words needs at least "
            f"vocab_size={least} (special tokens, the line end and a word) and min_count=1"
        )
    tokenizer = tokenizers.Tokenizer(models.WordLevel())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|\S+"), "removed", invert=True)
    tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<(?:pad|bos|eos|unk)>(?!\S)"), " ")  # not counted
    trainer = trainers.WordLevelTrainer(
        vocab_size=1 << 40, min_frequency=min_count, special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    counted = tokenizer.get_vocab()
    words = [word for word in sorted(counted, key=counted.__getitem__) if word != "\n"]
    room = None if vocab_size is None else vocab_size - len(SPECIAL_TOKENS) - 1
    tokenizer.model = models.WordLevel(numbered(["\n", *words[:room]]), unk_token=SPECIAL_TOKENS[UNK])
    tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<(?:pad|bos|eos)>(?!\S)"), SPECIAL_TOKENS[UNK])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="\n\n", cleanup=False),  # a space before all but the first: no word begins so
            decoders.Fuse(),
            decoders.Replace(Regex(" ?\n ?"), "\n"),
        ]
    )
    return tokenizer.to_str()
