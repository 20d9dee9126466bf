"""A run folder, a shared folder or a checkpoint becomes a model again, from the files alone."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from seqmodels.checkpoints.rebuild import rebuild
from seqmodels.checkpoints.safetensors_io import read
from seqmodels.checkpoints.schema import check_record
from seqmodels.config import FORMAT, RECORD, Call, class_path, construct, is_call
from seqmodels.data.hub import download, hub_name
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.data.vocabularies import TOKENIZER_CHARACTERS
from seqmodels.errors import DamagedError, InputError
from seqmodels.files import SMALL, check_regular, local, read_json, read_small
from seqmodels.interop.families.hub import download_family
from seqmodels.interop.families.read import is_family, read_family
from seqmodels.tasks.sequence_model import SequenceModel

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
POSITIONS = 10_000
"""Most tokens of a translation that a file may ask for."""
WEIGHT_BYTES = 64 << 30
"""Most bytes of weights that are downloaded."""
TOKENIZERS = {"tokenizer": "tokenizer.json", "source_tokenizer": "source_tokenizer.json"}
"""Files of a shared folder; those of tokenizers by the argument of the task."""
ORIGINAL = "original_tokenizer.json"
"""The tokenizer of another program as it was; beside it, `tokenizer.json` gives our ids."""
TOKENIZER_FILES = (*TOKENIZERS.values(), ORIGINAL)


M = TypeVar("M", bound=SequenceModel, covariant=True)


class Loaded(NamedTuple, Generic[M]):
    """A trained model in evaluation mode, the constructor call of its data module, its number of optimizer steps, and
    the hash of its training text; None where they are not known.
    """

    task: M
    data: Call | None
    step: int | None
    text: str | None

    @property
    def data_arguments(self) -> dict[str, Any]:
        """The arguments of the data module; empty where they are not known."""
        found = {} if self.data is None else dict(self.data["init_args"])
        tokenizers = {name: found[name] for name in TOKENIZERS if is_call(found.get(name))}
        return found | {name: construct(call, Tokenizer) for name, call in tokenizers.items()}


def load_model(
    path: str | Path, change: Callable[[Call], Call] = lambda call: call, what: str = ""
) -> Loaded[SequenceModel]:
    """A trained model for use, with the data and the step that it comes from: the file is read once.

    It is a task of Lightning where that part of this package is imported already, else the part of it that is used.

    Args:
        path: as of `load.load`, as are the errors.
        change: gives its constructor call other arguments.
        what: names of these, for people.
    """
    content = read_checkpoint(path, keys=(RECORD, "state_dict", "global_step"))
    record, step = content[RECORD], content.get("global_step")
    call = change(record["task"])
    try:
        task = rebuild(call, content["state_dict"], content.get("tokenizers"))
    except InputError as error:
        why = f"cannot be loaded with another {what}" if what else "does not fit the network it describes"
        raise InputError(f"{str(path)!r} {why}: {error}") from error
    loaded = Loaded(task.eval(), record.get("data"), step if isinstance(step, int) else None, record.get("text_sha256"))
    task.loaded_from = str(path)
    if type(longest := loaded.data_arguments.get("max_length")) is int:
        task.longest_target = min(longest, POSITIONS) + 1  # with EOS
    return loaded


def located(path: str | Path) -> Path:
    """A path on this machine as it is, or the folder that a model on the hub was downloaded to.

    Text that is `user/name` is a model on the hub if there is no such path, and no folder `user` either. Its format is
    read before its weights are downloaded.

    Raises:
        InputError: there is no such model on the hub, it is foreign, or the hub cannot be reached.
    """
    found = local(path)
    name = hub_name(path) if isinstance(path, str) else None
    if name is None or found.exists() or found.parent.exists() or found.suffix in (".safetensors", ".ckpt"):
        return found
    if is_family(folder := download(name, {CONFIG: SMALL})):
        return download_family(name, folder, WEIGHT_BYTES)
    _shared_config(folder / CONFIG)
    tokenizers = dict.fromkeys(TOKENIZER_FILES, TOKENIZER_CHARACTERS)
    return download(name, {CONFIG: SMALL, WEIGHTS: WEIGHT_BYTES}, tokenizers)


def checkpoint_path(path: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """The checkpoint meant by a path: the file itself, or the best or the last one of a run folder.

    In a folder that `share` made, it is the file of weights; there is no last one to resume.

    Raises:
        InputError: there is none.
    """
    path = located(path)
    if path.exists() and not path.is_dir():
        check_regular(path)
        return path
    if not path.exists():
        others = ", a checkpoint, or a model on the hub as user/name" if which == "best" else " or a checkpoint"
        expected = f"a run folder (such as one below runs/){others}"
        raise InputError(f"there is no {str(path)!r}; expected {expected}")
    if (found := path / "checkpoints" / f"{which}.safetensors").is_file():
        return found
    if (path / WEIGHTS).is_file():
        if which == "best":
            return path / WEIGHTS
        raise InputError(f"{str(path)!r} is a shared model, without its optimizer state; resume from its run")
    if (last := path / "checkpoints" / "last.safetensors").is_file():
        hint = f", and this run was stopped before its first validation: resume it, or give {str(last)!r}"
    elif (path / "config.yaml").exists():
        hint = "; a run that ended within its first step is repeated with --config"
    else:
        hint = runs_below(path)
    raise InputError(f"{str(path)!r} holds no checkpoints/{which}.safetensors; expected a finished run folder{hint}")


def runs_below(folder: Path) -> str:
    """Advice where a folder with runs was given in place of a run: which of them is the newest; empty without any."""
    found = [file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/checkpoints")]
    newest = max(found, key=lambda run: run.stat().st_mtime, default=None)
    return f"; the newest run in it is {str(newest)!r}" if newest else ""


def read_checkpoint(path: str | Path, keys: Collection[str] | None = None) -> dict[str, Any]:
    """The content of a checkpoint as Lightning saved it, verified: tensors and plain data, never code.

    Of a shared folder, it is the weights and the record of this package alone. Path and errors as of `load`; `keys` are
    those that are read, the record and the weights among them, or None for all.
    """
    if is_family(folder := located(path)):
        call, weights, tokenizers = read_family(folder)
        record = {"format": FORMAT, "task": call, "data": None}
        return {RECORD: record, "state_dict": weights, "tokenizers": tokenizers}
    path = checkpoint_path(path)
    content = read(path, keys)
    if RECORD not in content and (path.parent / CONFIG).is_file():
        content[RECORD] = _shared_record(path.parent)
    check_record(content, str(path))
    return content


def _shared_config(path: Path) -> dict[str, Any]:
    """What is in `config.json` of a shared folder; an InputError if it is of another format."""
    name, config = str(path), read_json(path)
    if config.keys() != {"format", "task", "data", "sha256"} or config["format"] != FORMAT:
        raise InputError(
            f"{name!r} has format {config.get('format')!r:.40} and fields {', '.join(config):.200}; expected a file "
            f"that `seqmodels share` wrote, of format {FORMAT}"
        )
    return config


def _shared_record(folder: Path) -> dict[str, Any]:
    """The record of a shared folder, with its tokenizers."""
    name, config = str(folder / CONFIG), _shared_config(folder / CONFIG)
    task, checksums = config["task"], config["sha256"]
    if not (isinstance(task, dict) and isinstance(task.get("init_args"), dict) and isinstance(checksums, dict)):
        raise InputError(f"{name!r} cannot be used: task or sha256 has an unexpected type")
    arguments = dict(task["init_args"])
    for argument in TOKENIZERS:
        for file in TOKENIZER_FILES:  # no other name in it is ever opened
            given = arguments.get(argument)
            if (
                isinstance(given, dict)
                and given.get("file") == file
                and given.keys() <= {"file", "start", "end", "size"}
            ):
                text = read_small(folder / file, TOKENIZER_CHARACTERS)
                if hashlib.sha256(text.encode()).hexdigest() != checksums.get(file):
                    raise DamagedError(f"{str(folder / file)!r} is not the file that was shared; fetch it again")
                rest = {name: value for name, value in given.items() if name != "file"}
                arguments[argument] = {"class_path": class_path(Tokenizer), "init_args": {"json": text, **rest}}
    return {"format": FORMAT, "task": {**task, "init_args": arguments}, "data": config["data"]}
