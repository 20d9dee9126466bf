"""Text to token ids and back: one wrapped `tokenizers.Tokenizer`, whatever the units."""

import functools
import os
from collections.abc import Iterable, Sequence

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from seqmodels.batch import SPECIAL_TOKENS, UNK
from seqmodels.errors import InputError
from seqmodels.recorded import Recorded

# Loader processes are forked after text was tokenized, and tokenize nothing themselves.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


class Tokenizer(Recorded):
    """A vocabulary of characters, bytes or subwords. Ids 0 to 3 are PAD, BOS, EOS and UNK.

    With bytes and byte-level BPE every string survives `decode(encode(text))`; a character that the vocabulary
    of characters lacks becomes UNK. The names of special tokens inside a text are ordinary text.

    Args:
        json: the tokenizer as `tokenizers.Tokenizer.to_str` writes it; `char`, `byte` and `bpe` make one.

    Raises:
        InputError: the text is no such tokenizer, or its first ids are not the special tokens.
    """

    def __init__(self, json: str) -> None:
        self.json = json
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(json)
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"expected a tokenizer as JSON, got {json[:40]!r}...: {error}") from error
        self._tokenizer.encode_special_tokens = True  # "<eos>" in a text is five characters
        first = tuple(self._tokenizer.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if first != SPECIAL_TOKENS:
            raise InputError(f"expected the first tokens of a vocabulary to be {SPECIAL_TOKENS}, got {first}")

    @classmethod
    def char(cls, texts: Iterable[str]) -> "Tokenizer":
        """Every character that occurs in the texts."""
        seen: set[str] = set()
        for text in texts:
            seen.update(text)
        tokenizer = tokenizers.Tokenizer(
            models.BPE(vocab=_numbered(sorted(seen)), merges=[], unk_token=SPECIAL_TOKENS[UNK])
        )
        tokenizer.decoder = decoders.Fuse()
        return cls(tokenizer.to_str())

    @classmethod
    def byte(cls) -> "Tokenizer":
        """The 256 bytes of UTF-8."""
        tokenizer = tokenizers.Tokenizer(
            models.BPE(vocab=_numbered(sorted(pre_tokenizers.ByteLevel.alphabet())), merges=[])
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        return cls(tokenizer.to_str())

    @classmethod
    def bpe(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019), trained on the texts.

        Args:
            texts: what to count pairs in.
            vocab_size: at most so many tokens, at least 260: the special tokens and all bytes.
        """
        least = len(SPECIAL_TOKENS) + 256
        if vocab_size < least:
            raise InputError(
                f"vocab_size={vocab_size} was given; byte-level BPE needs at least {least}: all bytes are in it"
            )
        tokenizer = tokenizers.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer.to_str())

    @property
    def vocab_size(self) -> int:
        """How many tokens V there are, special ones included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of many texts, on all cores."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that token ids stand for, special tokens left out."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", errors="replace")

    def unknown(self, text: str) -> str:
        """The distinct characters of a text that the vocabulary lacks."""
        return "".join(sorted(c for c in set(text) if UNK in self.encode(c)))

    @functools.cached_property
    def token_bytes(self) -> list[bytes]:
        """What every token adds to a text, in UTF-8: empty for special tokens but UNK, which is U+FFFD."""
        of_bytes = isinstance(self._tokenizer.decoder, decoders.ByteLevel)
        pieces = [self._tokenizer.id_to_token(i) or "" for i in range(self.vocab_size)]
        content = [_to_bytes(piece) if of_bytes else piece.encode() for piece in pieces]
        return [b""] * UNK + ["\N{REPLACEMENT CHARACTER}".encode()] + content[len(SPECIAL_TOKENS) :]

    @functools.cached_property
    def sizes(self) -> Tensor:
        """Characters and bytes that each token stands for, int64 (2, V).

        A character counts where its first byte does. UNK counts as one character of one byte: what it was is
        not known any more, so a figure per byte errs to the worse side.
        """
        characters = [sum(byte & 0xC0 != 0x80 for byte in token) for token in self.token_bytes]
        sizes = torch.tensor([characters, [len(token) for token in self.token_bytes]])
        sizes[:, UNK] = 1
        return sizes


def _numbered(tokens: list[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}


@functools.cache
def _byte_of() -> dict[str, int]:
    """Which byte each letter of the byte-level alphabet stands for (Radford et al. 2019).

    Printable Latin-1 letters stand for themselves, the other bytes for the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


def _to_bytes(piece: str) -> bytes:
    return bytes(_byte_of()[letter] for letter in piece)
