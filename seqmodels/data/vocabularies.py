"""Vocabularies of bytes and words, and limits on tokenizers from files.

The tokenizers library is compiled: if it runs out of memory, the whole process ends. So a file that would make it
reserve much memory by a few characters is refused here: ids far apart, rules that lengthen a text, deep nesting.
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

TOKENIZER_CHARACTERS = 64 << 20
"""Most characters of a tokenizer's JSON."""
FREE_IDS = 1 << 16
"""Most unused ids below the largest one, beyond the number of tokens."""
TOKENIZER_SETTING_CHARACTERS = 10_000
"""Most characters of a string that is neither a token nor in one of `VOCABULARY_FIELDS`."""
TEXT_GROWTH = 1000
"""Most times that all rules of a tokenizer together may lengthen a text."""
CONTINUING = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that begin no character."""
VOCABULARY_FIELDS = ("vocab", "merges", "precompiled_charsmap", "added_tokens")


def numbered(tokens: Iterable[str]) -> dict[str, int]:
    """Ids of tokens, behind the special ones."""
    return {token: number for number, token in enumerate([*SPECIAL_TOKENS, *tokens])}


@functools.cache
def _byte_of() -> dict[str, int]:
    """Bytes by the letters of the byte-level alphabet (Radford et al. 2019).

    Printable Latin-1 letters stand for themselves, the other bytes for the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


def spelled_bytes(piece: str) -> bytes:
    """The bytes of a token in the byte-level alphabet; a token with other letters stands for itself."""
    if _letters().issuperset(piece):
        return piece.translate(_bytes_of_letters()).encode("latin-1")
    return piece.encode()


def spelled(data: bytes) -> str:
    """Bytes in the byte-level alphabet."""
    return data.decode("latin-1").translate(_letters_of_bytes())


@functools.cache
def _letters_of_bytes() -> dict[int, str]:
    return {byte: letter for letter, byte in _byte_of().items()}


@functools.cache
def _letters() -> frozenset[str]:
    return frozenset(_byte_of())


@functools.cache
def _bytes_of_letters() -> dict[int, int]:
    return {ord(letter): byte for letter, byte in _byte_of().items()}


def extent(numbers: Iterable[int], size: int | None = None) -> tuple[int, list[int]]:
    """The number of ids up to the largest of those given, or a size; and those below it that are not among them."""
    taken = set(numbers)
    size = size or max(taken, default=-1) + 1
    return size, [i for i in range(size) if i not in taken]


def word_level(texts: Iterable[str], vocab_size: int | None, min_count: int) -> str:
    """The JSON of a word tokenizer, the most frequent words first; see `Tokenizer.word`."""
    least = len(SPECIAL_TOKENS) + 2
    if (vocab_size is not None and vocab_size < least) or min_count < 1:
        raise InputError(
            f"vocab_size={vocab_size} and min_count={min_count} were given; a vocabulary of words needs at least "
            f"vocab_size={least} (special tokens, the line end and a word) and min_count=1"
        )
    tokenizer = tokenizers.Tokenizer(models.WordLevel())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|\S+"), "removed", invert=True)
    tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<(?:pad|bos|eos|unk)>(?!\S)"), " ")  # not counted
    settings: dict[str, Any] = {"min_frequency": min_count, "special_tokens": [], "show_progress": False}
    tokenizer.train_from_iterator(several(texts), trainers.WordLevelTrainer(vocab_size=1 << 40, **settings))
    counted = tokenizer.get_vocab()
    words = [word for word in sorted(counted, key=counted.__getitem__) if word != "\n"]
    room = None if vocab_size is None else vocab_size - len(SPECIAL_TOKENS) - 1
    return of_words(["\n", *words[:room]])


def of_words(words: Iterable[str]) -> str:
    """The JSON of a tokenizer with these words, behind the special tokens."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel(numbered(words), unk_token=SPECIAL_TOKENS[UNK]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|\S+"), "removed", invert=True)
    tokenizer.normalizer = normalizers.Replace(Regex(r"(?<!\S)<(?:pad|bos|eos)>(?!\S)"), SPECIAL_TOKENS[UNK])
    spaced = decoders.WordPiece(prefix="\n\n", cleanup=False)  # a space before all words but the first
    tokenizer.decoder = decoders.Sequence([spaced, decoders.Fuse(), decoders.Replace(Regex(" ?\n ?"), "\n")])
    return tokenizer.to_str()


def check_tokenizer(json: str) -> dict[str, Any]:
    """Refuse a tokenizer that would need far more memory than its size.

    Regular expressions need no limit: Oniguruma gives up when it backtracks for too long; see `library_errors`.

    Returns:
        The settings of its model, without the vocabulary.

    Raises:
        InputError: it exceeds a limit, or is no tokenizer.
    """
    if len(json) > TOKENIZER_CHARACTERS:
        raise InputError(f"the tokenizer has {len(json):,} characters; expected at most {TOKENIZER_CHARACTERS:,}")
    found = parse_json(json, f"expected a tokenizer as JSON, and {json[:40]!r}...")
    model = found.get("model") if isinstance(found, dict) else None
    if not isinstance(model, dict):
        raise InputError(f"expected a tokenizer as JSON, and {json[:40]!r}... has no model")
    vocab, added = model.get("vocab"), found.get("added_tokens") or []
    ids = list(vocab.values()) if isinstance(vocab, dict) else [0] * len(vocab) if isinstance(vocab, list) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else [None]
    if not all(type(number) is int and number >= 0 for number in ids):
        raise InputError("the tokenizer has an id that is no number of at least 0")
    if (largest := max(ids, default=0)) > 2 * len(ids) + FREE_IDS:
        raise InputError(f"the tokenizer has {len(ids):,} tokens and the id {largest:,}; expected few free ids below")
    growth = math.prod(_growths({name: part for name, part in found.items() if name != "added_tokens"}))
    if growth > TEXT_GROWTH:
        raise InputError(f"the tokenizer's rules make a text {growth:.3g} times longer; expected at most {TEXT_GROWTH}")
    return {name: value for name, value in model.items() if name not in ("vocab", "merges")}


def _growths(value: Any) -> Iterator[int]:
    """The factor by which each rule can lengthen a text; strings that are too long are refused on the way."""
    if isinstance(value, str) and len(value) > TOKENIZER_SETTING_CHARACTERS:
        most = f"{TOKENIZER_SETTING_CHARACTERS:,}"
        raise InputError(f"the tokenizer has a setting of {len(value):,} characters; expected at most {most}")
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
            if name not in VOCABULARY_FIELDS:
                yield from _growths(part)


def checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each without halves of characters (surrogates), which no UTF-8 has.

    Raises:
        InputError: a text has one.
    """
    for text in texts:
        if not is_unicode(text):
            place, half = next(
                (place, letter) for place, letter in enumerate(text, 1) if "\ud800" <= letter <= "\udfff"
            )
            given = f"the text has {half!a} at character {place:,}, which is half a character"
            raise InputError(f"{given}; expected text that can be written as UTF-8")
        yield text


def several(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each `checked`; refuses (InputError) a single one, whose letters would be taken for texts."""
    if isinstance(texts, str):
        raise InputError(f"one text, {texts!r:.60}, was given; expected several: put it in a list")
    return checked(texts)


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def library_errors(task: str) -> Iterator[None]:
    """Raise failures of the compiled library at `task` as InputErrors: a panic is no `Exception`, of no public type."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        raise InputError(f"the tokenizer failed to {task}: {str(error)[:200]}") from error
