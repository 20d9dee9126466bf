"""The table of contents of a safetensors file of any origin, read within limits."""

import math
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from seqmodels.errors import DamagedError, InputError
from seqmodels.files import check_regular, parse_json

HEADER = 100_000_000
"""Most bytes of a header, as in the safetensors library, and of the pickled part of a checkpoint of Lightning's."""
VALUES = 1_000_000
"""Most values in the JSON of a header; a large Transformer with its optimizer has 50,000."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3":
    torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Place(NamedTuple):
    """Where a tensor lies in a file, from its first byte to behind its last."""

    dtype: torch.dtype
    shape: list[int]
    start: int
    stop: int


def places(table: dict[str, Any], first: int) -> tuple[dict[str, Place], int]:
    """The tensors of a table, which lie one behind the other from byte `first` on, and where the last one ends.

    Raises:
        InputError: one has no valid shape, or lies elsewhere.
        KeyError, TypeError: an entry is malformed.
    """
    place, found = 0, dict[str, Place]()
    for name, entry in table.items():
        dtype, shape, offsets = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        sizes = all(type(size) is int and 0 <= size < 1 << 48 for size in (*shape, *offsets)) and len(shape) < 32
        if not sizes or offsets != [place, place + math.prod(shape) * dtype.itemsize]:
            raise InputError(f"{name!r:.80} has no valid shape, or does not lie behind the tensor before it")
        found[name] = Place(dtype, shape, first + place, first + offsets[1])
        place = offsets[1]
    return found, first + place


def read_places(path: Path) -> dict[str, Place]:
    """The tensors of a safetensors file of another program.

    Raises:
        DamagedError: it is truncated.
        InputError: it is no such file.
    """
    size = check_regular(path)
    try:
        with path.open("rb") as file:
            table, first = _header(file, size)
        table.pop("__metadata__", None)
        found, end = places(dict(sorted(table.items(), key=lambda item: item[1]["data_offsets"])), first)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = str(error) if isinstance(error, InputError) else "its table of contents is malformed"
        raise InputError(f"{str(path)!r} is no file of safetensors: {why:.300}; fetch it again") from error
    if end != size:
        raise DamagedError(f"{str(path)!r} is truncated or damaged: its tensors end at byte {end:,} of {size:,}")
    return found


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The table, and where the bytes of tensors begin."""
    (length,) = struct.unpack("<Q", file.read(8)) if size >= 8 else (0,)
    if not 2 <= length <= min(HEADER, size - 8):
        raise InputError("its header does not lie within it")
    return parse(file.read(length).decode(), "its header"), 8 + length


def parse(text: str, name: str) -> Any:
    """JSON that takes little more memory than its text."""
    check_count(text, name)
    return parse_json(text, name)


def check_count(text: str, name: str) -> None:
    """Refuse JSON with more than `VALUES` values; commas within strings, such as a tokenizer, do not count."""
    if sum(map(text.count, "[{,")) > VALUES:
        text = re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*"', "", text)
        if sum(map(text.count, "[{,")) > VALUES:
            raise InputError(f"{name} has more than {VALUES:,} values")
