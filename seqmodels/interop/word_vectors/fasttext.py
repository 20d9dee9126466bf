"""Reading models of fastText and floret: a dictionary, and vectors of its words and of buckets of n-grams."""

import struct
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.interop.word_vectors.byte_source import BLOCK_BYTES, ByteSource
from seqmodels.interop.word_vectors.selection import DIMENSIONS, Selection, check_room
from seqmodels.interop.word_vectors.subwords import Subwords

MAGIC = struct.pack("<i", 793712314)
"""First bytes of a file."""
LAST_VERSION = 12
NGRAM_CHARACTERS = 1000
"""Most characters of an n-gram; models in use have six."""
CENTROIDS = 256
"""Of each part of a quantised vector."""
SUPERVISED = 3
SETTINGS = struct.Struct("<11i")  # dim ws epoch min_count neg word_ngrams loss model bucket minn maxn
COUNTS = struct.Struct("<iiiqq")  # entries words labels tokens pruned


class Header(NamedTuple):
    """Sizes of a model."""

    dim: int
    buckets: int
    shortest: int
    longest: int
    hashes: int
    """Rows of each n-gram of floret; 0 for fastText."""
    entries: int
    words: int
    labels: int
    pruned: int
    """Buckets that a pruned model keeps; -1 where all are kept."""


def read_fasttext(source: ByteSource, selection: Selection) -> Subwords | None:
    """Read words and vectors of a model that `fasttext` or `floret` saved, and return its n-grams, if it has any.

    Raises:
        InputError: it is of a later version or truncated, or its sizes contradict each other.
    """
    header = _read_header(source)
    dim, count, pruned = header.dim, header.words, header.pruned
    parts = header.pruned != 0 and header.buckets > 0 and (header.longest > 0 or header.hashes > 0)
    places, spelled = _read_dictionary(source, selection, header)
    pairs = np.frombuffer(source.exactly(8 * max(0, pruned), "the buckets that it keeps"), "<i4").reshape(-1, 2)
    kept = None if pruned < 0 else dict(pairs.tolist())
    wanted = count + (0 if not parts else header.buckets if kept is None else len(kept))
    quantised = source.exactly(1, "its vectors")[0]
    matrix = _read_quantised(source, header, wanted) if quantised else None
    if matrix is None:
        _check_shape(source, header, wanted, 4)
        _read_own(source, selection, places, count, dim)
    else:
        selection.rows += matrix[places].numpy().tobytes()
    if not parts or not selection.words:
        return None
    if kept is not None and any(not 0 <= row < wanted - count for row in kept.values()):
        raise InputError(f"{source.name} keeps buckets of n-grams beyond its vectors; it is damaged")
    if matrix is None:
        check_room(len(selection.rows) + 4 * dim * (wanted - count))
        vectors = source.exactly(4 * dim * (wanted - count), "the vectors of n-grams")
        rows = torch.frombuffer(vectors, dtype=torch.float32).view(-1, dim)
    else:
        rows = matrix[count:wanted]
    lengths = max(1, header.shortest), header.longest
    subwords = Subwords(rows, *lengths, header.buckets, kept, header.hashes)
    subwords.joined(spelled, torch.frombuffer(selection.rows, dtype=torch.float32).view(-1, dim))
    return subwords


def _read_header(source: ByteSource) -> Header:
    """The sizes of a model; floret writes two numbers more than fastText, under the same version."""
    version = struct.unpack("<4xi", source.exactly(8, "its version"))[0]
    if version > LAST_VERSION:
        raise InputError(f"{source.name} is of version {version} of fastText's format; expected at most {LAST_VERSION}")
    settings = source.exactly(SETTINGS.size, "its settings")
    dim, *_, model, buckets, shortest, longest = SETTINGS.unpack(settings)
    hashes, floret = 0, struct.Struct("<2i12x" + COUNTS.format[1:])
    ahead = source.peek(floret.size)
    if len(ahead) == floret.size:
        mode, number, entries, count, labels, tokens, _ = floret.unpack(ahead)
        if mode in (1, 2) and 1 <= number <= 4 and entries == count + labels > 0 and tokens >= 0:
            source.exactly(8, "its settings")
            hashes = number if mode == 2 else 0
    source.exactly(12, "its settings")  # of training
    entries, count, labels, _, pruned = COUNTS.unpack(source.exactly(COUNTS.size, "its counts"))
    longest = 0 if version == 11 and model == SUPERVISED else longest  # such models had no n-grams
    fits = 1 <= dim <= DIMENSIONS and min(count, labels, buckets) >= 0 and entries == count + labels
    if not fits or 10 * entries > source.most or 8 * pruned > source.most:
        raise InputError(
            f"{source.name} promises {count:,} words, {labels:,} labels and {buckets:,} buckets of {dim:,} numbers, "
            f"and the file can hold {source.most:,} bytes; it is damaged"
        )
    if pruned and buckets and longest > 0 and not max(1, shortest) <= longest <= NGRAM_CHARACTERS:
        raise InputError(f"{source.name} has n-grams of {shortest} to {longest} characters; it is damaged")
    return Header(dim, buckets, shortest, longest, hashes, entries, count, labels, pruned)


