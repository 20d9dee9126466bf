"""Files compressed by a language model, to the bits that it finds likely, and restored to the bit."""

import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.batch import BOS, EOS, UNK, Batch
from seqmodels.data import Tokenizer
from seqmodels.decoding.range_coder import RangeDecoder, RangeEncoder, frequencies
from seqmodels.environment import threads
from seqmodels.errors import DamagedError, InputError
from seqmodels.files import to_json
from seqmodels.nn.dropout import evaluating
from seqmodels.nn.steppers import make_stepper
from seqmodels.state import State
from seqmodels.tasks.dynamic_evaluation import Dynamic, Learn, learning
from seqmodels.tasks.language_model import LanguageModel

MAGIC = b"SQM1"
HEADER = struct.Struct("<4s8sIIIQH")
"""Magic, hash of the model, rounding of the machine, checksum, lanes, tokens, and tokens of a piece."""
SPEED = struct.Struct("<3d")
"""Learning rate, decay and epsilon of dynamic evaluation, where pieces have tokens."""
CHARACTER = 21
"""Bits of a character that the vocabulary lacks."""
LANES = 4096
"""Most lanes."""
SURROGATES = "\ud800-\udfff"
"""Characters that stand for bytes which are no UTF-8."""

Progress = Callable[[Sequence[int]], Iterable[int]]


class Learning(NamedTuple):
    """Dynamic evaluation of a file: how fast, after how many tokens, and batches of the training text."""

    how: Dynamic
    piece: int
    statistics: Callable[[], Iterable[Batch]]


