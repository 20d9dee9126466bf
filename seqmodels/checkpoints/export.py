"""Exports a trained model as a folder for others: weights as safetensors, all else as JSON."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqmodels.checkpoints.load import CONFIG, TOKENIZERS, WEIGHTS, read_checkpoint
from seqmodels.checkpoints.rebuild import rebuild
from seqmodels.checkpoints.safetensors_io import write
from seqmodels.config import class_path
from seqmodels.data import Tokenizer
from seqmodels.errors import InputError
from seqmodels.files import local, read_json
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.training_state import FORMAT, RECORD

READ_BY = ("layout", "source", "target", "documents", "targets", "scored_targets")
"""Arguments of the data that say how a model reads text; other strings may be names of files."""
UNITS = ("char", "byte", "bpe", "word")


def share(path: str | Path, folder: str | Path) -> Path:
    """Export a trained model into a folder to be given to others; `load` takes it in place of a run.

    It holds the model and how it reads text, and no trace of its origin: neither optimizer state nor names of files.

    Args:
        path: a run folder, of which the best checkpoint is taken, or a checkpoint.
        folder: a new one.

    Returns:
        The folder.

    Raises:
        InputError: there is no such model, or the folder is there already, or cannot be made.
    """
    content, folder = read_checkpoint(path, keys=(RECORD, "state_dict")), local(folder)
    record, weights = content[RECORD], content["state_dict"]
    task = rebuild(record["task"], weights)  # a model that cannot be loaded is not given away
    files = _files(record) | {"README.md": _card(task, local(path) / "result.json")}
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


def _files(record: Mapping[str, Any]) -> dict[str, str]:
    """Everything that `load` reads beside the weights."""
    files, arguments = dict[str, str](), dict(record["task"]["init_args"])
    for name, file in TOKENIZERS.items():
        call = arguments.get(name)
        if isinstance(call, dict) and call.get("class_path") == class_path(Tokenizer):
            text = call["init_args"]["json"]
            file = next((other for other, written in files.items() if written == text), file)
            files[file], arguments[name] = text, {"file": file}
    config = {
        "format": FORMAT,
        "task": {"class_path": record["task"]["class_path"], "init_args": arguments},
        "data": _reading(record.get("data")),
        "sha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
    }
    return files | {CONFIG: json.dumps(config, indent=2, ensure_ascii=False) + "\n"}


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


def _card(task: SequenceTask, result: Path) -> str:
    """A page about the model: its kind, its figures, how to load it."""
    size = sum(parameter.numel() for parameter in task.parameters())
    kind = "translator" if task.command == "translate" else "language model"
    use = 'model.translate(["..."])' if task.command == "translate" else '"".join(model.generate("", max_tokens=100))'
    own = [] if task.constructor_call["class_path"].startswith("seqmodels.") else ["Its class is not of the package."]
    figures = read_json(result) if result.is_file() else {}
    rows = [f"| {name} | {value:g} |" for name, value in figures.items() if isinstance(value, int | float)]
    table = ["| Figure of its training | |", "|---|---|", *rows, ""] if rows else []
    about = "\n".join([*own, *table])
    return f"""# {task.name}, a {kind}

A {kind} of the package seqmodels: {size:,} parameters, a vocabulary of {task.tokenizer.vocab_size:,}.

{about}
```python
from seqmodels import load

model = load("the folder of this file")
print({use})
```

Nothing in this folder is run when it is loaded: `model.safetensors` holds numbers, all else is JSON.
"""
