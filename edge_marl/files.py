"""Write files and folders that appear whole or not at all and never replace the work of others.

A file replaces a file, as everywhere. A folder replaces only what is recognisably an earlier output
of its kind. Nothing else is ever replaced: no folder by a file, no symbolic link by a folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_marl.errors import InputError

_CLUTTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers leave in a folder that they have shown."""


@contextmanager
def aside(path: str | Path, *, parts: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a place beside ``path`` to write to, and move it to ``path`` at the end.

    The caller makes a file there or, with ``parts``, a folder. What was at ``path`` stays until the
    block ends, and for good if the block raises. Nothing half-written is left behind, what killed
    processes have left beside ``path`` is removed, and missing parent folders are made.

    A file replaces another in one step, and so does a folder where the system can exchange two
    (Linux, on most file systems). Elsewhere a folder takes two steps: a process that is killed in
    between leaves the old folder beside its place, and whoever reads or writes there next puts it
    back, see :func:`put_back`.

    Args:
        path: of a file, or of a folder if ``parts`` are given. Where ``path`` is a symbolic link to
            a file, that file is replaced and the link stays.
        parts: names of all that the folder may hold; every such folder holds the first. A folder
            is an earlier output, and may be replaced, if it holds nothing else, or nothing at all.

    Raises:
        InputError: if something else is at ``path``, or if it cannot be written.
    """
    with writing(path):
        target = _checked(path, parts)
        with _beside(target) as place:
            yield place
            _checked(path, parts)  # the block may have taken long
            if target.is_dir():
                _replace_folder(place, target)
            else:
                os.replace(place, target)


def write_aside(path: str | Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8) beside its place, then move it there."""
    with aside(path) as place:
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def check_output(path: str | Path, *sources: str | Path, parts: Sequence[str] = ()) -> None:
    """Refuse an output before the work that leads to it, leaving nothing behind.

    Args:
        path: as of :func:`aside`.
        sources: what it is made from.
        parts: as of :func:`aside`.

    Raises:
        InputError: if :func:`aside` would refuse it, or as :func:`check_apart`.
    """
    check_apart(path, *sources)
    with writing(path), _beside(_checked(path, parts)) as place:
        place.touch()


def check_apart(path: str | Path, *sources: str | Path) -> None:
    """Refuse an output that is, or lies within, what it is made from.

    Raises:
        InputError: naming both.
    """
    target = Path(os.path.realpath(path))
    for source in sources:
        found = Path(os.path.realpath(source))
        if found == target or found in target.parents:
            raise InputError(f"{path}: expected a place apart from {source}, which is read")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn errors of the operating system into one line about ``path``.

    Raises:
        InputError: for any of them.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).strip().splitlines()[0]
        raise InputError(f"{path}: cannot be written: {reason}") from error


def put_back(path: Path) -> None:
    """Restore a folder whose replacement was killed between its two steps, see :func:`aside`.

    Raises:
        InputError: if the folder is there but cannot be moved back.
    """
    with writing(path):
        if not os.path.lexists(path):
            for left in _leftovers(path):
                if left.suffix == _OLD:
                    os.replace(left, path)
                    return


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing; remove it after the block if it was made and left empty.

    Raises:
        OSError: if it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
        yield
    finally:
        for made in missing:
            with suppress(OSError):  # something is in it
                made.rmdir()


_PART, _OLD = ".part", ".old"
"""How the names of what is written, and of what is moved away, end."""


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a hidden place beside a path, gone at the end; what dead writers left goes first."""
    with folder_made(path.parent):
        put_back(path)
        for left in _leftovers(path):
            _remove(left)
        place = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
        try:
            yield place
        finally:
            _remove(place)


def _checked(path: str | Path, parts: Sequence[str]) -> Path:
    """Return where to write what is to be at ``path``: the path itself, symbolic links followed.

    Raises:
        InputError: if something is there that must not be replaced.
    """
    target = Path(os.path.realpath(path))
    if parts:
        if Path(path).is_symlink():
            raise InputError(f"{path}: expected a folder or nothing, found a symbolic link")
        if target.exists() and not target.is_dir():
            raise InputError(f"{path}: expected a folder or nothing, found a file")
        held = {entry.name for entry in target.iterdir()} - _CLUTTER if target.is_dir() else set()
        if held and not parts[0] in held <= {*parts}:
            others = sorted(held - {*parts})
            found = f"a folder with {others[0]}" if others else f"a folder without {parts[0]}"
            raise InputError(f"{path}: expected an earlier output of this kind, found {found}")
    elif target.exists() and not target.is_file():
        kind = "a folder" if target.is_dir() else "a device"
        raise InputError(f"{path}: expected a file or nothing, found {kind}")
    return target


def _replace_folder(new: Path, path: Path) -> None:
    """Replace a folder by a new one; ``path`` exists throughout where the system allows it."""
    try:
        _exchange(new, path)
        return
    except (OSError, AttributeError):
        pass  # not on this system, or not on this file system
    old = path.with_name(f".{path.name}.{os.getpid()}{_OLD}")
    try:
        os.replace(path, old)
        os.replace(new, path)
    except BaseException:
        if not path.exists():
            os.replace(old, path)
        raise
    _remove(old)


def _exchange(a: Path, b: Path) -> None:
    """Swap two paths in one step.

    Raises:
        AttributeError: where the C library has no ``renameat2``.
        OSError: if the swap fails.
    """
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _leftovers(path: Path) -> list[Path]:
    """Return what dead writers of ``path``, and this process, have left beside it."""
    if not path.parent.is_dir():
        return []
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)(?:{re.escape(_PART)}|{re.escape(_OLD)})")
    found = ((entry, name.fullmatch(entry.name)) for entry in path.parent.iterdir())
    return [entry for entry, match in found if match and not _others_process(int(match[1]))]


def _others_process(number: int) -> bool:
    """Return whether a process of this machine other than this one has that number."""
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
