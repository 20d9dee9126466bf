"""The vocabulary file of RWKV as a tokenizer of the `tokenizers` library.

A line is a number, a piece as a literal of Python, text or bytes, and its number of bytes: `262 ' the' 4`. From the
first byte of a text on, the longest piece that fits is taken. WordPiece without a prefix does the same within a word;
words end here where no piece has the two bytes beside each other, so that no piece is cut.
"""

import ast
import itertools
import re
from collections import defaultdict
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS, library_errors, spelled
from seqmodels.errors import InputError
from seqmodels.files import read_small

FILES = "rwkv_vocab*.txt"
END = "<|end of text|>"
"""The piece 0, which is in no file, and in no text: the byte-level alphabet has another letter for its spaces."""
LINE = re.compile(r"""(\d{1,8}) (b?(['"]).*\3) (\d{1,6})""", re.DOTALL)
LONGEST = 1 << 10
"""Most bytes of a piece."""
NEIGHBOURS = 16
"""Words are not ended before a byte that stands behind more others than these."""


def read_pieces(path: Path) -> dict[int, bytes]:
    """Pieces by their numbers.

    Raises:
        InputError: a line is none of a vocabulary, a number or a piece is there twice, or a byte is not a piece.
    """
    found, numbers = dict[int, bytes](), dict[bytes, int]()
    for place, line in enumerate(read_small(path, TOKENIZER_CHARACTERS).rstrip("\n").split("\n"), 1):
        match = LINE.fullmatch(line)
        try:
            value = ast.literal_eval(match[2]) if match else None
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{str(path)!r} has no literal of Python in line {place:,}: {line[:60]!r}") from error
        piece = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        if match is None or not isinstance(piece, bytes) or not 0 < len(piece) == int(match[4]) <= LONGEST:
            raise InputError(
                f"{str(path)!r} has {line[:60]!r} in line {place:,}; expected a number, a piece of at most {LONGEST:,} "
                "bytes in quotes, and how many it has"
            )
        number = int(match[1])
        if number == 0 or number in found or piece in numbers:
            raise InputError(f"{str(path)!r} has {line[:60]!r} in line {place:,}; its number or its piece is taken")
        found[number], numbers[piece] = piece, number
    if missing := [byte for byte in range(256) if bytes([byte]) not in numbers]:
        raise InputError(f"{str(path)!r} lacks the byte {missing[0]} as a piece; expected all 256, which make any text")
    return found


def greedy_tokenizer(pieces: dict[int, bytes]) -> str:
    """The JSON of a tokenizer that takes the longest piece; the number 0 ends a text."""
    before = defaultdict[int, set[int]](set)
    for piece in pieces.values():
        for first, second in itertools.pairwise(piece):
            before[second].add(first)
    groups = defaultdict[frozenset[int], set[int]](set)
    for byte in range(256):
        if len(before[byte]) <= NEIGHBOURS:
            groups[frozenset(before[byte])].add(byte)
    ends = [
        f"(?<!{_one_of(firsts)}){_one_of(seconds)}" if firsts else _one_of(seconds)
        for firsts, seconds in groups.items()
    ]
    words = f".(?:(?!{'|'.join(ends)}).)*" if ends else ".+"
    vocab = {END: 0} | {spelled(piece): number for number, piece in pieces.items()}
    with library_errors("be made of its pieces"):
        made = tokenizers.Tokenizer(
            models.WordPiece(vocab, unk_token=END, continuing_subword_prefix="", max_input_chars_per_word=1 << 40)
        )
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                pre_tokenizers.Split(Regex(words), "isolated"),
            ]
        )
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([END])
        return made.to_str()


def _one_of(some: frozenset[int] | set[int]) -> str:
    """A class of a regular expression, of letters of the byte-level alphabet."""
    return f"[{''.join(re.escape(spelled(bytes([byte]))) for byte in sorted(some))}]"
