"""Work in processes that may be killed: forked, so that nothing has to be imported again."""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

SECONDS = 120
"""After which a process counts as hanging, and ends."""


def forked(work: Callable[[], object], log: Path) -> int:
    """Do some work in a process of its own, whose output goes to a file, and wait for it.

    Nothing that runs in threads may have been used before in this one.

    Returns:
        Its exit code, or minus the signal that ended it.
    """
    pid = os.fork()
    if pid == 0:
        _child(work, log, SECONDS)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def started(work: Callable[[], object], log: Path) -> int:
    """Begin some work in a process of its own; returns its number."""
    pid = os.fork()
    if pid == 0:
        _child(work, log, 0)
    return pid


def _child(work: Callable[[], object], log: Path, seconds: int) -> None:
    code = 1
    try:
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, 1)
        os.dup2(opened, 2)
        signal.alarm(seconds)
        work()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def side_by_side(works: Iterable[Callable[[], object]], processes: int, log: Path) -> None:
    """Do many pieces of work, so many at a time, each in a process of its own."""
    running: set[int] = set()
    for work in works:
        if len(running) == processes:
            running.discard(os.wait()[0])
        running.add(started(work, log))
    while running:
        running.discard(os.wait()[0])
