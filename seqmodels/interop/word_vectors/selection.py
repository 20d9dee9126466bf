"""The words and vectors that are kept of a file."""

import math
from collections.abc import Collection

from seqmodels.errors import InputError

VECTOR_BYTES = 8 << 30
"""Most bytes of all vectors that are kept: twice those of three million words of 300 dimensions."""
DIMENSIONS = 1 << 16
"""Most dimensions of a vector."""


class Selection:
    """Words that are kept, in the order they come in, each with its vector: so many at most, all or only `words`.

    Raises:
        InputError: the limit is below 1.
    """

    def __init__(self, limit: int | None, words: Collection[str] | None) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit} was given; expected a number of words, at least 1")
        self.wanted = None if words is None else frozenset(words)
        """The only words to keep; None for all."""
        self._most = min(limit or math.inf, math.inf if self.wanted is None else len(self.wanted))
        self._known = set[str]()
        self.words = list[str]()
        """Words that are kept."""
        self.rows = bytearray()
        """Their vectors, float32, one after the other."""

    def wants(self, word: str) -> bool:
        """Whether to keep the next word."""
        return word not in self._known and (self.wanted is None or word in self.wanted)

    @property
    def full(self) -> bool:
        """Whether no more words will be kept."""
        return len(self.words) >= self._most

    def add(self, word: str, row: bytes = b"") -> None:
        """Keep a word and its vector, which may also be added to `rows` later.

        Raises:
            InputError: the vectors take too much memory.
        """
        self._known.add(word)
        self.words.append(word)
        self.rows += row
        check_room(len(self.rows))


def check_room(size: int) -> None:
    """Raise an InputError for more bytes of vectors than `VECTOR_BYTES`."""
    if size > VECTOR_BYTES:
        raise InputError(f"the vectors take more than {VECTOR_BYTES >> 30} GiB; give limit, or the words needed")
