"""Reading files of word vectors: word2vec as text or binary, GloVe, and fastText, told apart by their content."""

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.files import AnyPath
from seqmodels.interop.word_vectors.byte_source import ByteSource
from seqmodels.interop.word_vectors.fasttext import MAGIC, read_fasttext
from seqmodels.interop.word_vectors.selection import DIMENSIONS, Selection
from seqmodels.interop.word_vectors.subwords import Subwords

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

    Four formats are known: word2vec as text, a header with count and dimensions and then a word and its numbers on each
    line (Mikolov et al. 2013), also what fastText writes as `.vec`; the same without a header (GloVe, Pennington et al.
    2014), where words may contain spaces; word2vec as binary; and models of fastText (Bojanowski et al. 2017), version
    12, whose vectors are means over a word and its n-grams. All may be gzipped. Of a word that occurs more than once,
    the first vector is used; bytes of a word that are not UTF-8 become U+FFFD.

    Args:
        path: the file.
        limit: most words to read, the first of the file.
        words: read only these.

    Raises:
        InputError: it has another format, is damaged, promises more than its size allows, or has none of the words.
    """
    selection = Selection(limit, words)
    with ByteSource(path) as source:
        subwords = None
        if source.peek(4) == MAGIC:
            subwords = read_fasttext(source, selection)
        else:
            _read_word2vec_or_glove(source, selection)
        if not selection.words:
            raise InputError(
                f"{source.name} has no vectors" + (" of the words that are asked for" if words is not None else "")
            )
    matrix = torch.frombuffer(selection.rows, dtype=torch.float32).view(len(selection.words), -1)
    return VectorFile(selection.words, matrix, subwords)


def _read_word2vec_or_glove(source: ByteSource, selection: Selection) -> None:
    start = source.peek(1 << 12)
    first, _, rest = start.partition(b"\n")
    if not (header := re.fullmatch(rb"\s*(\d{1,19})\s+(\d{1,19})\s*", first)):
        if not _is_text(start):
            raise InputError(
                f"{source.name} is no file of word vectors; expected word2vec (text or .bin), GloVe or fastText"
            )
        _read_text(source, selection, None, None)
        return
    source.line()
    count, dim = int(header[1]), int(header[2])
    binary = not _is_text(rest)
    least = count * (4 * dim + 1 if binary else 2 * dim + 1)  # a space and a digit for each number
    if not count or not 1 <= dim <= DIMENSIONS or least > source.most:
        raise InputError(
            f"the header of {source.name} promises {count:,} vectors of {dim:,} numbers, and the file can hold "
            f"{source.most:,} bytes; expected 1 to {DIMENSIONS:,} numbers, and what fits: it is damaged"
        )
    if binary:
        _read_binary(source, selection, count, dim)
    else:
        _read_text(source, selection, count, dim)


def _is_text(start: bytes) -> bool:
    """Whether bytes have no control characters; binary numbers soon do."""
    return re.search(rb"[\x00-\x08\x0e-\x1f]", start) is None


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
        word, *fields = line.strip().rsplit(None, dim)
        if len(fields) < dim or (b" " in word and _is_number(word.split()[-1])):
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
