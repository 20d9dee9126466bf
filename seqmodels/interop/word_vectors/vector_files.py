"""Reading files of word vectors: word2vec as text or binary, GloVe, and fastText, told apart by their content."""

import codecs
import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.files import AnyPath
from seqmodels.interop.word_vectors.byte_source import BUFFER_BYTES, ByteSource
from seqmodels.interop.word_vectors.fasttext import MAGIC, read_fasttext
from seqmodels.interop.word_vectors.selection import DIMENSIONS, Selection
from seqmodels.interop.word_vectors.subwords import MURMUR_SEED, Subwords

CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
DIMENSION_LINES = 20
"""Lines that vote on the number of dimensions of a file without header: words with spaces make single lines longer."""


class VectorFile(NamedTuple):
    """Words and vectors of a file."""

    words: list[str]
    """N words in the order of the file, by custom the most frequent first."""
    matrix: Tensor
    """Their vectors, float32 (N, D)."""
    subwords: Subwords | None
    """Vectors of character n-grams, if the file has them."""


def read_vectors(path: AnyPath, limit: int | None = None, words: Collection[str] | None = None) -> VectorFile:
    """Read word vectors.

    Known are: word2vec as text, a header with count and dimensions and then a word and its numbers on each line
    (Mikolov et al. 2013), also what fastText writes as `.vec`; the same without a header (GloVe, Pennington et al.
    2014); word2vec as binary; models of fastText (Bojanowski et al. 2017), also quantised ones, whose vectors are means
    over a word and its n-grams; and models and tables of floret. All may be gzipped. Words of text may contain spaces.
    Of a word that occurs more than once, the first vector is used; bytes of a word that are not UTF-8 become U+FFFD.

    Args:
        path: the file.
        limit: most words to read, the first of the file.
        words: read only these.

    Raises:
        InputError: it has another format, is damaged, promises more than its size allows, or has none of the words.
    """
    selection = Selection(limit, words)
    with ByteSource(path) as source:
        if source.peek(4) == MAGIC:
            subwords = read_fasttext(source, selection)
        else:
            subwords = _read_word2vec_or_glove(source, selection)
        if not selection.words:
            raise InputError(
                f"{source.name} has no vectors" + (" of the words that are asked for" if words is not None else "")
            )
    matrix = torch.frombuffer(selection.rows, dtype=torch.float32).view(len(selection.words), -1)
    return VectorFile(selection.words, matrix, subwords)


def _read_word2vec_or_glove(source: ByteSource, selection: Selection) -> Subwords | None:
    if source.peek(3) == codecs.BOM_UTF8:
        source.exactly(3, "its mark of UTF-8")
    start = source.peek(BUFFER_BYTES)
    first, _, rest = start.partition(b"\n")
    if header := re.fullmatch(rb"(\d{1,9}) (\d{1,9}) (\d{1,9}) (\d{1,9}) ([1-4]) (\d{1,10}) (\S+) (\S+)\s*", first):
        source.line()
        return _read_floret(source, selection, header)
    if not (header := re.fullmatch(rb"\s*(\d{1,19})\s+(\d{1,19})\s*", first)):
        if not _is_text(start, 1):
            raise InputError(
                f"{source.name} is no file of word vectors; expected word2vec (text or .bin), GloVe, fastText or floret"
            )
        _read_text(source, selection, None, None)
        return None
    source.line()
    count, dim = int(header[1]), int(header[2])
    binary = not _is_text(rest, dim)
    least = count * (4 * dim + 1 if binary else 2 * dim)  # a space and a digit for each number
    if not count or not 1 <= dim <= DIMENSIONS or least > source.most:
        raise InputError(
            f"the header of {source.name} promises {count:,} vectors of {dim:,} numbers, and the file can hold "
            f"{source.most:,} bytes; expected 1 to {DIMENSIONS:,} numbers, and what fits: it is damaged"
        )
    if binary:
        _read_binary(source, selection, count, dim)
    else:
        _read_text(source, selection, count, dim)
    return None


def _is_text(start: bytes, dim: int) -> bool:
    """Whether a first line has numbers as text, or bytes have no control characters, which binary numbers soon do."""
    line, end, _ = start.partition(b"\n")
    parts = line.rsplit(None, dim)
    return bool(end and len(parts) >= dim and all(map(_is_number, parts[-dim:]))) or not CONTROL.search(start[:4096])


