"""Vocabularies under the special tokens: in what order, of which bytes, of which words.

A tokenizer as JSON, checked before the library that runs it reads it, and what that library does to texts, guarded.

The library is compiled, and where memory does not suffice the whole process ends. So what would make it reserve
memory by a few characters of a file is refused here: ids far apart, texts that a rule makes ever longer, and nesting.
"""

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from seqmodels.batch import SPECIAL_TOKENS, UNK
from seqmodels.errors import InputError
from seqmodels.files import parse_json


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


LARGEST = 64 << 20
"""Most characters of a tokenizer."""
HOLES = 1 << 16
"""Ids that may be free below the largest one, beside as many as there are tokens."""
LONGEST = 10_000
"""Most characters of a string that is neither a token nor a table."""
GROWTH = 1000
"""How much longer the rules of a tokenizer may make a text, all taken together."""
TABLES = ("vocab", "merges", "precompiled_charsmap", "added_tokens")


def check_tokenizer(json: str) -> None:
    """Refuse a tokenizer that would need far more memory than it is large.

    Regular expressions are those of Oniguruma, which gives up on a text that it goes back and forth in for too long;
    see `guarded`.

    Raises:
        InputError: it would, or it is no tokenizer.
    """
    if len(json) > LARGEST:
        raise InputError(f"the tokenizer has {len(json):,} characters; expected at most {LARGEST:,}")
    found = parse_json(json, f"expected a tokenizer as JSON, and {json[:40]!r}...")
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict):
        raise InputError(f"expected a tokenizer as JSON, and {json[:40]!r}... has no model")
    vocab, added = model.get("vocab"), found.get("added_tokens") or []
    ids = list(vocab.values()) if isinstance(vocab, dict) else [0] * len(vocab) if isinstance(vocab, list) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else [None]
    if not all(type(number) is int and number >= 0 for number in ids):
        raise InputError("the tokenizer has an id that is no number of at least 0")
    if (largest := max(ids, default=0)) > 2 * len(ids) + HOLES:
        raise InputError(f"the tokenizer has {len(ids):,} tokens and the id {largest:,}; expected few free ids below")
    growth = math.prod(_growths({name: part for name, part in found.items() if name != "added_tokens"}))
    if growth > GROWTH:
        raise InputError(
            f"the tokenizer's rules make a text up to {growth:.3g} times as long; expected {GROWTH} at most"
        )


def _growths(value: Any) -> Iterator[int]:
    """By how much each rule makes a text longer; strings that are too long are refused on the way."""
    if isinstance(value, str) and len(value) > LONGEST:
        raise InputError(f"the tokenizer has a setting of {len(value):,} characters; expected at most {LONGEST:,}")
    if isinstance(value, list):
        for part in value:
            yield from _growths(part)
    if isinstance(value, dict):
        if value.get("type") in ("Replace", "Prepend"):
            content = value.get("content", value.get("prepend"))
            yield max(1, len(content) if isinstance(content, str) else 1)
        if "precompiled_charsmap" in value:
            yield 30
        for name, part in value.items():
            if name not in TABLES:
                yield from _growths(part)


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Make an error of what the compiled library gives up on: a panic is no `Exception`, and has no public type.

    Args:
        what: what it was asked for.

    Raises:
        InputError: it gave up.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise InputError(f"the tokenizer failed to {what}: {str(error)[:200]}") from error
