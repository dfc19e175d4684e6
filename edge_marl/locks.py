"""Allow one writer at a time, by locks that end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_marl.errors import InputError
from edge_marl.files import folder_made, writing

LOCK = ".lock"

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder as its only writer; it is made if missing, and removed again if left empty.

    Processes that are started within the block and write for this one need no lock of their own.

    Raises:
        InputError: as :func:`locked`.
    """
    with locked(folder / LOCK, folder):
        yield


@contextmanager
def locked(lock: Path, what: Path) -> Iterator[None]:
    """Hold a lock: a file that is there, and locked by the system, for as long as the block lasts.

    The system releases the lock when the process ends, however it ends; a file that is left then
    means nothing. Nothing is locked on file systems without locks, such as some on clusters.

    Args:
        lock: the file.
        what: what only one process may write.

    Raises:
        InputError: naming the process that holds it, or if the file cannot be written.
    """
    with ExitStack() as held:
        with writing(what):
            held.enter_context(folder_made(lock.parent))
            file = _opened(lock, what)
            held.callback(os.close, file)
            # Before the lock is released: whoever has opened the file by then sees that it is gone.
            held.callback(lock.unlink, missing_ok=True)
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()} on {socket.gethostname()}".encode())
        yield


def _opened(lock: Path, what: Path) -> int:
    """Open and lock the file, and return its descriptor."""
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _lock(file) and not _is_at(file, lock):
                os.close(file)  # its last holder has just removed it
                continue
        except BlockingIOError:
            holder = os.read(file, 300).decode(errors="replace") or "another"
            os.close(file)
            raise InputError(
                f"{what}: process {holder} is writing to it, which one may at a time: "
                "wait for it, or choose another place"
            ) from None
        return file


def _lock(file: int) -> bool:
    """Lock a file and return True, or return False where the file system has no locks.

    Raises:
        BlockingIOError: if another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return False
        raise
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
