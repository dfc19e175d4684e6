"""Record where and with what a result was measured."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from edge_marl.experiments.parallel import all_cores

_PACKAGES = (
    "edge-marl", "ray", "torch", "numpy", "numba", "scipy", "scikit-learn", "highspy", "pettingzoo",
)  # fmt: skip


def provenance() -> dict[str, Any]:
    """Return date (UTC), machine and versions, to be stored with every result."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "machine": {
            "processor": _processor(),
            "cores": all_cores(),
            "memory_gib": _memory_gib(),
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # a checkout that is not installed
    return found
