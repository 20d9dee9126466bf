"""A trained model as a task, to be used or trained further."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from seqmodels.checkpoints.rebuild import check_fit
from seqmodels.checkpoints.saved import TOKENIZERS, Loaded, load_model, read_checkpoint
from seqmodels.config import RECORD, Call, class_path, is_call, subclasses
from seqmodels.data import SequenceDataModule
from seqmodels.errors import InputError
from seqmodels.tasks import SequenceTask

ORIGIN = ("data", "subset", "column", "columns", "source", "target")
"""Arguments of the data that say where text comes from."""


def load(path: str | Path, **changes: Any) -> SequenceTask:
    """Load a trained model, ready to use, on the CPU; or to be trained further, with other settings of training.

    Its weights are mapped from the file, which must not be written over in place while the model is used.

    Args:
        path: a run folder, of which the best checkpoint is taken; a folder that `share` made; a checkpoint; a folder of
            transformers, of a family that `interop.families` knows, such as GPT-2; or the name of a model on the
            Hugging Face hub, `user/name` or `user/name@revision`, as text.
        changes: arguments of the task that are to be others than those it was trained with, such as `lr=1e-3`,
            `dropout=0.2` or `freeze=["embedding"]`; networks and tokenizers come with the weights.

    Returns:
        The task with its tokenizer, in evaluation mode.

    Raises:
        DamagedError: the file is truncated, or its bits have changed.
        InputError: there is no such file or model, it is foreign, or the hub cannot be reached; or a change is none of
            an argument.
    """
    return load_with_origin(path, changes).task


def load_with_origin(path: str | Path, changes: Mapping[str, Any] | None = None) -> Loaded[SequenceTask]:
    """The same, with the data and the step that the model comes from: the file is read once."""
    loaded = load_model(path, lambda call: changed(call, changes or {}), ", ".join(changes or ()))
    return cast(Loaded[SequenceTask], loaded)  # all tasks are imported here


def load_weights(task: SequenceTask, path: str | Path) -> None:
    """Put the weights of a trained model into one of the same networks and vocabulary.

    Args:
        task: the model.
        path: as of `load`.

    Raises:
        InputError: networks or vocabularies differ; or see `load`.
    """
    content = read_checkpoint(path, keys=(RECORD, "state_dict"))
    arguments = content[RECORD]["task"]["init_args"]
    for name in TOKENIZERS:
        theirs = arguments.get(name) or arguments.get("tokenizer")
        ours = getattr(task, name, None)
        if ours is not None and ours.constructor_call != theirs:
            raise InputError(
                f"the {name} of this model, of {ours.vocab_size:,} tokens, is not that of {str(path)!r}, so that its "
                f"weights would stand for other tokens; build it with load({str(path)!r}).{name}"
            )
    try:
        check_fit(task, content["state_dict"])
    except InputError as error:
        raise InputError(f"the weights of {str(path)!r} are of other networks than this model: {error}") from error
    task.load_state_dict(content["state_dict"])


def changed(call: Call, changes: Mapping[str, Any]) -> Call:
    """The constructor call of a task with other arguments.

    Raises:
        InputError: it has no such argument, or one that comes with the weights.
    """
    cls = next((cls for cls in subclasses(SequenceTask) if class_path(cls) == call["class_path"]), SequenceTask)
    arguments = dict.fromkeys(inspect.signature(cls).parameters) | call["init_args"]
    own = [name for name, value in arguments.items() if not is_call(value) and name not in TOKENIZERS]
    if others := [name for name in changes if name not in own]:
        why = "comes with the weights" if others[0] in arguments else "is no argument of the task"
        raise InputError(f"{others[0]}={changes[others[0]]!r:.60} was given, which {why}; expected {', '.join(own)}")
    return {**call, "init_args": {**call["init_args"], **changes}}


def check_text(loaded: Loaded[Any], data: SequenceDataModule) -> None:
    """Refuse data that have the name of those of the training, and another text.

    Raises:
        InputError: they have, so that a held-out part may have been trained on.
    """
    given, own = data.constructor_call["init_args"], loaded.data_arguments
    same = all(given.get(name) == own.get(name) for name in ORIGIN)
    if same and loaded.text not in (None, data.facts("train").sha256):
        raise InputError(
            f"{data.origin} is another text than when the model was trained, and its held-out part may have been "
            "trained on; restore it, or give --data a text that the model has not seen"
        )
