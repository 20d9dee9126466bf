"""A range coder: symbols with known probabilities as bytes, in as many bits as these say, and back (Martin 1979).

All arithmetic is in integers: two programs that agree about the frequencies agree about every bit.
"""

from torch import Tensor

BITS = 32
"""Frequencies add up to 2 ** BITS."""
_WIDTH, _TOP = 64, 1 << 56
_MASK = (1 << _WIDTH) - 1


def frequencies(logits: Tensor) -> Tensor:
    """Whole numbers in proportion to the probabilities of logits (B, V), at least 1 each, with sum 2 ** BITS; int64."""
    p = logits.double().softmax(-1)
    found = (p * ((1 << BITS) - p.shape[-1])).floor().long() + 1
    most = p.argmax(-1, keepdim=True)
    return found.scatter_add(-1, most, (1 << BITS) - found.sum(-1, keepdim=True))


class RangeEncoder:
    """Writes symbols, each an interval of [0, 2 ** bits)."""

    def __init__(self) -> None:
        self._low, self._range, self._bytes = 0, _MASK, bytearray()

    def encode(self, start: int, size: int, bits: int = BITS) -> None:
        """Write the symbol of an interval that begins at `start` and has at least one number, of at most 32 bits."""
        unit = self._range >> bits
        self._low += start * unit
        self._range = size * unit
        self._carry()
        while self._range < _TOP:
            self._bytes.append(self._low >> (_WIDTH - 8))
            self._low, self._range = (self._low << 8) & _MASK, self._range << 8

    def _carry(self) -> None:
        if self._low <= _MASK:
            return
        self._low &= _MASK
        place = len(self._bytes) - 1
        while self._bytes[place] == 255:
            self._bytes[place] = 0
            place -= 1
        self._bytes[place] += 1

    def finish(self) -> bytes:
        """All bytes, with as few at the end as can be told from others by a reader that reads zeros behind them."""
        for count in range(_WIDTH // 8 + 1):
            free = (1 << (_WIDTH - 8 * count)) - 1
            value = (self._low + free) & ~free
            if value < self._low + self._range:
                self._low = value
                self._carry()
                self._bytes += self._low.to_bytes(_WIDTH // 8, "big")[:count]
                break
        return bytes(self._bytes)


class RangeDecoder:
    """Reads the symbols that a `RangeEncoder` wrote, given the same frequencies.

    Args:
        content: the bytes.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._place, self._range = content, _WIDTH // 8, _MASK
        self._code = int.from_bytes(content[: self._place].ljust(self._place, b"\0"), "big")

    def target(self, bits: int = BITS) -> int:
        """A number inside the interval of the next symbol, which `skip` then has to be told."""
        return min(self._code // (self._range >> bits), (1 << bits) - 1)

    def skip(self, start: int, size: int, bits: int = BITS) -> None:
        """Go on behind the symbol of an interval."""
        unit = self._range >> bits
        self._code -= start * unit
        self._range = size * unit
        while self._range < _TOP:
            following = self._content[self._place] if self._place < len(self._content) else 0
            self._code, self._range = ((self._code << 8) | following) & _MASK, self._range << 8
            self._place += 1
