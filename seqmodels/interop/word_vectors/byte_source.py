"""A file of vectors, plain or gzipped, read by lines and bytes within limits."""

import functools
import gzip
import io
import sys
import zlib
from collections.abc import Callable
from typing import TypeVar, cast

from rich.console import Console
from rich.progress import Progress

from seqmodels.errors import InputError
from seqmodels.files import AnyPath, bare, check_regular, local

T = TypeVar("T")

LINE_BYTES = 1 << 20
"""Most bytes of a line."""
BLOCK_BYTES = 1 << 24
"""Most bytes that are read at a time, so that memory grows only with the bytes that exist."""
UNPACKED_RATIO = 64
"""Most times its own size that a gzipped file may unpack to; vectors as text shrink to a third."""
BUFFER_BYTES = 1 << 16
PROGRESS_BYTES = 1 << 25
"""Bytes of a file from which on reading shows a progress bar on a terminal."""


class ByteSource:
    """An open file; a context manager.

    Args:
        path: a local file; its content tells whether it is gzipped.

    Raises:
        InputError: it cannot be read, or it is a zip archive.
    """

    def __init__(self, path: AnyPath) -> None:
        self.path = local(path)
        self.name = repr(str(self.path))
        size = check_regular(self.path)
        console = Console(file=bare(sys.stderr))
        shown = size >= PROGRESS_BYTES and console.is_terminal and sys.stderr.isatty()
        self._bar = Progress(console=console, transient=True, disable=not shown)
        self._raw = self._guarded(lambda: self.path.open("rb", buffering=0))
        counted = self._bar.wrap_file(self._raw, size, description=f"reading {size / 1e6:,.0f} MB")
        self._file = io.BufferedReader(cast(io.RawIOBase, counted), BUFFER_BYTES)
        start = self.peek(4)
        if start == b"PK\x03\x04":
            self._raw.close()
            raise InputError(f"{self.name} is a zip archive; unpack it, and give the file of vectors that is in it")
        zipped = start[:2] == b"\x1f\x8b"
        if zipped:
            self._file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=self._file)), BUFFER_BYTES)
        self.most = size * UNPACKED_RATIO if zipped else size
        """Most bytes that it can contain, unpacked."""
        self._taken = 0

    def __enter__(self) -> "ByteSource":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        self._file.close()
        self._raw.close()

    def peek(self, count: int) -> bytes:
        """Up to `count` of the next bytes, without taking them."""
        return self._guarded(lambda: self._file.peek(count)[:count])

    def line(self) -> bytes:
        """The next line with its line end; empty at the end of the file.

        Raises:
            InputError: it is longer than `LINE_BYTES`, or the file is damaged.
        """
        found = self._guarded(lambda: self._file.readline(LINE_BYTES + 1))
        if len(found) > LINE_BYTES:
            raise InputError(f"{self.name} has a line of more than {LINE_BYTES:,} bytes; expected a word and numbers")
        return self._counted(found)

    def until(self, end: bytes, what: str) -> bytes:
        """The bytes before the next `end`, which is skipped.

        Raises:
            InputError: there is none within `LINE_BYTES` bytes.
        """
        found = bytearray()
        while len(found) <= LINE_BYTES:
            ahead = self.peek(1 << 12)
            place = ahead.find(end)
            found += self.exactly(place + 1 if place >= 0 else max(1, len(ahead)), what)
            if place >= 0:
                return bytes(found[:-1])
        raise InputError(f"{self.name} is damaged: {what} has more than {LINE_BYTES:,} bytes")

    def exactly(self, count: int, what: str) -> bytearray:
        """The next `count` bytes; memory is allocated as they are read.

        Raises:
            InputError: the file ends before that.
        """
        found = bytearray()
        while len(found) < count:
            piece = self._guarded(functools.partial(self._file.read, min(BLOCK_BYTES, count - len(found))))
            if not piece:
                raise InputError(f"{self.name} ends in the midst of {what}; it is truncated: fetch it again")
            found += self._counted(piece)
        return found

    def ends(self) -> bool:
        """Whether only white space is left."""
        while (ahead := self.peek(1 << 12)) and not ahead.strip():
            self.exactly(len(ahead), "white space")
        return not ahead

    def _counted(self, found: bytes) -> bytes:
        self._taken += len(found)
        if self._taken > self.most:
            raise InputError(
                f"{self.name} unpacks to more than {UNPACKED_RATIO} times its size; vectors do not, so it is refused"
            )
        return found

    def _guarded(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(f"{self.name} cannot be unpacked: {error}; it is damaged: fetch it again") from error
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from error