def compress(
    task: LanguageModel, content: bytes, lanes: int = 1, learn: Learning | None = None, progress: Progress = iter
) -> bytes:
    """Compress a file with the probabilities of a model, which `decompress` needs to restore it.

    The tokens are coded one by one, in lanes that begin at even distances without context and are read side by side.

    Args:
        task: the model.
        content: of the file, any bytes; those that the vocabulary has no token for cost about seven bytes each.
        lanes: more are faster, and compress less.
        learn: the model learns from each piece after it was coded.
        progress: wraps the positions of a lane.

    Raises:
        InputError: the vocabulary cannot give the text back, as words that lose white space; or lanes are none.
    """
    if not 1 <= lanes <= LANES or (learn is not None and not 1 <= learn.piece < 1 << 16):
        given = f"lanes={lanes}" if learn is None else f"lanes={lanes} and pieces of {learn.piece} tokens"
        raise InputError(f"{given} was given; expected from 1 to {LANES:,} lanes, and pieces of 1 to 65,535 tokens")
    items = list(_items(task.tokenizer, content))
    coder = RangeEncoder()

    def code(token_row: int, position: int, frequency: Tensor, ends: Tensor) -> int:
        token, character = items[token_row * width + position]
        size = int(frequency[token])
        coder.encode(int(ends[token]) - size, size)
        if character is not None:
            coder.encode(character, 1, CHARACTER)
        return token

    width = -(-len(items) // lanes) or 1
    _code(task, len(items), lanes, learn, progress, code)
    piece = 0 if learn is None else learn.piece
    head = HEADER.pack(MAGIC, model_hash(task), rounding(), zlib.crc32(content), lanes, len(items), piece)
    speed = b"" if learn is None else SPEED.pack(learn.how.lr, learn.how.decay, learn.how.epsilon)
    return head + speed + coder.finish()


def decompress(
    task: LanguageModel, compressed: bytes, statistics: Callable[[], Iterable[Batch]], progress: Progress = iter
) -> bytes:
    """Restore what `compress` made.

    Args:
        task: the model that compressed it.
        compressed: what `compress` returned.
        statistics: batches of the training text, for a model that learned.
        progress: as of `compress`.

    Raises:
        InputError: it was compressed by another model, or is no such file.
        DamagedError: it is damaged, or was compressed on a machine that rounds otherwise.
    """
    if len(compressed) < HEADER.size or not compressed.startswith(MAGIC):
        raise InputError("this is no file that seqmodels compress wrote")
    _, model, machine, checksum, lanes, count, piece = HEADER.unpack_from(compressed)
    if model != (own := model_hash(task)):
        raise InputError(
            f"it was compressed by another model, {model.hex()}, than the one given, {own.hex()}; give that model, and "
            "the same --counts and --cache"
        )
    start, learn = HEADER.size, None
    if len(compressed) < start + SPEED.size * bool(piece) or not 1 <= lanes <= LANES:
        raise DamagedError("it is damaged: its head makes no sense")
    if piece:
        learn = Learning(Dynamic(*SPEED.unpack_from(compressed, start)), piece, statistics)
        start += SPEED.size
    coder = RangeDecoder(compressed[start:])
    found: list[list[tuple[int, int | None]]] = [[] for _ in range(lanes)]

    def code(row: int, position: int, frequency: Tensor, ends: Tensor) -> int:
        token = int(torch.searchsorted(ends, coder.target(), right=True))
        size = int(frequency[token])
        coder.skip(int(ends[token]) - size, size)
        character = None
        if token == UNK:
            character = coder.target(CHARACTER)
            coder.skip(character, 1, CHARACTER)
        found[row].append((token, character))
        return token

    _code(task, count, lanes, learn, progress, code)
    content = _content(task.tokenizer, (item for row in found for item in row))
    if zlib.crc32(content) != checksum:
        other = "; it was compressed with another version of torch or kind of processor, which round otherwise"
        raise DamagedError(f"it is damaged, and was not restored{other if machine != rounding() else ''}")
    return content


def _code(
    task: LanguageModel, count: int, lanes: int, learn: Learning | None, progress: Progress,
    code: Callable[[int, int, Tensor, Tensor], int],
) -> None:  # fmt: skip
    """Read tokens as they are coded: `code` is told lane, position, frequencies and their ends, and tells the token."""
    width, device = -(-count // lanes) or 1, task.embedding.weight.device
    lengths = [max(0, min(width, count - row * width)) for row in range(lanes)]
    longest = task.backbone.max_length or width
    piece = min(longest, width) if learn is None else learn.piece
    tokens, state, read = torch.full((lanes,), BOS, device=device), None, list[Tensor]()
    with ExitStack() as stack:
        stack.enter_context(evaluating(task))
        stack.enter_context(threads(1))  # sums in one order, however many cores there are
        update: Learn | None = None
        if learn is not None:
            update = stack.enter_context(learning(task, learn.statistics(), learn.how))
        stack.enter_context(torch.inference_mode(learn is None))
        seen = 0
        for position in progress(range(width if count else 0)):
            if position % piece == 0:
                if read:
                    state = _piece_end(task, update, torch.stack(read, 1), tokens, state)
                    read.clear()
                if seen + piece > longest:
                    state, seen = None, 0
                seen += piece
                with torch.no_grad():
                    stepper = make_stepper(task.backbone, task.embedding.weight, state, lanes)
            with torch.no_grad():
                logits = task.head(stepper(tokens))
            if update is not None:
                read.append(tokens)
            found = frequencies(logits.cpu())
            ends = found.cumsum(-1)
            coded = [
                code(row, position, found[row], ends[row]) if position < lengths[row] else EOS for row in range(lanes)
            ]
            tokens = torch.tensor(coded, device=device)


def _piece_end(
    task: LanguageModel, update: Learn | None, read: Tensor, last: Tensor, state: State | None
) -> State | None:
    """The state after a piece, (B, T), from which the model has learned; `last` are the tokens behind it, (B,)."""
    assert update is not None
    return update(Batch(read, torch.cat([read[:, 1:], last[:, None]], 1)), state)[1]


def _items(tokenizer: Tokenizer, content: bytes) -> Iterator[tuple[int, int | None]]:
    """Tokens of a file; UNK with the number of a character that has none."""
    text = content.decode("utf-8", "surrogateescape")
    unknown = "".join({*tokenizer.unknown(re.sub(f"[{SURROGATES}]", "", text))} - {" "})
    for place, piece in enumerate(re.split(f"([{SURROGATES}{re.escape(unknown)}])", text)):
        if place % 2:
            yield UNK, ord(piece)
            continue
        ids = tokenizer.encode(piece) if piece else []
        if UNK in ids or tokenizer.decode(ids) != piece:
            raise InputError(
                "the vocabulary of this model does not give a text back as it was (words lose white space between "
                "them); train a model with characters, bytes or bpe"
            )
        yield from ((token, None) for token in ids)


def _content(tokenizer: Tokenizer, items: Iterable[tuple[int, int | None]]) -> bytes:
    """The file of tokens."""
    parts, run = list[str](), list[int]()
    for token, character in items:
        if character is None:
            run.append(token)
            continue
        parts += [tokenizer.decode(run), chr(min(character, 0x10FFFF))]
        run = []
    try:
        return "".join([*parts, tokenizer.decode(run)]).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return b""  # which has another checksum


def model_hash(task: LanguageModel) -> bytes:
    """Eight bytes that tell models apart: their tokenizers, networks and weights."""
    digest = hashlib.sha256(to_json(task.constructor_call).encode())
    for name, tensor in sorted(task.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()[:8]


def rounding() -> int:
    """A number that differs where floating-point results may: by version of torch and kind of processor."""
    return zlib.crc32(f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}".encode())
