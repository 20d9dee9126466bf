"""A run folder or a checkpoint becomes a task again, from the file alone."""

import warnings
from pathlib import Path
from typing import Any, Literal

import torch

from seqmodels.errors import InputError
from seqmodels.recorded import construct
from seqmodels.tasks import SequenceTask
from seqmodels.tasks.record import RECORD


def checkpoint_path(path: str | Path, which: Literal["best", "last"] = "best") -> Path:
    """The checkpoint meant by a path: the file itself, or the best or the last one of a run folder.

    Raises:
        InputError: there is none.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if not path.exists():
        raise InputError(f"there is no {str(path)!r}; expected a run folder (such as one below runs/) or a checkpoint")
    if (found := path / "checkpoints" / f"{which}.ckpt").is_file():
        return found
    raise InputError(f"{str(path)!r} holds no checkpoints/{which}.ckpt; expected a run folder that training has left")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain data, never code.

    Raises:
        InputError: the file is damaged, or was not written by this package.
    """
    path = checkpoint_path(path)
    advice = "expected a checkpoint that this package wrote (checkpoints/best.ckpt or last.ckpt of a run)"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # the error says what matters
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader stumbles over foreign bytes in a dozen ways
        raise InputError(
            f"{str(path)!r} cannot be read ({path.stat().st_size:,} bytes; it is truncated, or no checkpoint): {advice}"
        ) from error
    record = content.get(RECORD) if isinstance(content, dict) else None
    if not (isinstance(record, dict) and "task" in record and "state_dict" in content):
        raise InputError(f"{str(path)!r} comes from another program: {advice}")
    if (version := record.get("format")) != 1:
        raise InputError(f"{str(path)!r} has format {version!r}, and this version of the package reads 1: update it")
    return dict(content)


def load(path: str | Path) -> SequenceTask:
    """Load a trained model, ready to use, on the CPU.

    Args:
        path: a run folder, of which the best checkpoint is taken, or a checkpoint.

    Returns:
        The task with its tokenizer, in evaluation mode.

    Raises:
        InputError: there is no such file, or it is damaged or foreign.
    """
    content = read_checkpoint(path)
    task = construct(content[RECORD]["task"], SequenceTask)
    try:
        task.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise InputError(
            f"{str(path)!r} does not fit the network it describes: {str(error).splitlines()[0]}"
        ) from error
    return task.eval()  # type: ignore[no-any-return]
