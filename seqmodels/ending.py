"""How a training ends before its budget does: asked to, without finite numbers, or for want of a good checkpoint."""

from collections.abc import Callable
from pathlib import Path

from seqmodels.errors import DivergedError, InputError
from seqmodels.lines import one_line
from seqmodels.signals import as_stopped


def early_end(train: Callable[[], None], origin: Path | None, began: Callable[[], bool]) -> BaseException | None:
    """Train, and give why it ended early: what is to be raised once the run is put in order; None where it did not.

    Args:
        train: trains.
        origin: the checkpoint that it goes on from.
        began: whether training has begun by now, so that all of the checkpoint was taken up.

    Raises:
        InputError: the checkpoint is not one of this model.
    """
    try:
        train()
    except SystemExit as error:
        return as_stopped(error)
    except DivergedError as error:
        return error
    except Exception as error:
        if origin is None or began() or isinstance(error, InputError):
            raise
        raise InputError(  # of the file as a whole, which is checked, or of what only Lightning and torch look into
            f"{str(origin)!r} cannot be gone on with: its optimiser, schedule or place is not that of this model "
            f"({type(error).__name__}: {one_line(str(error))[:160]}); take another checkpoint"
        ) from error
    return None
