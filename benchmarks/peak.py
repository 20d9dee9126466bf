"""How much memory a program takes at its peak."""

import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.measure import Comparison


def weighed(comparison: Comparison, device: str) -> Comparison:
    """With the memory of both, where it is to be measured; each program runs once more for that.

    Args:
        comparison: that was made.
        device: on which.
    """
    of = of_process if device == "cpu" else of_gpu
    return replace(comparison, memory=tuple(of(side) for side in comparison.sides), sides=())


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


def of_gpu(side: Callable[[], float]) -> float:
    """MiB that are allocated on the GPU, what is there already included."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    side()
    return torch.cuda.max_memory_allocated() / 2**20
