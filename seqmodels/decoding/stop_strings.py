"""Streamed bytes as text: whole characters, cut before the first stop string."""

import codecs
from collections.abc import Sequence

from seqmodels.errors import InputError


class VisibleText:
    """The part of a row's text that may be shown while it is generated.

    It ends before the first complete stop string, also where one spans tokens; of several that end with the same
    character, before the longest. Text that could still begin a stop string is held back.

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
        """Whether a stop string was found."""
        self._held = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, piece: bytes, final: bool = False) -> str:
        """The text that these bytes add; with `final`, nothing is held back."""
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
