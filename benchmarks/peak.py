"""How much memory a program takes at its peak."""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks.measure import Comparison


def weighed(comparison: Comparison) -> Comparison:
    """With the memory of both, where it is still to be measured; each program runs once more for that."""
    if not comparison.sides:
        return comparison
    return replace(comparison, memory=tuple(of_process(side) for side in comparison.sides), sides=())


def of_process(side: Callable[[], float]) -> float:
    """MiB of a fresh process that does nothing else, all libraries included.

    Args:
        side: the program, which can be pickled.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_of_this, side).result()


def _peak_of_this(side: Callable[[], float]) -> float:
    side()
    # Not `getrusage`, which also counts the process that this one was made by.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
