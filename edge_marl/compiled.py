"""How the simulators' kernels are compiled."""

from __future__ import annotations

from typing import Any

from numba import njit

kernel: Any = njit(cache=True, _nrt=False)  # type: ignore[call-overload]
"""Decorator of a function that neither makes nor keeps an array.

Without Numba's counting of references to arrays, which is atomic at every access through a tuple
and makes a step take three times as long.
"""
