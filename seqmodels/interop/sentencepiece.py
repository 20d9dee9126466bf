"""SentencePiece models (`.spm`, `spiece.model`) as tokenizers of the `tokenizers` library.

A file is a message of protocol buffers: fields of a number, a kind and a value, of which four are read here. Unigram
models segment as SentencePiece does: the likeliest pieces, and runs of unknown characters as one.
"""

import base64
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqmodels.errors import InputError
from seqmodels.files import check_regular

FILE_BYTES = 64 << 20
"""Most bytes of a model; those in use have up to five million."""
PIECES = 1 << 20
"""Most pieces."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)
"""Kinds of pieces."""
UNIGRAM = 1
SPACE = "\u2581"
"""Stands for a space in a piece."""


class SentencePieces(NamedTuple):
    """What is read of a model."""

    scores: dict[str, float]
    """Log-probability of each piece that a text can have, by its text."""
    names: list[str]
    """The text of all pieces, in the order of their ids."""
    unknown: int
    """Id of the unknown piece."""
    charsmap: bytes
    """Rules of normalization, compiled; empty for none."""
    prefix: bool
    """Whether a space is put before a text."""
    spaces: bool
    """Whether spaces at the ends of a text, and of several together all but one, are removed."""


def read_pieces(path: Path) -> SentencePieces:
    """Read a model of SentencePiece.

    Raises:
        InputError: it is none, or no unigram model.
    """
    if (size := check_regular(path)) > FILE_BYTES:
        raise InputError(f"{str(path)!r} has {size:,} bytes; expected a SentencePiece model of at most {FILE_BYTES:,}")
    try:
        return _parsed(path.read_bytes())
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        why = str(error) if isinstance(error, InputError) else "its parts do not fit one another"
        raise InputError(f"{str(path)!r} is no SentencePiece model that can be used: {why}") from error


def _parsed(data: bytes) -> SentencePieces:
    scores, names, unknown = dict[str, float](), list[str](), -1
    trainer, normalizer = dict[int, Any](), dict[int, Any]()
    for number, value in _fields(data):
        if number == 1:
            piece: dict[int, Any] = {1: b"", 2: b"\0\0\0\0", 3: NORMAL, **dict(_fields(value))}
            name, kind = piece[1].decode(), piece[3]
            if kind == UNKNOWN:
                unknown = len(names)
            elif kind in (NORMAL, USER_DEFINED):
                (scores[name],) = struct.unpack("<f", piece[2])
            elif kind not in (CONTROL, UNUSED):
                raise InputError("it has pieces of bytes, which are not known here")
            names.append(name)
            if len(names) > PIECES:
                raise InputError(f"it has more than {PIECES:,} pieces")
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    if trainer.get(3, UNIGRAM) != UNIGRAM:
        raise InputError("it is no unigram model, and others are not known here")
    if unknown < 0 or not scores:
        raise InputError("it has no pieces, or no unknown one")
    return SentencePieces(
        scores, names, unknown, normalizer.get(2, b""), bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1))
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of the fields of a message: integers, or bytes."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError

    while place < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}[kind] if kind != 2 else varint()
        if place + length > len(data):
            raise ValueError
        yield key >> 3, data[place : place + length]
        place += length


def as_tokenizer(
    model: SentencePieces, ids: Mapping[str, int], unknown: int, keep: Sequence[str] = ()
) -> tuple[str, int]:
    """The JSON of a tokenizer that segments by a model and has other ids, such as those of `vocab.json`.

    Tokens that the model lacks get a space behind their name, so that no text has them; not those to `keep`, special
    ones, which a text with their name does not have either. Pieces without an id come behind the last one.

    Returns:
        The JSON, and the number of ids; those from there on are unknown tokens.

    Raises:
        InputError: two tokens have the same id, or ids are left out.
    """
    if sorted(ids.values()) != list(range(len(ids))):
        raise InputError(
            f"the vocabulary has {len(ids):,} tokens; expected the ids from 0 to {len(ids) - 1:,}, each once"
        )
    vocab: list[list[Any]] = [["", 0.0] for _ in ids]
    for name, number in ids.items():
        known = name in model.scores and number != unknown
        vocab[number] = [name, model.scores[name]] if known else [f"{name} ", 0.0]
    vocab += [[name, score] for name, score in model.scores.items() if name not in ids]
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        charsmap = base64.b64encode(model.charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if model.spaces:
        for pattern, content in (("^ +| +$", ""), (" {2,}", " ")):
            steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
    scheme = "always" if model.prefix else "never"
    metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}
    bare = {"type": "Replace", "pattern": {"String": " "}, "content": ""}
    decoder = {"type": "Sequence", "decoders": [bare, metaspace]}
    codes = [name for name in ids if name.startswith(">>") and name.endswith("<<")]
    added: list[dict[str, Any]] = [
        {"id": ids[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": False}
        for name in sorted(codes, key=ids.__getitem__)
    ] + [
        {"id": ids[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for name in keep
    ]  # fmt: skip
    added.sort(key=lambda token: token["id"])
    for name in [*codes, *keep]:
        vocab[ids[name]] = [name, 0.0]
    whole = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": metaspace, "post_processor": None, "decoder": decoder,
        "model": {"type": "Unigram", "unk_id": unknown, "vocab": vocab, "byte_fallback": False},
    }  # fmt: skip
    return json.dumps(whole, ensure_ascii=False), len(ids)


def vocabulary(json_text: str, size: int) -> dict[str, int]:
    """The `ids` that `as_tokenizer` was given, of its results."""
    whole = json.loads(json_text)
    added = {token["id"] for token in whole["added_tokens"]}
    names = [name if number in added else name.removesuffix(" ") for number, (name, _) in _numbered(whole, size)]
    return {name: number for number, name in enumerate(names)}


def as_model(json_text: str, size: int, pieces: int | None = None) -> bytes:
    """The SentencePiece model of the results of `as_tokenizer`: it segments as the tokenizer does.

    Args:
        json_text: the JSON.
        size: the number of ids.
        pieces: number of pieces, which have the ids of the tokenizer, its special ones among them; None for a model
            with ids of its own.
    """
    whole = json.loads(json_text)
    unknown, added = whole["model"]["unk_id"], {token["id"] for token in whole["added_tokens"]}
    vocab = whole["model"]["vocab"]
    if pieces is None:
        kept = [one for number, one in enumerate(vocab) if number not in added and not one[0].endswith(" ")]
        found = [_piece("<unk>", 0.0, UNKNOWN), _piece("<s>", 0.0, CONTROL), _piece("</s>", 0.0, CONTROL)]
        found += [_piece(name, score, NORMAL) for name, score in kept]
        special = (0, 1, 2, -1)
    else:
        kinds = {number: CONTROL for number, (name, _) in _numbered(whole, pieces) if name.endswith(" ")}
        kinds |= dict.fromkeys(added, CONTROL) | {unknown: UNKNOWN}
        found = [
            _piece(name.removesuffix(" "), score, kinds.get(number, NORMAL))
            for number, (name, score) in _numbered(whole, pieces)
        ]
        named = {name: number for number, (name, _) in _numbered(whole, pieces)}
        special = (unknown, -1, named.get("</s>", -1), named.get("<pad>", -1))
    steps = (whole["normalizer"] or {}).get("normalizers", [])
    charsmap = next((one["precompiled_charsmap"] for one in steps if one["type"] == "Precompiled"), "")
    prefix = whole["pre_tokenizer"]["prepend_scheme"] == "always"
    spaces = any(one["type"] == "Replace" for one in steps)
    trainer = _number(3, UNIGRAM) + b"".join(_number(field, i) for field, i in zip(range(40, 44), special, strict=True))
    normalizer = _text(2, base64.b64decode(charsmap)) + _number(3, prefix) + _number(4, spaces) + _number(5, 1)
    return b"".join(found) + _text(2, trainer) + _text(3, normalizer)


def _numbered(whole: Mapping[str, Any], count: int) -> Iterator[tuple[int, tuple[str, float]]]:
    return enumerate(whole["model"]["vocab"][:count])


def _piece(name: str, score: float, kind: int) -> bytes:
    return _text(1, _text(1, name.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value % (1 << 64))


def _text(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
