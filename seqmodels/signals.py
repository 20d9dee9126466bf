"""Signals that ask a training to end: the first is heeded between two steps, the second ends it at once."""

import os
import signal
import threading
from types import FrameType
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


def as_stopped(error: SystemExit) -> BaseException:
    """How Lightning ends after a signal that came before the first step, in our words; any other exit as it is."""
    if isinstance(error, SIGTERMException):
        return Stopped(signal.SIGTERM)
    return Stopped(signal.SIGINT) if isinstance(error.__context__, KeyboardInterrupt) else error


class Signals:
    """Remembers the first signal that asks to end, as long as it is armed."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def arm(self) -> None:
        """Heed signals from here on, again where others do so by now; nothing in a thread, which cannot handle them."""
        if threading.current_thread() is threading.main_thread():
            for number in ASKS:
                self._before.setdefault(number, signal.signal(number, self._heed))

    def disarm(self) -> None:
        """Give them back to those who handled them at first; again, where others do so by now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(Stopped(number).code)  # type: ignore[arg-type]
        self.received = number
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: ending after this step; once more ends at once\n".encode())  # print may be in use
