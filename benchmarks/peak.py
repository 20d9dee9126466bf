"""Run programs and measure their peak memory."""

import gc
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.measure import Side


def in_process(side: Side) -> tuple[float, float]:
    """Run a program in a fresh process, so that neither changes the allocator or the threads of the other.

    Memory is that of the whole process, libraries included. The program can be pickled.
    """
    # No garbage collection while libraries are imported, see `seqmodels.imports`.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), gc.disable) as pool:
        return pool.submit(_run_here, side).result()


def _run_here(side: Side) -> tuple[float, float]:
    gc.freeze()
    gc.enable()
    figure = side()
    # Not `getrusage`, which includes the parent process.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return figure, int(found[1]) / 1024


def on_gpu(side: Side) -> tuple[float, float]:
    """Run a program in this process; memory is all that is allocated on the GPU, earlier tensors included."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return side(), torch.cuda.max_memory_allocated() / 2**20
