"""Run programs and measure their peak memory."""

import contextlib
import gc
import multiprocessing
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.measure import Measured, Side
from benchmarks.program import begin


@contextlib.contextmanager
def in_process(ours: bool) -> Iterator[Callable[[Side], Measured]]:
    """A process of its own, so that no program changes the allocator or the threads of another.

    It starts once, and if it is ours with the settings of torch's libraries that `seqmodels` has. Memory is that of the
    whole process at its peak, libraries included. Programs can be pickled.
    """
    # No garbage collection while libraries are imported, see `seqmodels.imports`.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin if ours else gc.disable) as pool:
        yield lambda side: pool.submit(_run_here, side).result()


@contextlib.contextmanager
def in_fresh_processes(ours: bool) -> Iterator[Callable[[Side], Measured]]:
    """The same with a process for each run: where what is read or imported the first time counts."""

    def run(side: Side) -> Measured:
        with in_process(ours) as once:
            return once(side)

    yield run


def _run_here(side: Side) -> tuple[float, float]:
    if gc.isenabled():
        gc.collect()
    else:  # the first run, after the imports
        gc.freeze()
        gc.enable()
    figure = side()
    # Not `getrusage`, which includes the parent process.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return figure, int(found[1]) / 1024


@contextlib.contextmanager
def on_gpu(ours: bool) -> Iterator[Callable[[Side], Measured]]:
    """In this process; memory is all that is allocated on the GPU, earlier tensors included."""

    def run(side: Side) -> Measured:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return side(), torch.cuda.max_memory_allocated() / 2**20

    yield run
