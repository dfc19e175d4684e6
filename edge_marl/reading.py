"""Files that others made, opened so that whatever is wrong with one is a line that names it.

All readers of the project open their files here: nothing but ordinary files is read (a pipe would
wait for ever), whole files only where they fit into memory, texts in UTF-8 with or without a
byte-order mark, line by line and no line without a bound.
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
    """Turn what systems and decoders say of a file into one line that names it.

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
    """What an exception says, without the name of the file."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def read_bytes(path: str | Path, *, times: float = 1) -> bytes:
    """All of a file.

    Args:
        path: of the file.
        times: how many times its size what is made of it takes in memory.

    Raises:
        InputError: for what cannot be read, and for a file that does not fit into memory.
    """
    path = check_file(path)
    with reading(path), path.open("rb") as file:
        check_memory(times * os.fstat(file.fileno()).st_size, str(path))
        return file.read()


def lines(path: str | Path) -> Iterator[str]:
    """The lines of a text, without holding more than one of them.

    Raises:
        InputError: for what cannot be read, is no text in UTF-8, or has a line of more than
            :data:`LONGEST_ROW` characters.
    """
    with _open(path, "") as text:
        for line in text:
            yield line
            text.left = LONGEST_ROW


def csv_rows(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Number of the line that it ends in, and fields, of each row of a CSV file; no blank ones.

    The file may be compressed: a ``.csv.gz``, or the one CSV file of a ``.tar.gz``. It is
    unpacked as it is read, never to the disk.

    Raises:
        InputError: as :func:`lines`, for what is no CSV, and for an archive that is damaged, holds
            several CSV files or none, or has far more in it than such a file can have.
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
    """The lines of a file, of ``left`` characters together at most; who reads them renews it."""

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
