"""Errors: input that a user can correct, damaged files, and diverged training."""

import functools
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class InputError(ValueError):
    """Something given by the user cannot be used.

    The message is one line: what was given, what was expected, what to do. The command line prints it
    without a traceback and exits with code 2; in Python it is a `ValueError`.
    """


class DivergedError(RuntimeError):
    """Training was stopped, since loss or gradient were not finite for too many steps in a row.

    The command line prints the message, which is one line, and exits with code 1.
    """


class DamagedError(InputError):
    """A file of this package is truncated, or its bits have changed since it was written.

    An older file of the same run may still be intact, so this is told apart from a file of another program.
    """


class NoCompilerError(InputError):
    """A C++ compiler is needed, and there is none, or it fails; what was to be compiled can be computed without."""


def hinted(**advice: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator for a function that has no such arguments, though other programs do: they are refused (InputError)
    with what to do instead.
    """

    def decorated(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> T:
            for name in advice.keys() & named.keys():
                given = f"{name}={named[name]!r:.60} was given, which {function.__name__} does not take"
                raise InputError(one_line(f"{given}; {advice[name]}"))
            return function(*arguments, **named)

        return call

    return decorated


def one_line(text: str) -> str:
    """The text with its line breaks replaced by spaces."""
    return " ".join(text.splitlines())


def place(error: BaseException) -> str:
    """Where the user's own code raised an error, ` (file, line)`; empty where this package or a library did."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    own = not Path(last.filename).is_relative_to(Path(__file__).parent) and "site-packages" not in last.filename
    return f" ({last.filename}, line {last.lineno})" if own else ""
