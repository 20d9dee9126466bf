"""The zip container of a checkpoint, checked to the last byte before anything in it is used.

Torch reads such a file without looking at its checksums, so that a bit that flipped on a disk becomes a wrong weight;
and it follows offsets and names as the file states them. Here a file has to lie as `torch.save` lays it out: entries
without compression one behind the other, each with its checksum, then their table, then the end. So every reader sees
the same entries, and none of them is larger than the bytes that are there.
"""

import itertools
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from seqmodels.errors import DamagedError, InputError

MOST = 200_000
"""Entries of a file: each tensor is one."""

LOCAL = struct.Struct("<4s5H3I2H")
END = struct.Struct("<4s4H2IH")
LONG_END = struct.Struct("<4sQ2H2I4Q")
"""Of tables that count in 64 bits: it stands before `END`, with 20 bytes between that say where."""
CHUNK = 1 << 20
NAMES = r"data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d{1,9}"
OUTLINE = "data.pkl"
WRITER = "expected a checkpoint that this package wrote (checkpoints/best.ckpt or last.ckpt of a run)"


class Archive(NamedTuple):
    """A container whose checksums are right."""

    sizes: dict[str, int]
    """Bytes of each entry by its name, without the folder that all of them are in."""
    outline: bytes
    """The entry that says what the others are."""


