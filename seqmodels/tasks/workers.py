"""Batches on all cores: one after another by all threads together, or one on each core, whichever is faster."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar, cast

import torch

from seqmodels.errors import InputError
from seqmodels.imports import cores

Item = TypeVar("Item")
Result = TypeVar("Result")
Tell = Callable[[str], None]

FORKS = sys.platform == "linux"
"""Whether processes can be copied with their weights; elsewhere torch's libraries do not survive it."""


def tell(line: str) -> None:
    """A line for the user, beside what a program prints."""
    print(line, file=sys.stderr)


class Workers:
    """Where batches without an order are computed, and by how many threads.

    A worker is a copy of this process, which shares its memory, and computes one batch at a time by one thread. What is
    computed does not depend on the number of workers, up to the rounding of products by several threads.

    Args:
        count: workers, at most one for each core; 1 for none, all batches by all threads together. None for what is
            faster: of the first call with enough batches, one is timed alone, and one on each core.
        device: of the models; other ones than the CPU have no use for workers.
        tell: what is said of it in one line.

    Raises:
        InputError: the count is below 1.
    """

    def __init__(self, count: int | None = 1, device: torch.device | None = None, tell: Tell = tell) -> None:
        if count is not None and count < 1:
            raise InputError(f"{count} workers were given; expected at least 1, the number of cores at most")
        self._tell, self._chosen = tell, count is not None
        if count is None:
            self.count = min(torch.get_num_threads(), cores()) if _can_fork(device) else 1
            return
        self.count = min(count, cores())
        if count > self.count:
            tell(f"{count} workers were asked for, and there are {cores()} cores: {self.count} of them work")
        if self.count > 1 and not _can_fork(device):
            tell(f"{self.count} workers were asked for, which need Linux and a model on the CPU: one process works")
            self.count = 1

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """The results of batches, in their order; those of alike costs are neighbours.

        An exception in a worker is raised here, by the result that lacks, and ends all workers.

        Raises:
            InputError: a worker was ended from outside.
        """
        if self.count == 1 or len(items) == 1:
            return map(function, items)
        if self._chosen:
            return self._forked(function, items)
        # One to warm up, one alone, one on each core, and as many again for which it matters.
        return self._measured(function, items) if len(items) >= 2 + 2 * self.count else map(function, items)

    def _forked(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        with _pool(function, items, min(self.count, len(items))) as ordered:
            for timed in ordered:
                yield timed.result

    def _measured(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`map`, after which it is known which way is faster."""
        yield function(items[0])
        began = time.perf_counter()
        yield function(items[1])
        alone = time.perf_counter() - began
        rest = items[2:]
        with _pool(function, rest, self.count) as ordered:
            first = list(itertools.islice(ordered, self.count))
            each = (max(one.ended for one in first) - min(one.began for one in first)) / self.count
            gain, self._chosen = alone / max(each, 1e-9), True
            if gain > 1:
                self._tell(
                    f"{self.count} workers, a batch on each core, are {gain:.1f} times as fast as "
                    f"{torch.get_num_threads()} threads for one batch (--workers 1)"
                )
            yield from (one.result for one in first)
            if gain > 1:
                yield from (one.result for one in ordered)
                return
        self._tell(
            f"{torch.get_num_threads()} threads for one batch are {1 / gain:.1f} times as fast as {self.count} workers"
        )
        self.count = 1
        yield from map(function, rest[len(first) :])


def _can_fork(device: torch.device | None) -> bool:
    """Whether a copy of this process can compute, which is no copy itself."""
    inside = multiprocessing.current_process().daemon
    return FORKS and not inside and (device is None or device.type == "cpu")


class _Done(NamedTuple):
    """What became of one batch, in a worker."""

    place: int
    result: Any
    error: BaseException | None
    began: float
    ended: float


@contextmanager
def _pool(function: Callable[[Item], Any], items: Sequence[Item], count: int) -> Iterator[Iterator[_Done]]:
    """What workers have done, in the order of the items; they end with the block, or with this process.

    Not an executor of the library, which has a program wait for all its work before it ends, after Ctrl-C, too.
    """
    context = multiprocessing.get_context("fork")
    taken = context.Value("q", 0)
    sys.stdout.flush()  # what is buffered belongs to this process
    sys.stderr.flush()
    workers, results = [], list[Connection]()
    try:
        for _ in range(count):
            receive, send = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(function, items, taken, send), daemon=True)
            with warnings.catch_warnings():  # of threads, which the copy lacks: it computes by one
                warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
                worker.start()
            send.close()
            workers.append(worker)
            results.append(receive)
        yield _in_order(results, len(items))
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()
            worker.close()
        for receive in results:
            receive.close()


def _in_order(results: list[Connection], count: int) -> Iterator[_Done]:
    waiting: dict[int, _Done] = {}
    for place in range(count):
        while place not in waiting:
            for connection in cast(list[Connection], wait(results)):
                try:
                    done: _Done = connection.recv()
                except (EOFError, OSError):
                    raise InputError(
                        "a worker was ended before its work was done, perhaps for want of memory; give --workers 1, or "
                        "smaller sizes"
                    ) from None
                waiting[done.place] = done
        if (error := waiting[place].error) is not None:
            raise error
        yield waiting.pop(place)


def _work(function: Callable[[Any], Any], items: Sequence[Any], taken: Any, send: Connection) -> None:
    """A worker: one thread, which computes the next batch again and again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value += 1
        if place >= len(items):
            break
        began, result, error = time.monotonic(), None, None
        try:
            result = function(items[place])
        except BaseException as failed:
            error = failed
        try:
            send.send(_Done(place, result, error, began, time.monotonic()))
        except Exception as failed:  # an exception of somebody's network that cannot be sent
            send.send(_Done(place, None, RuntimeError(f"{type(error or failed).__name__}: {error or failed}"), 0, 0))
    signal.pause()  # its end would look like one from outside


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
