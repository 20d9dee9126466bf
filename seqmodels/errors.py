"""What can go wrong: what a user can put right, and a training that comes to nothing."""


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
    """A file of this package is not what was written: it is truncated, or its bits have changed.

    An older file of the same run may still be whole, which is why this is told apart from a foreign file.
    """


def one_line(text: str) -> str:
    """Text without what would end a line, so that as many lines come out as went in."""
    return " ".join(text.splitlines())
