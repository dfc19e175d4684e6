"""Unpack gzip files, and tar archives with one file of interest, while they are read.

Nothing of an archive is written to the disk, whatever its names, links and sizes say.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

from edge_marl.errors import InputError

MOST_TIMES = 100
"""What a file unpacks to, in units of its own size, above :data:`_ANY_RATIO`. Tables of numbers
unpack to 5 to 20 times their size; what is made to fill a memory, to a thousand."""
_ANY_RATIO = 2**20

_GZIP = b"\x1f\x8b"
_BLOCK = tarfile.BLOCKSIZE


def unpacked(file: io.BufferedReader, path: Path, suffix: str) -> BinaryIO:
    """Return a file itself or, where it is compressed or an archive, a stream of its contents.

    Args:
        file: the file, at its beginning.
        path: its path, for messages.
        suffix: of the one file of interest in an archive, such as ``".csv"``.

    Raises:
        InputError: at once or while the result is read: for an archive that is damaged, is cut off
            or holds several such files or none, and for gzip data that unpacks to more than a table
            can.
    """
    inner = file
    if file.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
        inner = io.BufferedReader(_Gunzipped(file, path))
    if _header(inner.peek(_BLOCK)[:_BLOCK]) is None:
        return cast("BinaryIO", inner)
    return cast("BinaryIO", io.BufferedReader(_OnlyMember(inner, path, suffix)))


def _header(block: bytes) -> tarfile.TarInfo | None:
    """Parse the header of an archive member; return None for any other block."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return None


class _Stream(io.RawIOBase):
    """Provide a stream that is read once, from the front."""

    def readable(self) -> bool:
        return True


class _Gunzipped(_Stream):
    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        self._file = file
        self._path = path
        self._gzip = gzip.GzipFile(fileobj=file)
        self._size = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._gzip.readinto(buffer)
        self._size += count
        if self._size > max(_ANY_RATIO, MOST_TIMES * self._file.tell()):
            raise InputError(
                f"{self._path}: expected a compressed table, found what unpacks to more than "
                f"{MOST_TIMES} times its size"
            )
        return count


class _OnlyMember(_Stream):
    """Read the one file with a given suffix in an archive."""

    def __init__(self, archive: io.BufferedReader, path: Path, suffix: str) -> None:
        self._archive = archive
        self._path = path
        self._suffix = suffix
        left = self._next()
        if left is None:
            raise InputError(f"{path}: expected a file *{suffix} in the archive, found none")
        self._left, self._padding = left, -left % _BLOCK

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._left:
            count = self._archive.readinto(memoryview(buffer)[: self._left])
            self._left -= count
            if not count:
                raise self._cut_off()
            return count
        self._skip(self._padding)
        self._padding = 0
        if self._next() is not None:
            raise InputError(
                f"{self._path}: expected one file *{self._suffix} in the archive, found several"
            )
        return 0

    def _next(self) -> int | None:
        """Advance to the next file of interest and return its size in bytes, None without one."""
        while True:
            block = self._archive.read(_BLOCK)
            if not block.strip(b"\0"):
                return None
            header = _header(block)
            if header is None or header.size < 0:
                raise InputError(
                    f"{self._path}: expected the header of a file, found a damaged one"
                )
            name = Path(header.name).name
            # Names that begin with a dot are what macOS adds to an archive.
            if header.isreg() and name.endswith(self._suffix) and not name.startswith("."):
                return header.size
            self._skip(header.size + -header.size % _BLOCK)

    def _skip(self, size: int) -> None:
        while size:
            count = len(self._archive.read(min(size, io.DEFAULT_BUFFER_SIZE)))
            if not count:
                raise self._cut_off()
            size -= count

    def _cut_off(self) -> InputError:
        return InputError(f"{self._path}: expected a whole archive, found one that is cut off")
