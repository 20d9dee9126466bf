"""The weights in a folder of another program: safetensors, in one file or several, read tensor by tensor."""

import math
import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodels.errors import InputError
from seqmodels.files import read_json
from seqmodels.interop.safetensors_table import Place, read_places

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
INDEX_BYTES = 64 << 20
"""Most bytes of an index."""
SHARDS = 1_000
"""Most files of one model."""
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
READ = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Shards:
    """Tensors by name, none of which is read yet; without the `prefix`, or a part of it, that some files have, and
    without those that `unused` matches.

    Raises:
        DamagedError: a file is truncated.
        InputError: there are no weights, a file of several is missing, or one is no file of safetensors.
    """

    def __init__(self, folder: Path, prefix: str = "", unused: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self._places = dict[str, tuple[Path, Place]]()
        self._maps = dict[Path, mmap.mmap]()
        for file in shard_files(folder):
            for name, place in read_places(file).items():
                bare = name.removeprefix(prefix).removeprefix(prefix.partition(".")[2])
                if any(re.fullmatch(pattern, bare) for pattern in unused):
                    continue
                if bare in self._places:
                    raise InputError(f"{name!r:.100} is in {str(file)!r} for a second time; fetch the folder again")
                self._places[bare] = file, place

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def others(self, used: set[str]) -> list[str]:
        """Names that are not among those."""
        return sorted(self._places.keys() - used)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor, which must be there."""
        return tuple(self._places[name][1].shape)

    def read(self, name: str) -> Tensor:
        """A tensor in single precision, which must be there; mapped from its file if it has that there already."""
        return self.read_rows(name, self._places[name][1].shape)

    def read_rows(self, name: str, shape: Sequence[int], below: int = 0) -> Tensor:
        """The first rows of a tensor, below so many rows of zeros, in all of this shape.

        Mapped rows are copied when they are written to. Rows of zeros lie over what the file has before the tensor,
        in a mapping of their own. Numbers of another type are read, not mapped: memory is taken once.
        """
        file, place = self._places[name]
        if place.dtype not in READ:
            raise InputError(f"{name!r:.100} is of {place.dtype}; expected weights in F32, F16 or BF16")
        row, count = math.prod(shape[1:]), math.prod(shape)
        first = place.start - 4 * row * below
        try:
            if place.dtype == torch.float32 and count and first >= 0 and first % 4 == 0:
                found = torch.frombuffer(
                    self._mapped(file, own=below > 0), dtype=place.dtype, count=count, offset=first
                )
                found[: row * below] = 0
                return found.view(*shape)
            stored = torch.empty([shape[0] - below, *shape[1:]] if below else list(shape), dtype=place.dtype)
            with file.open("rb", buffering=0) as source:
                source.seek(place.start)
                room = memoryview(stored.view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
                while room and (read := source.readinto(room)):
                    room = room[read:]
        except OSError as error:
            raise InputError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
        except ValueError:  # of a mapping that ends before
            room = memoryview(b"?")
        if room:
            raise InputError(f"{str(file)!r} has become shorter while it was read; try again")
        return torch.cat([torch.zeros(below, *shape[1:]), stored.float()]) if below else stored.float()

    def _mapped(self, file: Path, own: bool) -> mmap.mmap:
        """A file, mapped so that it is never written to; anew where what comes before a tensor is written over."""
        if own or file not in self._maps:
            with file.open("rb") as source:
                made = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_COPY)
            if own:
                return made
            self._maps[file] = made
        return self._maps[file]


def shard_files(folder: Path) -> list[Path]:
    """The files of weights of a folder.

    Raises:
        InputError: there are none, or not all.
    """
    if (whole := folder / WEIGHTS).is_file():
        return [whole]
    if (index := folder / INDEX).is_file():
        files = [folder / name for name in named_shards(read_json(index, INDEX_BYTES), str(index))]
        if missing := [file.name for file in files if not file.is_file()]:
            raise InputError(f"{str(folder)!r} has no {missing[0]}, which its index names; fetch it, too")
        return files
    if pickled := sorted(file.name for pattern in PICKLED for file in folder.glob(pattern)):
        raise InputError(
            f"{str(folder)!r} has its weights in {pickled[0]}, pickled, which can run code; expected {WEIGHTS}: "
            "where you trust it, convert it by from_pretrained and save_pretrained of transformers"
        )
    raise InputError(f"{str(folder)!r} has no {WEIGHTS} and no {INDEX}; expected the weights beside config.json")


def named_shards(index: dict[str, Any], where: str) -> list[str]:
    """The names of files in an index; of no other folder."""
    table = index.get("weight_map")
    names = sorted({name for name in table.values() if isinstance(name, str)}) if isinstance(table, dict) else []
    if not names or len(names) > SHARDS or any(not re.fullmatch(r"[\w.-]+\.safetensors", name) for name in names):
        raise InputError(f"{where!r} names no files of weights; expected a weight_map to names of .safetensors files")
    return names
