"""Work in processes that may be killed: forked, so that nothing has to be imported again."""

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

Result = TypeVar("Result")

SECONDS = 120
"""After which a forked process counts as hanging, and is ended."""


@functools.cache
def _server() -> ForkServerContext:
    """Forks processes from one that has imported everything, started no thread, and does not use the network."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["lightning.pytorch", "seqmodels.cli.main", "seqmodels.training.fit"])
    with mock.patch.dict(os.environ, HF_HUB_OFFLINE="1"):
        forkserver.ensure_running()
    return context


def apart(work: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a new process without threads, which may therefore fork others.

    The calling process may not: tests before this one may have started threads.
    """
    with ProcessPoolExecutor(1, mp_context=_server(), initializer=_by_hand) as pool:
        return pool.submit(work, *arguments).result()


@contextlib.contextmanager
def answering(work: Callable[..., object], *arguments: object) -> Iterator[Connection]:
    """A process as of `apart` whose work is given a pipe besides; yields the other end, and kills it afterwards."""
    ours, theirs = _server().Pipe()
    process = _server().Process(target=work, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _by_hand() -> None:
    """Have this process start others as a program of a user does, not as it was started itself."""
    multiprocessing.set_start_method(None, force=True)


def forked(work: Callable[[], object], log: Path) -> int:
    """Do some work in a forked process, whose output is appended to a file, and wait for it.

    The calling process must have no threads, see `apart`.

    Returns:
        Its exit code, or minus the signal that ended it.
    """
    return os.waitstatus_to_exitcode(os.waitpid(started(work, log, SECONDS), 0)[1])


def started(work: Callable[[], object], log: Path, seconds: int = 0) -> int:
    """Begin work in a forked process that logs to a file and ends after some seconds; returns its process id."""
    if pid := os.fork():
        return pid
    code: Any = 1
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


def tail(log: Path) -> str:
    """The end of a log, for messages."""
    return log.read_text()[-300:]
