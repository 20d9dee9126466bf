"""Weights by name from safetensors, npz and HDF5 files of any origin, within limits; never from pickles."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from seqmodels.errors import InputError, one_line
from seqmodels.files import AnyPath, check_regular, local

UNPACKED_RATIO = 64
"""Most times its own size that a compressed file may unpack to."""
TENSORS = 10_000
"""Most tensors of a file."""


def read_weights(path: AnyPath) -> dict[str, Tensor]:
    """All floating-point tensors of a file, by name; half precision becomes single.

    Args:
        path: a file of safetensors, a `.npz` of numpy, or HDF5 (`.h5`, `.hdf5`) as Keras writes it, whose names are
            paths such as `rnn_1/rnn_1/kernel:0`; HDF5 needs h5py.

    Raises:
        InputError: it is of another format, such as a pickle; it is damaged, or claims to hold more than it does.
    """
    file = local(path)
    size = check_regular(file)
    with file.open("rb") as opened:
        start = opened.read(16)
    found: dict[str, Tensor]
    try:
        if start.startswith(b"\x89HDF\r\n\x1a\n"):
            found = _read_hdf5(file, size)
        elif start.startswith(b"PK\3\4"):
            found = _read_npz(file, size)
        elif start[8:9] == b"{":
            with safe_open(file, "pt") as tensors:
                found = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 - it is no dict
        else:
            raise InputError("it is neither safetensors nor npz nor HDF5; others could run code, and are not read")
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        why = one_line(str(error)) or type(error).__name__
        raise InputError(f"{str(file)!r} holds no weights that can be read: {why:.300}") from error
    kept = {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}
    if not kept:
        raise InputError(f"{str(file)!r} holds no floating-point tensors; expected the weights of a network")
    return {name: t.float() if t.dtype in (torch.float16, torch.bfloat16) else t for name, t in kept.items()}


def _read_npz(file: Path, size: int) -> dict[str, Tensor]:
    found = {}
    with zipfile.ZipFile(file) as container:
        entries = container.infolist()
        _check_sizes(len(entries), sum(entry.file_size for entry in entries), size)
        for entry in entries:
            if not entry.filename.endswith(".npy"):
                found_one = f"it holds {entry.filename!r:.80}"
                raise InputError(f"{found_one}; expected a .npz of numpy, and no checkpoint of torch.save")
            with container.open(entry) as opened:
                _check_array(opened, entry)
            with container.open(entry) as opened:
                array = np.lib.format.read_array(opened, allow_pickle=False)
            if array.dtype.kind == "f":
                found[entry.filename.removesuffix(".npy")] = torch.from_numpy(np.ascontiguousarray(array))
    return found


def _check_array(opened: Any, entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header promises more numbers than there are, before memory is reserved for them."""
    version = np.lib.format.read_magic(opened)
    read: Callable[..., Any] = (
        np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(opened)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise InputError(f"{entry.filename!r:.80} is said to have shape {shape}, and has {entry.file_size:,} bytes")


def _read_hdf5(file: Path, size: int) -> dict[str, Tensor]:
    try:
        import h5py
    except ImportError as error:
        raise InputError("HDF5 is read by h5py; install it with `pip install 'seqmodels-lightning[hdf5]'`") from error
    datasets: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:  # links to other files are not followed
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            if item.external or item.is_virtual:
                raise InputError(f"{name!r:.80} lies in another file; expected one that holds its tensors itself")
            datasets[name] = item

    with h5py.File(file, "r") as opened:
        opened.visititems(visit)
        _check_sizes(len(datasets), sum(item.size * item.dtype.itemsize for item in datasets.values()), size)
        return {name: torch.from_numpy(np.asarray(item[()])) for name, item in datasets.items()}


def _check_sizes(count: int, unpacked: int, size: int) -> None:
    if count > TENSORS or unpacked > UNPACKED_RATIO * size:
        most = f"at most {TENSORS:,} tensors and {UNPACKED_RATIO} times its {size:,} bytes"
        raise InputError(f"it is said to hold {count:,} tensors of {unpacked:,} bytes; expected {most}")
