"""Programs that are run so that their memory at the peak is known, too."""

import gc
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.measure import Run, Side


def run_on(device: str) -> Run:
    """How to run a program on a device, cpu or cuda."""
    return in_process if device == "cpu" else on_gpu


def in_process(side: Side) -> tuple[float, float]:
    """In a fresh process that does nothing else, so that neither program changes how the other finds the machine: what
    freed memory is kept, how many threads there are. Its memory is that of all of it, libraries included.

    Args:
        side: the program, which can be pickled.
    """
    # Nobody looks for garbage while libraries are imported, see `seqmodels.imports`.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), gc.disable) as pool:
        return pool.submit(_run_here, side).result()


def _run_here(side: Side) -> tuple[float, float]:
    gc.freeze()
    gc.enable()
    figure = side()
    # Not `getrusage`, which also counts the process that this one was made by.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return figure, int(found[1]) / 1024


def on_gpu(side: Side) -> tuple[float, float]:
    """Here; memory is what is allocated on the GPU, what is there already included."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    return side(), torch.cuda.max_memory_allocated() / 2**20
