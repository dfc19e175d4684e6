"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A place beside ``path`` to write to; it takes the place of ``path`` at the end.

    The caller makes a file or a folder there. What was at ``path`` stays until then, and for good
    if the block raises; nothing half-written is left behind. Missing parent folders are made.

    A folder that replaces another is moved into place in two steps, since no single one exists:
    who is killed in between finds the new folder beside the place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.{os.getpid()}.part")
    _remove(place)
    try:
        yield place
        if path.is_dir():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            _remove(old)
            os.replace(path, old)
            os.replace(place, path)
            _remove(old)
        else:
            os.replace(place, path)
    except BaseException:
        _remove(place)
        raise


def write_aside(path: str | Path, content: bytes | str) -> None:
    """Write a file (text as UTF-8) beside its place, then move it there."""
    with aside(path) as place:
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
