"""Bound the numbers that options may have, if only so that no product of a few overflows."""

from __future__ import annotations

MOST = 10**9
"""Of anything that is counted."""

MOST_EPISODES = 10**6
"""Of one evaluation."""

MOST_WORKERS = 10_000
"""Processes side by side."""

SMALLEST, LARGEST = 1e-12, 1e12
"""Of quantities, in whatever unit."""