def check_archive(path: Path, most: int) -> Archive:
    """Verify a container.

    Args:
        path: a regular file.
        most: bytes that the outline may have.

    Raises:
        DamagedError: it is truncated, or its bits have changed.
        InputError: it was not written by torch as it is today, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Checked(path, file).archive(most)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


class _Checked:
    """One pass over an open container."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = file.seek(0, os.SEEK_END)

    def archive(self, most: int) -> Archive:
        self._check_beginning()
        table, count = self._table()
        try:
            with zipfile.ZipFile(self.file) as container:
                found = container.infolist()
        except (zipfile.BadZipFile, struct.error, NotImplementedError, UnicodeError) as error:
            raise self._damaged("its table of contents cannot be read") from error
        if len(found) != count:
            raise self._damaged("its table of contents has fewer or more entries than it says")
        places = [entry.header_offset for entry in found] + [table]
        if places[0] != 0 or any(one >= other for one, other in itertools.pairwise(places)):
            raise self._damaged("its entries do not lie one behind the other")
        root, sizes = found[0].filename.partition("/")[0], dict[str, int]()
        for info, end in zip(found, places[1:], strict=True):
            self._check_header(info)
            folder, _, name = info.filename.partition("/")
            known = folder == root and re.fullmatch(NAMES, name) and name not in sizes
            if not known or info.orig_filename != info.filename:
                raise self._foreign(f"has an entry {info.orig_filename!r:.80}")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ~0x808:
                raise self._foreign(f"has a compressed or encrypted entry, {info.filename!r:.80}")
            self._check_bytes(info, end)
            sizes[name] = info.file_size
        for name, wanted in (("version", b"3"), ("byteorder", b"little")):
            if sizes.get(name, 0) > 9 or self._content(found, f"{root}/{name}").strip() != wanted:
                raise self._foreign(f"does not say {wanted.decode()} in its entry {name!r}")
        if sizes.get(OUTLINE, most + 1) > most:
            raise self._foreign(f"has no entry {OUTLINE!r} of at most {most:,} bytes")
        return Archive(sizes, self._content(found, f"{root}/{OUTLINE}"))

    def _read(self, start: int, size: int) -> bytes:
        self.file.seek(start)
        return self.file.read(size)

    def _damaged(self, why: str) -> DamagedError:
        return DamagedError(
            f"{str(self.path)!r} cannot be read ({self.size:,} bytes): it is truncated or damaged, since {why}; take "
            "another checkpoint of its run, or an older copy"
        )

    def _foreign(self, why: str) -> InputError:
        return InputError(f"{str(self.path)!r} cannot be read, since it {why}: {WRITER}")

    def _check_beginning(self) -> None:
        """Zeros, or nothing, are what a crash leaves; all else but a container is foreign."""
        beginning = self._read(0, 4096)
        if not beginning.strip(b"\0"):
            raise self._damaged("it is empty, or zeros")
        if not beginning.startswith(b"PK\3\4"):
            ending = self._read(max(0, self.size - END.size), 4)
            if beginning.startswith(b"PK") or ending == b"PK\5\6":
                raise self._damaged("its first bits have changed")
            raise self._foreign("does not begin as a container of torch.save does")

    def _table(self) -> tuple[int, int]:
        """Where the table of contents begins, and how many entries it has; it has to reach to the end of the file."""
        end = self.size - END.size
        if end < 0:
            raise self._damaged("its end is missing")
        mark, disk, first, here, count, size, start, comment = END.unpack(self._read(end, END.size))
        if mark != b"PK\5\6" or disk or first or comment or here != count:
            raise self._damaged("its end is missing")
        locator = self._read(end - 20, 20) if end >= LONG_END.size + 20 else b""
        if locator.startswith(b"PK\6\7"):
            end -= 20 + LONG_END.size
            mark, _, _, _, disk, first, here, count, size, start = LONG_END.unpack(self._read(end, LONG_END.size))
            if mark != b"PK\6\6" or disk or first or here != count or locator[4:] != struct.pack("<IQI", 0, end, 1):
                raise self._damaged("its end is not as it was written")
        if start + size != end:
            raise self._damaged("its table of contents is not where it should be")
        if count > MOST:
            raise self._foreign(f"has {count:,} entries, more than {MOST:,}")
        return start, count

    def _start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of an entry begin."""
        *_, named, extra = LOCAL.unpack(self._read(info.header_offset, LOCAL.size))
        return int(info.header_offset + LOCAL.size + named + extra)

    def _content(self, found: list[zipfile.ZipInfo], name: str) -> bytes:
        return b"".join(self._read(self._start(info), info.file_size) for info in found if info.filename == name)

    def _check_header(self, info: zipfile.ZipInfo) -> None:
        """An entry has a header of its own, which has to agree with the table of contents."""
        header = self._read(info.header_offset, LOCAL.size)
        if len(header) < LOCAL.size:
            raise self._damaged("an entry lies beyond its end")
        mark, _, flags, method, _, _, _, _, _, named, _ = LOCAL.unpack(header)
        name = self._read(info.header_offset + LOCAL.size, named)
        if (mark, flags, method) != (b"PK\3\4", info.flag_bits, info.compress_type) or name != _encoded(info):
            raise self._damaged(f"the entry {info.filename!r:.80} is not where its table says")
        # Torch takes what is marked as a folder for empty, and makes zeros of it.
        if info.volume or info.internal_attr or info.external_attr & 0xFFFF or info.comment:
            raise self._damaged(f"the table calls {info.filename!r:.80} something else than a file")

    def _check_bytes(self, info: zipfile.ZipInfo, end: int) -> None:
        """An entry reaches to the next one, and its bytes agree with their checksum.

        Args:
            info: what the table says of an entry that is not compressed.
            end: where the next one begins.
        """
        _, _, flags, _, _, _, crc, packed, size, _, _ = LOCAL.unpack(self._read(info.header_offset, LOCAL.size))
        start, sizes = self._start(info), [info.file_size] * 2
        behind = end - start - info.file_size
        told = self._read(start + info.file_size, min(behind, 25)) if behind >= 0 else b"less than nothing"
        if flags & 8:  # sizes and checksum stand behind the bytes, in 32 bits or in 64
            mark = struct.pack("<4sI", b"PK\7\10", info.CRC)
            short = [] if info.file_size > 0xFFFFFFFF else [mark + struct.pack("<2I", *sizes)]
            agrees = told in [*short, mark + struct.pack("<2Q", *sizes)]
        else:
            agrees = not told and (crc, packed, size) == (info.CRC, *sizes)
        if not agrees or info.compress_size != info.file_size:
            raise self._damaged(f"the entry {info.filename!r:.80} is larger or smaller than its table says")
        self.file.seek(start)
        found, left = 0, info.file_size
        while left and (chunk := self.file.read(min(CHUNK, left))):
            found, left = zlib.crc32(chunk, found), left - len(chunk)
        if left or found != info.CRC:
            raise self._damaged(f"the checksum of {info.filename!r} is wrong")


def _encoded(info: zipfile.ZipInfo) -> bytes:
    """The name of an entry as it stands in the file: in UTF-8 if it says so, else in the characters of old."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
