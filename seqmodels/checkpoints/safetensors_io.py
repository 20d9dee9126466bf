"""The file format of checkpoints: safetensors, with everything that is no tensor as JSON in its metadata.

A file is the length of the header (8 bytes), the header (JSON), and the bytes of all tensors:

    {"__metadata__": {"checksum": ..., "checksums": ..., "content": ..., "format": "pt"}, NAME: {"dtype": ...}, ...}

`checksum` is the CRC-32 of the length and of the header behind it; `checksums` has one for each tensor, so that who
reads the weights verifies their bytes alone. `content` is the checkpoint as JSON, which refers to tensors by name.
Nothing in a file is code, and a file of any origin is read within limits.
"""

import json
import math
import mmap
import re
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from seqmodels.errors import DamagedError, InputError, one_line
from seqmodels.files import DEPTH, atomic_writer, check_depth, check_regular
from seqmodels.interop.safetensors_table import DTYPES, HEADER, VALUES, check_count, parse, places
from seqmodels.nn.packing import ALIGNMENT

NAMES = {dtype: name for name, dtype in DTYPES.items()}
START = b'{"__metadata__":{"checksum":"'


def write(path: Path, content: dict[str, Any], prefix: str = "") -> None:
    """Write tensors and plain data, whole or not at all.

    Args:
        path: the file.
        content: nested dicts, lists and tuples of tensors, None, bool, int, float and str. A tensor that occurs twice
            is stored once.
        prefix: removed from the names of tensors, which are their paths, such as `state_dict.head.bias`.

    Raises:
        InputError: something in it is none of these.
        OSError: the disk is full, or the folder cannot be written to.
    """
    packing = _Packing(prefix)
    packed = packing.pack(content, ())
    check_depth(packed, "the checkpoint")
    metadata = {"checksum": "", "checksums": "", "content": json.dumps(packed), "format": "pt"}
    # The more factors of two a size has, the earlier: so large tensors begin at multiples of 64 bytes.
    tensors = sorted(packing.tensors.items(), key=lambda item: -(item[1].nbytes & -item[1].nbytes or ALIGNMENT))
    table, place = dict[str, Any](), 0
    for name, tensor in tensors:
        offsets = [place, place := place + tensor.nbytes]
        table[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}

    def header(checksums: list[int]) -> bytes:
        metadata["checksums"] = "".join(f"{checksum:08x}" for checksum in checksums)
        made = json.dumps({"__metadata__": metadata, **table}, separators=(",", ":")).encode()
        end = made[len(START) :] + b" " * (-(len(made) + 16) % ALIGNMENT)
        length = struct.pack("<Q", len(START) + 8 + len(end))
        return length + START + b"%08x" % zlib.crc32(end, zlib.crc32(length)) + end

    size = len(empty := header([0] * len(tensors)))
    check_count(empty[8:].decode(), "the checkpoint")
    if size > HEADER:
        raise InputError(f"the checkpoint has {size:,} bytes beside its tensors; expected at most {HEADER:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file, ThreadPoolExecutor(1) as thread:
        file.seek(size)
        checksums = []
        for _, tensor in tensors:
            dense = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            data = dense.reshape(-1).view(torch.uint8).numpy().data
            checksums.append(thread.submit(zlib.crc32, data))  # while it is written
            file.write(data)
        file.seek(0)
        file.write(header([checksum.result() for checksum in checksums]))


class _Packing:
    """Makes JSON of content, and collects its tensors by name, each once."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix, self.values = prefix, 0
        self.tensors: dict[str, Tensor] = {}
        self.names: dict[Any, str] = {}

    def pack(self, value: Any, path: tuple[Any, ...]) -> Any:
        """JSON of a value, given its path; see `_unpack`."""
        self.values += 1
        if len(path) > DEPTH or self.values > VALUES:
            raise InputError(f"{_dotted(path):.80} is nested too deeply, or there are more than {VALUES:,} values")
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind in (list, tuple):
            parts = [self.pack(part, (*path, number)) for number, part in enumerate(value)]
            return parts if kind is list else {"$tuple": parts}
        if kind in (dict, OrderedDict):
            packed: Any = {key: self.pack(part, (*path, key)) for key, part in value.items()}
            if any(type(key) is not str or key.startswith("$") for key in packed):
                packed = {"$dict": [[self.pack(key, (*path, key)), part] for key, part in packed.items()]}
            if kind is OrderedDict:  # torch keeps the versions of modules beside their weights
                packed = {"$ordered": [packed, self.pack(getattr(value, "_metadata", None), (*path, "_metadata"))]}
            return packed
        what = ""
        if isinstance(value, Tensor):
            if value.layout is torch.strided and not value.is_meta and value.dtype in NAMES:
                return {"$tensor": self._name(value, path)}
            what = f" of {value.dtype}, {value.layout}, on {value.device}"
        raise InputError(
            f"{_dotted(path):.200} is a {kind.__name__}{what}, which a checkpoint cannot hold; expected dense tensors, "
            "None, bool, int, float or str, or lists, tuples or dicts of them"
        )

    def _name(self, tensor: Tensor, path: tuple[Any, ...]) -> str:
        """The name that a tensor is stored under."""
        place: Any = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if place not in self.names or not tensor.numel():
            name = _dotted(path).removeprefix(self.prefix).encode(errors="replace").decode()
            while name in self.tensors or name == "__metadata__":
                name += "+"
            self.names[place], self.tensors[name] = name, tensor
        return self.names[place]


def _dotted(path: tuple[Any, ...]) -> str:
    return one_line(".".join(map(str, path)))


def read(path: Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """Read tensors and plain data, verified, never code.

    Args:
        path: the file, of this format or of `torch.save`; its first bytes say which.
        keys: those of the content that are read; None for all. Tensors below other keys are not touched.

    Returns:
        The content. Tensors are on the CPU, mapped from the file, and copied when written to.

    Raises:
        DamagedError: the file is truncated, or its bits have changed.
        InputError: it is not of these formats, or asks for more than it holds.
    """
    size = check_regular(path)
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
            if not beginning.strip(b"\0"):
                raise DamagedError("it is empty, or zeros")
            if beginning.startswith(b"PK\3\4"):
                return _read_zip(path, size, keys)
            content, table = _read_header(file, size)
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
        tensors: dict[str, Tensor] = {}

        def tensor(name: str) -> Tensor:
            if name not in tensors:
                tensors[name] = _map_tensor(mapped, name, *table[name])
            return tensors[name]

        wanted = {key: value for key, value in content.items() if keys is None or key in keys}
        return _unpack(wanted, tensor)  # type: ignore[no-any-return]
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except DamagedError as error:
        raise DamagedError(
            f"{str(path)!r} cannot be read: it is truncated or damaged, since {error}; take another checkpoint of its "
            "run, or an older copy"
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        why = one_line(str(error)) if isinstance(error, InputError) else "its parts do not fit one another"
        raise InputError(
            f"{str(path)!r} cannot be read as a checkpoint: {why:.300}; expected checkpoints/best.safetensors or "
            "last.safetensors of a run"
        ) from error


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """The packed content, and dtype, shape, start, stop and checksum of each tensor.

    The checksum of the header is verified, and that the tensors lie one behind the other up to the end of the file.
    """
    file.seek(0)
    length, start = file.read(8), file.read(len(START))
    if sum(one != other for one, other in zip(start, START, strict=False)) > 4:
        raise InputError("it was not written by this package")
    there = struct.unpack("<Q", length)[0] if start == START else 0
    if not len(START) + 8 <= there <= size - 8:
        raise DamagedError("its header does not lie within it")
    if there > HEADER:
        raise InputError(f"its header has {there:,} bytes, and at most {HEADER:,} are read")
    checksum, end = file.read(8), file.read(there - len(START) - 8)
    if checksum != b"%08x" % zlib.crc32(end, zlib.crc32(length)):
        raise DamagedError("the checksum of its header is wrong")
    table = parse((start + checksum + end).decode(), "its header")
    metadata = table.pop("__metadata__")
    content, checksums = parse(metadata["content"], "its content"), bytes.fromhex(metadata["checksums"])
    if not isinstance(content, dict) or len(checksums) != 4 * len(table):
        raise InputError("its content is no object, or there is not one checksum for each tensor")
    found, end_of_tensors = places(table, 8 + there)
    if end_of_tensors != size:
        raise DamagedError(f"its tensors end at byte {end_of_tensors:,}, and it has {size:,}")
    return content, {
        name: (*place, number)
        for (name, place), (number,) in zip(found.items(), struct.iter_unpack(">I", checksums), strict=True)
    }


def _map_tensor(
    mapped: mmap.mmap, name: str, dtype: torch.dtype, shape: list[int], start: int, stop: int, checksum: int
) -> Tensor:
    """A tensor of a mapped file, verified; copied where it begins at a place that torch would not have chosen."""
    if zlib.crc32(memoryview(mapped)[start:stop]) != checksum:
        raise DamagedError(f"the checksum of {name!r:.80} is wrong")
    if start == stop:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(mapped, dtype=torch.uint8, count=stop - start, offset=start)
    return (raw.clone() if raw.data_ptr() % ALIGNMENT else raw).view(dtype).reshape(shape)


def _unpack(value: Any, tensor: Callable[[str], Tensor]) -> Any:
    """The value that `_Packing.pack` made JSON of."""
    if isinstance(value, list):
        return [_unpack(part, tensor) for part in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("$tensor", str(name))]:
            return tensor(name)
        case [("$float", "nan" | "inf" | "-inf" as name)]:
            return float(name)
        case [("$tuple", list(parts))]:
            return tuple(_unpack(part, tensor) for part in parts)
        case [("$dict", list(pairs))]:
            made = {_unpack(key, tensor): _unpack(part, tensor) for key, part in pairs}
            if len(made) == len(pairs) and not any(isinstance(key, Tensor) for key in made):
                return made
        case [("$ordered", [dict(parts), versions])]:
            ordered = OrderedDict(_unpack(parts, tensor))
            if versions is not None:
                ordered._metadata = _unpack(versions, tensor)  # type: ignore[attr-defined]
            return ordered
        case items if not any(key.startswith("$") for key, _ in items):
            return {key: _unpack(part, tensor) for key, part in items}
    raise InputError(f"its content has {str(value)!r:.80}, which is not known")


def _read_zip(path: Path, size: int, keys: Collection[str] | None) -> dict[str, Any]:
    """The content of a file that `torch.save` wrote, within limits."""
    try:
        with zipfile.ZipFile(path) as container:
            entries = container.infolist()
            if any(entry.compress_type for entry in entries) or sum(entry.file_size for entry in entries) > size:
                raise InputError("it is compressed, or has entries larger than the file")
            if any(entry.file_size > HEADER for entry in entries if entry.filename.endswith("data.pkl")):
                raise InputError(f"it has more than {HEADER:,} bytes beside its tensors")
            if (bad := container.testzip()) is not None:
                raise DamagedError(f"the checksum of {bad!r:.80} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (InputError, OSError):
        raise
    except zipfile.BadZipFile as error:
        raise DamagedError("its table of contents cannot be read") from error
    except Exception as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(f"it holds more than tensors and plain data: {code[1] if code else 'no dict'}") from error
    content = {key: value for key, value in dict(content).items() if keys is None or key in keys}
    _Packing().pack(content, ())  # refuses all but plain data, and lists that hold themselves
    return content
