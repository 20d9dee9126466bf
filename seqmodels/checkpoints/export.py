"""Exports a trained model as a folder for others: weights as safetensors, all else as JSON."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmodels.checkpoints.model_card import card, check_about
from seqmodels.checkpoints.rebuild import rebuild
from seqmodels.checkpoints.safetensors_io import write
from seqmodels.checkpoints.saved import CONFIG, ORIGINAL, TOKENIZERS, WEIGHTS, read_checkpoint
from seqmodels.config import FORMAT, RECORD, class_path
from seqmodels.data.hub import check_can_upload, upload
from seqmodels.data.tokenizers import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import local
from seqmodels.interop.tokenizer_files import for_transformers
from seqmodels.tasks.sequence_model import SequenceModel

READ_BY = ("layout", "source", "target", "documents", "targets", "scored_targets")
"""Arguments of the data that say how a model reads text; other strings may be names of files."""
UNITS = ("char", "byte", "bpe", "word")


def share(
    path: str | Path | SequenceModel,
    folder: str | Path | None = None,
    *,
    push: str | None = None,
    private: bool = False,
    license: str | None = None,
    language: str | None = None,
) -> Path | str:
    """Export a trained model into a folder, or to the Hugging Face hub; `load` takes either in place of a run.

    It holds the model and how it reads text, and no trace of its origin: neither optimizer state nor names of files.

    Args:
        path: a run folder, of which the best checkpoint is taken, or a checkpoint; or a model itself, such as one made
            of the weights of another program.
        folder: a new one; only with `push` may it be left out.
        push: a name on the hub, `user/name`. A model that is there already gets a new revision; a new one is made.
        private: whether a new model on the hub is private.
        license: licence of the weights as the hub names it, such as apache-2.0; by default the page says "unknown".
        language: of the text, such as en, for the page about the model.

    Returns:
        The folder; without one, the name on the hub.

    Raises:
        InputError: there is no such model, the folder is there already or cannot be made, or the hub refuses.
    """
    if not isinstance(path, str | os.PathLike | SequenceModel):
        raise InputError(f"a {type(path).__name__} was given; expected the folder of a run, a checkpoint, or a model")
    if folder is None and push is None:
        raise InputError("neither a folder nor push was given; expected one of them, to say where the model goes")
    if private and push is None:
        raise InputError("private was given without push; it is for models on the hub")
    check_about(license, language)
    if push is not None:
        check_can_upload(push)
    if folder is None:
        assert push is not None
        with tempfile.TemporaryDirectory() as temporary:
            made = _export(path, Path(temporary, "model"), push, license, language)
            upload(made, push, private)
        return push
    made = _export(path, local(folder), push, license, language)
    if push is not None:
        upload(made, push, private)
    return made


def _export(
    path: str | Path | SequenceModel, folder: Path, push: str | None, license: str | None, language: str | None
) -> Path:
    """Write the files of a shared model into a new folder."""
    record: dict[str, Any]
    if isinstance(path, SequenceModel):
        record, weights = {"format": FORMAT, "task": path.constructor_call}, dict(path.state_dict())
        path = folder  # there is no run
    else:
        content = read_checkpoint(path, keys=(RECORD, "state_dict"))
        record, weights = content[RECORD], content["state_dict"]
    task = rebuild(record["task"], weights)  # a model that cannot be loaded is not given away
    files = _files(record, task)
    files["README.md"] = card(
        task, record.get("data"), Path(path).expanduser(), name=(push or folder.name).rpartition("/")[2],
        where=push or "the folder of this file", license=license, language=language,
    )  # fmt: skip
    try:
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_bytes(text.encode())
        write(folder / WEIGHTS, {"state_dict": weights}, prefix="state_dict.")
    except FileExistsError as error:
        raise InputError(f"{str(folder)!r} is there already, and nothing is written over; give a new folder") from error
    except OSError as error:
        raise InputError(f"cannot make {str(folder)!r}: {error.strerror or error}; give another folder") from error
    return folder


def _files(record: Mapping[str, Any], task: SequenceModel) -> dict[str, str]:
    """Everything that `load` reads beside the weights, and what transformers reads of the tokenizer."""
    files, arguments = dict[str, str](), dict(record["task"]["init_args"])
    theirs = for_transformers(task.tokenizer, getattr(getattr(task, "backbone", None), "max_length", None))
    for name, file in TOKENIZERS.items():
        call = arguments.get(name)
        if isinstance(call, dict) and call.get("class_path") == class_path(Tokenizer):
            text = call["init_args"]["json"]
            if name == "tokenizer" and text != theirs[file]:
                file = ORIGINAL
            file = next((other for other, written in files.items() if written == text), file)
            rest = {key: value for key, value in call["init_args"].items() if key != "json" and value is not None}
            files[file], arguments[name] = text, {"file": file, **rest}
    config = {
        "format": FORMAT,
        "task": {"class_path": record["task"]["class_path"], "init_args": arguments},
        "data": _reading(record.get("data")),
        "sha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
    }
    return theirs | files | {CONFIG: json.dumps(config, indent=2, ensure_ascii=False) + "\n"}


def _reading(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The data's arguments that say how the model reads text: numbers and known words, no paths."""
    if data is None:
        return None
    kept = {
        name: value
        for name, value in data["init_args"].items()
        if isinstance(value, int | float)
        or (isinstance(value, str) and (name in READ_BY or (name == "tokenizer" and value in UNITS)))
    }
    return {"class_path": data["class_path"], "init_args": kept}
