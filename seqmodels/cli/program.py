"""Functions and recipes as programs, with errors in one line."""

import contextlib
import errno
import inspect
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodels.cli import help as pages
from seqmodels.errors import DivergedError, InputError, one_line
from seqmodels.files import any_console, discard, printable

if TYPE_CHECKING:
    from seqmodels.data import SequenceDataModule
    from seqmodels.tasks import SequenceTask


HELP = {"-h", "--help"}
SIGPIPE = 13
"""Its number, which `signal` does not have on Windows."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def command(function: Callable[..., Any]) -> None:
    """Make a typed function a program: every argument is a flag, `--help` shows its docstring.

    With an argument `seed`, torch is seeded with it before networks are built. A script ends with
    `if __name__ == "__main__": command(main)`.
    """

    def run(words: list[str]) -> None:
        from seqmodels.cli.parser import called

        called(function, words)

    file, program = Path(inspect.getfile(function)), f"python {sys.argv[0]}"
    _run(lambda: pages.of_function(file, function.__name__, program), run)


def recipe(
    about: str,
    task: "type[SequenceTask]",
    module: "type[SequenceDataModule]",
    /,
    *,
    report: bool = False,
    **defaults: Any,
) -> None:
    """Make a script a program that is `seqmodels fit` with defaults of its own.

    All flags of `seqmodels fit --task TASK` work, `--help` shows the defaults, and the `config.yaml` of the run repeats
    it.

    Args:
        about: the docstring of the script.
        task: the class of the task.
        module: the class of its data module.
        report: end with a report of the run.
        defaults: arguments of the task, the data module and `fit`; networks as objects.
    """

    def run(words: list[str]) -> None:
        from seqmodels.cli.fit import fit

        folder = fit(words, task, module, defaults)
        if report:
            from seqmodels.report import end_with_report

            end_with_report(folder)

    _run(lambda: pages.of_recipe(about, task.__name__, module.__name__, defaults), run)


def _run(page: Callable[[], str], action: Callable[[list[str]], Any]) -> None:
    """Do what the command line asks for: print the help page, or act on the words."""
    words = sys.argv[1:]
    if HELP & set(words):
        guarded(lambda: print(page()))
    else:
        guarded(lambda: action(imported(words)), lasting=True)


def guarded(action: Callable[[], None], *, lasting: bool = False) -> None:
    """Run a program on any console; an error that the user can correct is one line, with exit code 2. A `lasting`
    program goes on where nobody reads its output any more.
    """
    with any_console(lasting=lasting), ended_by_signals() if lasting else contextlib.nullcontext():
        _guarded(action)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does, so that it shows what is finished, with the code of shells."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    ending = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))  # the same on Windows
    numbers = [number for number in dict.fromkeys(ending) if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    try:
        for number in numbers:
            signal.signal(number, end)
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _guarded(action: Callable[[], None]) -> None:
    code = 2
    try:
        action()
        if sys.stdout is not None:
            sys.stdout.flush()  # what is left must not fail at the end of the interpreter
        return
    except InputError as error:
        why = str(error)
    except DivergedError as error:
        why, code = str(error), 1
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has seen enough; the exit code is that of shells
        discard(sys.stdout)
        sys.exit(128 + SIGPIPE)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f" {error.filename!r}" if error.filename else ""
        why = f"cannot write{where}: {error.strerror}; make room or give another folder; saved files are intact"
    except (MemoryError, RuntimeError, ValueError) as error:
        if not isinstance(error, MemoryError) and not re.search(r"can't allocate memory|out of memory", str(error)):
            raise
        asked = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error))
        more = f" ({asked[1]} were asked for)" if asked else ""
        why = f"the memory does not suffice{more}; give smaller sizes or a smaller --batch-size"
    print(f"error: {printable(one_line(why))}", file=sys.stderr)
    sys.exit(code)


def imported(words: list[str]) -> list[str]:
    """Import the modules named by --import, which may define networks, tasks and data, and leave the other words."""
    while "--import" in words[:-1]:
        place = words.index("--import")
        sys.path.insert(0, str(Path.cwd()))
        try:
            import_module(words[place + 1])
        except ImportError as error:
            raise InputError(f"--import {words[place + 1]}: {error}; expected a module found from here") from error
        words = words[:place] + words[place + 2 :]
    return words
