"""Measure the processor time of single-threaded code while the machine does other work."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

_CALLS = 3
"""Timed at least, however long they take: of one, nobody knows whether it was disturbed."""


def seconds_each(task: Callable[[], object], seconds: float) -> float:
    """Return the processor time of the fastest call after a warm-up; others were disturbed."""
    task()
    found: list[float] = []
    until = time.process_time() + seconds
    while len(found) < _CALLS or time.process_time() < until:
        begin = time.process_time()
        task()
        found.append(time.process_time() - begin)
    return min(found)


def percentiles_s(task: Callable[[], object], times: int) -> tuple[float, float]:
    """Return the median and 99th percentile of this thread's processor time per call, once warm."""
    for _ in range(times // 10):
        task()
    seconds = []
    for _ in range(times):
        begin = time.thread_time()
        task()
        seconds.append(time.thread_time() - begin)
    middle, slow = np.percentile(seconds, [50, 99])
    return float(middle), float(slow)
