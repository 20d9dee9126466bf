"""Importing large packages quickly."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports(*, keep: bool = False) -> Iterator[None]:
    """While it lasts, Python does not look for garbage, if lightning is still to be imported.

    Torch, lightning and datasets make half a million objects, nearly all of which stay. To look through them again and
    again takes a quarter to a third of the time of importing them.

    Args:
        keep: leave what there is in the end out of all later searches, each of which would take half a second; for
            programs, which begin with their imports.
    """
    if "lightning" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if keep:
            gc.freeze()
        gc.enable()
