"""How a process begins that is a program of ours: apart, since nothing here imports torch."""

import gc

from seqmodels.imports import short_waits


def begin() -> None:
    """The settings of torch's libraries, and no garbage collection while libraries are imported."""
    short_waits()
    gc.disable()
