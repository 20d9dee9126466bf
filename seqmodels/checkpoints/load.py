"""A run folder, a shared folder or a checkpoint becomes a task again, from the files alone."""

from pathlib import Path
from typing import Any, Literal

import torch

from seqmodels.checkpoints.archive import check_archive
from seqmodels.checkpoints.outline import check_outline
from seqmodels.checkpoints.rebuild import rebuild
from seqmodels.checkpoints.schema import check_record
from seqmodels.checkpoints.shared import WEIGHTS, is_shared, read_shared
from seqmodels.errors import DamagedError, InputError
from seqmodels.files import check_regular, local
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.training_state import RECORD

LARGEST = 256 << 20
"""Bytes of the part of a checkpoint that is no tensor: the tokenizers, most of all."""


def checkpoint_path(path: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """The checkpoint meant by a path: the file itself, or the best or the last one of a run folder.

    Of a folder that `share` made, it is the file of weights; there is no last one to go on from.

    Raises:
        InputError: there is none.
    """
    path = local(path)
    if path.exists() and not path.is_dir():
        check_regular(path)
        return path
    if not path.exists():
        raise InputError(f"there is no {str(path)!r}; expected a run folder (such as one below runs/) or a checkpoint")
    if (found := path / "checkpoints" / f"{which}.ckpt").is_file():
        return found
    if is_shared(path / WEIGHTS):
        if which == "best":
            return path / WEIGHTS
        raise InputError(f"{str(path)!r} is a shared model, without what training needs to go on; resume from its run")
    hint = (
        "; a run that ended within its first step is begun anew, with --config"
        if (path / "config.yaml").exists()
        else ""
    )
    raise InputError(
        f"{str(path)!r} holds no checkpoints/{which}.ckpt; expected a run folder that training has left{hint}"
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain data, never code.

    Every checksum of the file is verified, and what its outline would build is known before anything is built.

    Args:
        path: a run folder, of which the best checkpoint is taken, a shared folder, or a checkpoint.

    Returns:
        What Lightning saved; of a shared folder, the weights and the record of this package alone.

    Raises:
        DamagedError: the file is truncated, or its bits have changed.
        InputError: there is no such file, or it was not written by this package.
    """
    path = checkpoint_path(path)
    if is_shared(path):
        content = read_shared(path.parent)
    else:
        archive = check_archive(path, LARGEST)
        try:
            check_outline(archive.outline, archive.sizes)
        except InputError as error:
            raise InputError(f"{str(path)!r} cannot be read as a checkpoint: {error}") from error
        content = _loaded(path)
    check_record(content, str(path))
    return content


def _loaded(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the outline is right, and so it is the container, of which torch knows one thing more
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise DamagedError(f"{str(path)!r} cannot be read: it is damaged ({why}); take another checkpoint") from error
    return dict(content) if isinstance(content, dict) else {}


def load(path: str | Path) -> SequenceTask:
    """Load a trained model, ready to use, on the CPU.

    Args:
        path: a run folder, of which the best checkpoint is taken; a folder that `share` made; or a checkpoint.

    Returns:
        The task with its tokenizer, in evaluation mode.

    Raises:
        DamagedError: the file is truncated, or its bits have changed.
        InputError: there is no such file, or it is foreign.
    """
    content = read_checkpoint(path)
    try:
        task = rebuild(content[RECORD]["task"], content["state_dict"])
    except InputError as error:
        raise InputError(f"{str(path)!r} does not fit the network it describes: {error}") from error
    return task.eval()