def _split(line: bytes, dim: int) -> list[bytes]:
    """A word and its numbers; the word is all but one space before them, and may be spaces or nothing."""
    line = line.rstrip()
    parts = line.rsplit(b" ", dim)
    if len(parts) <= dim or not all(parts[1:]):  # tabs, or several spaces between numbers
        parts = line.rsplit(None, dim)
    return parts


def _read_text(source: ByteSource, selection: Selection, count: int | None, dim: int | None) -> None:
    """Read lines of a word and its numbers; `count` and `dim` are None without a header."""
    ahead, told = list[bytes](), "as the header says"
    if dim is None:
        ahead, told = [line for line in (source.line() for _ in range(DIMENSION_LINES)) if line], "as another line has"
        widths = [len(line.split()) for line in ahead if line.strip()]
        dim = max(set(widths), key=widths.count, default=0) - 1  # of most lines, for words may contain spaces
        if not 1 <= dim <= DIMENSIONS:
            raise InputError(f"{source.name} does not begin with a word and 1 to {DIMENSIONS:,} numbers on each line")
    number, seen, following = int(count is not None), 0, iter(ahead)
    while not selection.full and (line := next(following, b"") or source.line()):
        number += 1
        if not line.strip():
            continue
        seen += 1
        word, *fields = _split(line, dim)
        # Without a header, a number at the end of a word is more likely one of another dimension.
        if len(fields) < dim or (count is None and b" " in word.strip() and _is_number(word.split()[-1])):
            raise InputError(
                f"line {number} of {source.name} has {len(line.split()) - 1} numbers behind a word; expected {dim}, "
                f"{told}: the file is damaged or truncated"
            )
        text = word.decode(errors="replace")
        if selection.wants(text):
            selection.add(text, _row(fields, number, source.name))
    if count is not None and seen != count and not selection.full:
        raise InputError(
            f"{source.name} has {seen:,} vectors, and its header promises {count:,}; it is truncated or damaged"
        )


def _read_floret(source: ByteSource, selection: Selection, header: re.Match[bytes]) -> Subwords:
    """Read a table of floret, whose rows are buckets of n-grams, and make the vectors of the words that are wanted."""
    buckets, dim, shortest, longest, hashes, seed = map(int, header.groups()[:6])
    if selection.wanted is None:
        raise InputError(f"{source.name} is a table of floret, which has no words of its own; give those that you need")
    if seed != MURMUR_SEED:
        raise InputError(f"{source.name} is a table of floret with hashes of seed {seed}; expected {MURMUR_SEED}")
    rows = Selection(None, None)
    _read_text(source, rows, buckets, dim)
    if rows.words != [str(number) for number in range(buckets)]:
        raise InputError(f"{source.name} is a table of floret whose buckets are not numbered in order; it is damaged")
    table = torch.frombuffer(rows.rows, dtype=torch.float32).view(buckets, dim)
    subwords = Subwords(table, max(1, shortest), longest, hashes=hashes, marks=(header[7], header[8]))
    for word in sorted(selection.wanted):
        if not selection.full and (row := subwords.vector(word)) is not None:
            selection.add(word, row.numpy().tobytes())
    return subwords


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _row(fields: list[bytes], number: int, name: str) -> bytes:
    try:
        with np.errstate(over="ignore"):  # it is refused below
            row = np.array(fields, np.float32)
    except ValueError:
        wrong = next(field for field in fields if not _is_number(field))
        raise InputError(
            f"line {number} of {name} has {wrong.decode(errors='replace')[:40]!r} where a number was expected"
        ) from None
    if not np.isfinite(row).all():
        raise InputError(f"line {number} of {name} has a number that is not finite; leave this word out")
    return row.tobytes()


def _read_binary(source: ByteSource, selection: Selection, count: int, dim: int) -> None:
    """Read words, a space and float32 numbers, little-endian; word2vec itself writes a line end behind them."""
    for number in range(1, count + 1):
        if selection.full:
            return
        what = f"vector {number:,} of {count:,}"
        word = source.until(b" ", what).lstrip(b"\n").decode(errors="replace")
        row = bytes(source.exactly(4 * dim, what))
        if not selection.wants(word):
            continue
        if not np.isfinite(np.frombuffer(row, "<f4")).all():
            raise InputError(f"{what} in {source.name} has a number that is not finite; the file is damaged")
        selection.add(word, row)
    if not selection.full and not source.ends():
        raise InputError(
            f"{source.name} goes on behind the {count:,} vectors that its header promises; it is damaged, so fetch it "
            "again"
        )
