"""Open files that others made; whatever is wrong with one becomes a line that names it.

All readers of the project open their files here. They read nothing but ordinary files (a pipe would
wait for ever), whole files only where they fit into memory, and texts in UTF-8 with or without a
byte-order mark, line by line, each line of bounded length.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_marl.archives import unpacked
from edge_marl.errors import InputError
from edge_marl.memory import check_memory

LONGEST_ROW = 2**20
"""Characters of a line, or of a row of a table: the longest that are known have some ten thousand.
"""


def check_file(path: str | Path) -> Path:
    """Refuse what is not an ordinary file.

    Raises:
        InputError: for what is missing, may not be looked at, or is a folder, a pipe or a device.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL byte
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{path}: cannot be read: expected a file, found {found}")
    return Path(path)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn errors of the system and of decoders into one line that names the file.

    Raises:
        InputError: for an :class:`OSError`, text that is not UTF-8, and damaged compression.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, found {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return what an exception says, without the name of the file."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def read_bytes(path: str | Path, *, times: float = 1) -> bytes:
    """Read a whole file.

    Args:
        path: of the file.
        times: memory that the caller will need for its contents, in multiples of its size.

    Raises:
        InputError: for a file that cannot be read or does not fit into memory.
    """
    path = check_file(path)
    with reading(path), path.open("rb") as file:
        check_memory(times * os.fstat(file.fileno()).st_size, str(path))
        return file.read()


def lines(path: str | Path, *, suffix: str = "") -> Iterator[str]:
    """Yield the lines of a text, without holding more than one of them.

    Args:
        path: of the file.
        suffix: of the name of a file that may be compressed; empty: it is taken as it is.

    Raises:
        InputError: for a file that cannot be read, is not text in UTF-8, or has a line of more than
            :data:`LONGEST_ROW` characters.
    """
    with _open(path, suffix) as text:
        for line in text:
            yield line
            text.left = LONGEST_ROW


def csv_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row of a CSV file that is not blank: the number of its last line, and its fields.

    The file may be compressed: a ``.csv.gz``, or the one CSV file of a ``.tar.gz``. It is
    unpacked as it is read, never to the disk.

    Raises:
        InputError: as :func:`lines`, for a file that is not CSV, and for an archive that is
            damaged, holds several CSV files or none, or unpacks to far more than such a file can.
    """
    with _open(path, ".csv") as text:
        reader = csv.reader(text, strict=True)
        try:
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):
                    yield reader.line_num, row
                text.left = LONGEST_ROW
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}: expected a CSV file in UTF-8, found {error}") from error


@contextmanager
def _open(path: str | Path, suffix: str) -> Iterator[_Lines]:
    path = check_file(path)
    with reading(path), path.open("rb") as file:
        unpacked_file = unpacked(file, path, suffix) if suffix else file
        # What a spreadsheet program puts before the first line is no part of it.
        with io.TextIOWrapper(unpacked_file, encoding="utf-8-sig", newline="") as text:
            yield _Lines(path, text)


class _Lines(Iterator[str]):
    """Iterate over the lines of a file, raising after ``left`` characters unless it is renewed."""

    def __init__(self, path: Path, text: io.TextIOWrapper) -> None:
        self.left = LONGEST_ROW
        self._path = path
        self._text = text
        self._number = 0

    def __next__(self) -> str:
        line = self._text.readline(self.left + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self.left -= len(line)
        if self.left < 0:
            raise InputError(
                f"{self._path}: row {self._number}: expected at most {LONGEST_ROW} characters, "
                "found more"
            )
        return line
