"""A folder that a model is shared in, read back: weights as safetensors, all else as JSON."""

import hashlib
import itertools
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from seqmodels.config import class_path
from seqmodels.data import Tokenizer
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS
from seqmodels.errors import DamagedError, InputError
from seqmodels.files import check_regular, parse_json, read_json, read_small
from seqmodels.tasks.training_state import RECORD

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
TOKENIZERS = {"tokenizer": "tokenizer.json", "source_tokenizer": "source_tokenizer.json"}
"""The file of each argument that is a tokenizer."""
FORMAT = 1
HEADER = 16 << 20
"""Most bytes of the header of safetensors."""


def is_shared(path: Path) -> bool:
    """Whether a path is the file of weights in a folder that a model is shared in."""
    return path.name == WEIGHTS and path.is_file()


def read_shared(folder: Path) -> dict[str, Any]:
    """What a shared folder holds, in the form of a checkpoint.

    Args:
        folder: with `model.safetensors`, `config.json` and the tokenizers.

    Raises:
        DamagedError: a file is not the one that was shared.
        InputError: a file is missing, or holds something else.
    """
    config = read_json(folder / CONFIG)
    if config.keys() != {"format", "task", "data", "tied", "sha256"} or config["format"] != FORMAT:
        raise InputError(
            f"{str(folder / CONFIG)!r} has format {config.get('format')!r:.40} and fields {', '.join(config):.200}; "
            f"expected what `seqmodels share` writes, of format {FORMAT}"
        )
    task, tied, sums = config["task"], config["tied"], config["sha256"]
    if not all(_is_names(value) for value in (tied, sums)) or not _has_arguments(task):
        raise InputError(f"{str(folder / CONFIG)!r} cannot be used: task, tied or sha256 is not what it should be")
    arguments = dict(task["init_args"])
    for name, file in itertools.product(TOKENIZERS, TOKENIZERS.values()):
        if arguments.get(name) == {"file": file}:
            text = read_small(folder / file, TOKENIZER_CHARACTERS)
            _check_sum(folder / file, text.encode(), sums)
            arguments[name] = {"class_path": class_path(Tokenizer), "init_args": {"json": text}}
    weights = _weights(folder / WEIGHTS, sums)
    for name, other in tied.items():
        if name in weights or other not in weights:
            raise InputError(
                f"{str(folder / CONFIG)!r} ties {name!r:.80} to {other!r:.80}, and the weights have another"
            )
    weights |= {name: weights[other] for name, other in tied.items()}
    call = {"class_path": task["class_path"], "init_args": arguments}
    return {RECORD: {"format": 1, "task": call, "data": config["data"]}, "state_dict": weights}


def _is_names(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())


def _has_arguments(task: Any) -> bool:
    return isinstance(task, dict) and task.keys() == {"class_path", "init_args"} and isinstance(task["init_args"], dict)


def _check_sum(path: Path, content: bytes, sums: dict[str, str]) -> None:
    if hashlib.sha256(content).hexdigest() != sums.get(path.name):
        raise DamagedError(f"{str(path)!r} is not the file that was shared: its checksum differs; fetch it again")


def _weights(path: Path, sums: dict[str, str]) -> dict[str, Tensor]:
    """Tensors by name; their header is held against the bytes that are there."""
    size = check_regular(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    _check_sum(path, content, sums)
    length = struct.unpack("<Q", content[:8])[0] if size >= 8 else size
    if length > min(size - 8, HEADER):
        raise InputError(f"{str(path)!r} has a header of {length:,} bytes, and {size:,} in all; expected safetensors")
    try:
        parse_json(content[8 : 8 + length].decode(), f"the header of {str(path)!r}")
        return load(content)
    except (SafetensorError, UnicodeDecodeError, KeyError, RuntimeError, TypeError) as error:
        raise InputError(f"{str(path)!r} cannot be read as safetensors: {str(error).splitlines()[0]}") from error
