"""Check how much memory there is before much of it is taken.

NumPy reserves what the system promises, and the system promises more than it has: an array that is
too large is noticed only while it is filled, when the system kills the process.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from edge_marl.errors import InputError

_SHARE = 0.8
"""Of the machine's memory; the rest is for the program itself and for everything else."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def check_memory(needed: float, what: str) -> None:
    """Refuse what would not fit into the memory of this machine.

    Args:
        needed: bytes, a lower estimate.
        what: what would take them, with the options that decide how many, such as ``"traces of
            1000 jobs (--traces, files, videos)"``.

    Raises:
        InputError: with the estimate and the limit.
    """
    if needed > memory_limit():
        raise InputError(
            f"{what}: expected to fit into {_gib(memory_limit())} of memory, "
            f"would take {_gib(needed)}"
        )


@cache
def memory_limit() -> float:
    """Return how many bytes one thing may take: most of the memory of the machine or container."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, float(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue  # no such group, or "max"
    return _SHARE * total


def _gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB"
