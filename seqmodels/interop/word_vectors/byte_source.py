"""A file of vectors as a stream of lines and bytes, plain or gzipped, within limits."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, cast

from rich.console import Console
from rich.progress import Progress

from seqmodels.errors import InputError
from seqmodels.files import AnyPath, check_regular, local

LINE = 1 << 20
"""Most bytes of a line."""
PIECE = 1 << 24
"""Bytes that are read at a time where many are wanted, so that memory grows only with what is there."""
RATIO = 64
"""How many times its own size a gzipped file may unpack to; vectors as text shrink to a third."""
LARGE = 1 << 25
"""Bytes of a file from which on reading shows a bar, where there is a terminal."""


class ByteSource:
    """An open file; a context manager.

    Args:
        path: of this machine; gzipped or not, whatever its name says.

    Raises:
        InputError: it cannot be read, or it is a zip archive.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = local(path)
        self.name = repr(str(self.path))
        self._size = check_regular(self.path)
        try:
            self._raw = self.path.open("rb")
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
        start = self._raw.peek(4)[:4]
        zipped = start[:2] == b"\x1f\x8b"
        self.most = self._size * RATIO if zipped else self._size
        """Most bytes that it can hold, unpacked."""
        self._file: BinaryIO = self._raw
        if zipped:
            self._file = cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=self._raw), 1 << 16))
        self._taken = 0
        console = Console(stderr=True)
        shown = self._size >= LARGE and console.is_terminal and sys.stderr.isatty()
        self._bar = Progress(console=console, transient=True, disable=not shown)
        self._row = self._bar.add_task(f"reading {self._size / 1e6:,.0f} MB", total=self._size)
        self._ticks = 0
        if start == b"PK\x03\x04":
            self._raw.close()
            raise InputError(f"{self.name} is a zip archive; unpack it, and give the file of vectors that is in it")

    def __enter__(self) -> "ByteSource":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._file.close()
        self._raw.close()

    def peek(self, count: int) -> bytes:
        """Bytes that come next, some or all of as many, which are not taken yet."""
        return self._guarded(lambda: cast(io.BufferedReader, self._file).peek(count)[:count])

    def line(self) -> bytes:
        """The next line with what ends it; empty at the end of the file.

        Raises:
            InputError: it is longer than `LINE`, or the file is damaged.
        """
        found = self._guarded(lambda: self._file.readline(LINE + 1))
        if len(found) > LINE:
            raise InputError(f"{self.name} has a line of more than {LINE:,} bytes; expected a word and its numbers")
        return self._took(found)

    def until(self, end: bytes, what: str) -> bytes:
        """Bytes up to a certain one, which is taken and left out.

        Raises:
            InputError: it does not come within `LINE` bytes.
        """
        found = bytearray()
        while len(found) <= LINE:
            ahead = self.peek(1 << 12)
            place = ahead.find(end)
            found += self.exactly(place + 1 if place >= 0 else max(1, len(ahead)), what)
            if place >= 0:
                return bytes(found[:-1])
        raise InputError(f"{self.name} is damaged: {what} has more than {LINE:,} bytes")

    def exactly(self, count: int, what: str) -> bytes:
        """So many bytes.

        Raises:
            InputError: the file ends before.
        """
        found = self._guarded(lambda: self._file.read(count))
        if len(found) < count:
            raise InputError(f"{self.name} ends in the midst of {what}; it is truncated: fetch it again")
        return self._took(found)

    def ends(self) -> bool:
        """Whether nothing but white space is left."""
        ahead = self.peek(1 << 12)
        while ahead and not ahead.strip():
            self.exactly(len(ahead), "white space")
            ahead = self.peek(1 << 12)
        return not ahead

    def many(self, count: int, what: str) -> bytearray:
        """So many bytes, of which memory is asked for as they come.

        Raises:
            InputError: the file ends before.
        """
        found = bytearray()
        while len(found) < count:
            found += self.exactly(min(PIECE, count - len(found)), what)
        return found

    def skip(self, count: int, what: str) -> None:
        """Pass over so many bytes."""
        while count > 0:
            count -= len(self.exactly(min(PIECE, count), what))

    def _took(self, found: bytes) -> bytes:
        self._taken += len(found)
        if self._taken > self.most:
            raise InputError(
                f"{self.name} unpacks to more than {RATIO} times its size; vectors do not, so it is refused"
            )
        self._ticks += 1
        if self._ticks % 4096 == 0 or len(found) >= PIECE:
            self._bar.update(self._row, completed=self._raw.tell())
        return found

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.name} cannot be unpacked: {error}; it is damaged: fetch it again") from error
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
