"""Importing large packages quickly."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quick_imports(*, keep: bool = False) -> Iterator[None]:
    """Turn garbage collection off while lightning is imported for the first time.

    Torch, lightning and datasets create half a million objects, nearly all of which stay. Collecting again and again
    takes a quarter to a third of the import time.

    Args:
        keep: exclude all objects that exist at the end from later collections, each of which would take half a second;
            for programs, which begin with their imports.
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
