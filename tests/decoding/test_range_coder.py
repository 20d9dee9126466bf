"""The range coder, on any symbols and frequencies: to the bit, and in no more bits than the frequencies say."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodels.decoding.range_coder import BITS, RangeDecoder, RangeEncoder, frequencies


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_symbols_come_back_in_as_many_bits_as_they_are_worth(data: st.DataObject) -> None:
    seed, tokens = data.draw(st.integers(0, 1 << 30)), data.draw(st.integers(1, 40))
    spread, count = data.draw(st.sampled_from([0.0, 1.0, 30.0, 1e4])), data.draw(st.integers(0, 60))
    generator = torch.Generator().manual_seed(seed)
    found = frequencies(spread * torch.randn(count, tokens, generator=generator))
    assert bool((found > 0).all())
    assert found.sum(-1).tolist() == [1 << BITS] * count
    ends = found.cumsum(-1)
    symbols = torch.randint(tokens, (count,), generator=generator).tolist()
    encoder, bits = RangeEncoder(), 0.0
    for row, symbol in enumerate(symbols):
        size = int(found[row, symbol])
        encoder.encode(int(ends[row, symbol]) - size, size)
        encoder.encode(seed % 7, 1, 3)  # among symbols of other sizes
        bits += BITS - math.log2(size) + 3
    written = encoder.finish()
    assert 8 * len(written) <= bits + 16
    decoder = RangeDecoder(written)
    for row, symbol in enumerate(symbols):
        read = int(torch.searchsorted(ends[row], decoder.target(), right=True))
        assert read == symbol
        size = int(found[row, read])
        decoder.skip(int(ends[row, read]) - size, size)
        assert decoder.target(3) == seed % 7
        decoder.skip(seed % 7, 1, 3)


def test_carries() -> None:
    """Symbols at the very end of the range, whose sums run over into bytes that are written already."""
    encoder, last = RangeEncoder(), (1 << BITS) - 1
    for _ in range(100):
        encoder.encode(last, 1)
        encoder.encode(0, last)
    decoder = RangeDecoder(encoder.finish())
    for _ in range(100):
        assert decoder.target() == last
        decoder.skip(last, 1)
        assert decoder.target() < last
        decoder.skip(0, last)