def _read_dictionary(source: ByteSource, selection: Selection, header: Header) -> tuple[list[int], list[bytes]]:
    """Indices of the words that are kept, and the words in UTF-8."""
    places, spelled = list[int](), list[bytes]()
    for place in range(header.entries):
        what = f"entry {place + 1:,} of {header.entries:,} of its dictionary"
        word = source.until(b"\0", what)
        is_word = source.exactly(9, what)[8] == 0
        text = word.decode(errors="replace")
        if is_word and place >= header.words:
            raise InputError(f"{source.name} has more words than it promises; it is damaged")
        if is_word and not selection.full and selection.wants(text):
            selection.add(text)
            places.append(place)
            spelled.append(word)
    return places, spelled


def _check_shape(source: ByteSource, header: Header, wanted: int, size: int) -> int:
    """Read the shape of a matrix whose rows take at least so many bytes for each number; returns its rows."""
    rows, columns = struct.unpack("<qq", source.exactly(16, "the shape of its vectors"))
    if columns != header.dim or rows < wanted or size * rows * columns > source.most:
        raise InputError(
            f"{source.name} has {rows:,} vectors of {columns:,} numbers, and {header.words:,} words, "
            f"{header.buckets:,} buckets and dimension {header.dim:,}; these do not fit one another: it is damaged"
        )
    return int(rows)


def _read_own(source: ByteSource, selection: Selection, places: list[int], count: int, dim: int) -> None:
    """Read the vectors of all `count` words, and keep those at the ascending indices `places`."""
    kept = np.array(places, np.int64)
    together = max(1, BLOCK_BYTES // (4 * dim))
    for first in range(0, count, together):
        height = min(together, count - first)
        block = np.frombuffer(source.exactly(4 * dim * height, "the vectors of words"), "<f4").reshape(height, dim)
        selection.rows += block[kept[(kept >= first) & (kept < first + height)] - first].tobytes()
        check_room(len(selection.rows))


def _read_quantised(source: ByteSource, header: Header, wanted: int) -> Tensor:
    """A matrix of quantised products (Jégou, Douze and Schmid 2011): parts of vectors, and norms, as codes of bytes."""
    with_norms = source.exactly(1, "its vectors")[0]
    rows = _check_shape(source, header, wanted, 0)
    (size,) = struct.unpack("<i", source.exactly(4, "the codes of its vectors"))
    if not rows <= size <= source.most:
        raise InputError(f"{source.name} has {rows:,} quantised vectors in {size:,} bytes; it is damaged")
    check_room(4 * rows * header.dim)
    codes = source.exactly(size, "the codes of its vectors")
    matrix = _decoded(source, codes, rows, header.dim)
    if with_norms:
        matrix = matrix * _decoded(source, source.exactly(rows, "the norms of its vectors"), rows, 1)
    return torch.from_numpy(matrix)


def _decoded(source: ByteSource, codes: bytearray, rows: int, dim: int) -> np.ndarray:
    """The vectors (rows, dim) of codes, by the centroids that follow in the file."""
    width, parts, wide, last = struct.unpack("<4i", source.exactly(16, "the shape of its centroids"))
    if width != dim or parts * rows != len(codes) or not 1 <= last <= wide or (parts - 1) * wide + last != dim:
        raise InputError(f"{source.name} has quantised vectors of {parts:,} parts that do not fit: it is damaged")
    centroids = np.frombuffer(source.exactly(4 * dim * CENTROIDS, "its centroids"), "<f4")
    table, found = np.frombuffer(codes, np.uint8).reshape(rows, parts), np.empty((rows, dim), np.float32)
    for part in range(parts):
        first, size = part * wide, last if part == parts - 1 else wide
        block = centroids[first * CENTROIDS : (first + size) * CENTROIDS].reshape(CENTROIDS, size)
        found[:, first : first + size] = block[table[:, part]]
    return found
