"""Signals that ask a training to end: the first is heeded between two steps, the second ends it at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

ASKS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What schedulers send before they take a machine away, and Ctrl-C."""


class Stopped(SystemExit):
    """A training that was asked to end, and can be resumed: with the exit code that shells give for the signal.

    Args:
        number: of the signal; SIGUSR1 counts as SIGTERM, which it foretells.
    """

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM))


def as_stopped(error: SystemExit) -> Stopped:
    """How Lightning ends after a signal that came before the first step, in our words."""
    if isinstance(error, Stopped):
        return error
    return Stopped(signal.SIGTERM if isinstance(error, SIGTERMException) else signal.SIGINT)


class Signals:
    """While the block runs, remembers the first signal that asks to end."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():  # no other can handle signals
            self._before = {number: signal.signal(number, self._heed) for number in ASKS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(Stopped(number).code)  # type: ignore[arg-type]
        self.received = number
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: ending after this step; once more ends at once\n".encode())  # print may be in use
