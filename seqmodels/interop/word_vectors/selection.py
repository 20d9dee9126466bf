"""Which words of a file are kept, and their vectors."""

from collections.abc import Collection

from seqmodels.errors import InputError

LARGEST = 8 << 30
"""Most bytes of vectors that are kept: twice as many as three million words of 300 numbers have."""
WIDEST = 1 << 16
"""Most numbers of a vector."""


class Selection:
    """Words that are kept, in the order they come in, each with its vector.

    Args:
        limit: how many to keep at most.
        words: which; None for all.

    Raises:
        InputError: there would be none.
    """

    def __init__(self, limit: int | None, words: Collection[str] | None) -> None:
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit} was given; expected how many words to read, at least 1")
        self._wanted = None if words is None else frozenset(words)
        most = [size for size in (limit, None if self._wanted is None else len(self._wanted)) if size is not None]
        self._most = min(most) if most else None
        self._known = set[str]()
        self.words = list[str]()
        """Those kept."""
        self.rows = bytearray()
        """Their vectors, float32, one after the other."""

    def wants(self, word: str) -> bool:
        """Whether to keep a word that comes now."""
        return word not in self._known and (self._wanted is None or word in self._wanted)

    @property
    def full(self) -> bool:
        """Whether nothing else will be kept."""
        return self._most is not None and len(self.words) >= self._most

    def add(self, word: str, row: bytes) -> None:
        """Keep a word.

        Raises:
            InputError: it would be too much.
        """
        self.name(word)
        self.rows += row
        check_room(len(self.rows))

    def name(self, word: str) -> None:
        """Keep a word whose vector is added to `rows` later."""
        self._known.add(word)
        self.words.append(word)


def check_room(size: int) -> None:
    """Refuse more bytes of vectors than `LARGEST`.

    Raises:
        InputError: there are more.
    """
    if size > LARGEST:
        raise InputError(f"the vectors take more than {LARGEST >> 30} GiB; give limit, or the words that are needed")
