"""From bytes to the text that may be shown: whole characters, and nothing of a string at which to stop."""

import codecs
from collections.abc import Sequence

from seqmodels.errors import InputError


class Transcript:
    """The text of one row while it is written.

    It ends before the first stop string, also where that spans tokens: as soon as one is complete, and where several
    are complete with the same character, before the longest of them. What could still become the beginning of a stop
    string is held back, so no part of one is ever shown.

    Args:
        stop: strings at which the text ends; they are not part of it.

    Raises:
        InputError: a stop string is empty.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        if isinstance(stop, str) or not all(stop):
            raise InputError(f"stop={stop!r} was given; expected a list of strings of at least one character each")
        self.stop = sorted(stop, key=len, reverse=True)
        self.stopped = False
        """Whether a stop string has come."""
        self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, piece: bytes, final: bool = False) -> str:
        """What may be shown after these bytes; with `final`, nothing is held back any more."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(piece, final)
        places = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)[1]]
        longest = 0 if final or not self.stop else min(len(self.stop[0]) - 1, len(text))
        held = next((n for n in range(longest, 0, -1) if any(s.startswith(text[-n:]) for s in self.stop)), 0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown
