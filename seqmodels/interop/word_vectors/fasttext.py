"""Reading binary models of fastText: a dictionary, and vectors of its words and of buckets of n-grams."""

import struct

import numpy as np
import torch

from seqmodels.errors import InputError
from seqmodels.interop.word_vectors.byte_source import BLOCK_BYTES, ByteSource
from seqmodels.interop.word_vectors.selection import DIMENSIONS, Selection, check_room
from seqmodels.interop.word_vectors.subwords import Subwords

MAGIC = struct.pack("<i", 793712314)
"""First bytes of a file."""
FASTTEXT_VERSION = 12
NGRAM_CHARACTERS = 1000
"""Most characters of an n-gram; models in use have six."""
SETTINGS = struct.Struct("<12id")  # dim ws epoch min_count neg word_ngrams loss model bucket minn maxn lr_update t
COUNTS = struct.Struct("<iiiqq")  # entries words labels tokens pruned
SHAPE = struct.Struct("<?qq")  # quantised rows columns


def read_fasttext(source: ByteSource, selection: Selection) -> Subwords | None:
    """Read words and vectors of a model that `fasttext` saved, and return its n-grams, if it has any.

    Raises:
        InputError: it is of another version, quantised or truncated, or its sizes contradict each other.
    """
    version = struct.unpack("<4xi", source.exactly(8, "its version"))[0]
    if version != FASTTEXT_VERSION:
        raise InputError(f"{source.name} is of version {version} of fastText's format; expected {FASTTEXT_VERSION}")
    dim, *_, buckets, shortest, longest, _, _ = SETTINGS.unpack(source.exactly(SETTINGS.size, "its settings"))
    entries, count, labels, _, pruned = COUNTS.unpack(source.exactly(COUNTS.size, "its counts"))
    if pruned > 0:
        raise InputError(f"{source.name} is a quantised model, which is not read; take the .bin it was made of")
    parts = longest > 0 and buckets > 0 and pruned < 0
    fits = 1 <= dim <= DIMENSIONS and min(count, labels, buckets) >= 0 and entries == count + labels
    if not fits or 10 * entries > source.most:
        raise InputError(
            f"{source.name} promises {count:,} words, {labels:,} labels and {buckets:,} buckets of {dim:,} numbers, "
            f"and the file can hold {source.most:,} bytes; it is damaged"
        )
    if parts and not max(1, shortest) <= longest <= NGRAM_CHARACTERS:
        raise InputError(f"{source.name} has n-grams of {shortest} to {longest} characters; it is damaged")
    places, spelled = _read_dictionary(source, selection, entries, count)
    quantised, rows, columns = SHAPE.unpack(source.exactly(SHAPE.size, "the shape of its vectors"))
    if quantised:
        raise InputError(f"{source.name} is a quantised model, which is not read; take the .bin it was made of")
    if columns != dim or rows < count + (buckets if parts else 0) or 4 * rows * columns > source.most:
        raise InputError(
            f"{source.name} has {rows:,} vectors of {columns:,} numbers, and {count:,} words, {buckets:,} buckets and "
            f"dimension {dim:,}; these do not fit one another: it is damaged"
        )
    _read_own(source, selection, places, count, dim)
    if not parts or not selection.words:
        return None
    check_room(len(selection.rows) + 4 * dim * buckets)
    vectors = source.exactly(4 * dim * buckets, "the vectors of n-grams")
    subwords = Subwords(torch.frombuffer(vectors, dtype=torch.float32).view(buckets, dim), max(1, shortest), longest)
    own = torch.frombuffer(selection.rows, dtype=torch.float32).view(-1, dim)
    subwords.joined(spelled, own)
    return subwords


def _read_dictionary(
    source: ByteSource, selection: Selection, entries: int, count: int
) -> tuple[list[int], list[bytes]]:
    """Indices of the words that are kept, and the words in UTF-8."""
    places, spelled = list[int](), list[bytes]()
    for place in range(entries):
        what = f"entry {place + 1:,} of {entries:,} of its dictionary"
        word = source.until(b"\0", what)
        is_word = source.exactly(9, what)[8] == 0
        text = word.decode(errors="replace")
        if is_word and place >= count:
            raise InputError(f"{source.name} has more words than it promises; it is damaged")
        if is_word and not selection.full and selection.wants(text):
            selection.add(text)
            places.append(place)
            spelled.append(word)
    return places, spelled


def _read_own(source: ByteSource, selection: Selection, places: list[int], count: int, dim: int) -> None:
    """Read the vectors of all `count` words, and keep those at the ascending indices `places`."""
    kept = np.array(places, np.int64)
    together = max(1, BLOCK_BYTES // (4 * dim))
    for first in range(0, count, together):
        height = min(together, count - first)
        block = np.frombuffer(source.exactly(4 * dim * height, "the vectors of words"), "<f4").reshape(height, dim)
        selection.rows += block[kept[(kept >= first) & (kept < first + height)] - first].tobytes()
        check_room(len(selection.rows))
