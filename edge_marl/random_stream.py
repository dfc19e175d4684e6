"""Draw random numbers by (seed, counter), the same in every batch and on every worker.

A generator that keeps a state would make a draw depend on how many draws came before it.
Here draw number ``counter`` of the stream ``seed`` is a hash of the two: the counter form of
splitmix64 (Steele, Lea and Flood, 2014, "Fast splittable pseudorandom number generators").
Every simulator gives each episode its own seed and each purpose its own counter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.compiled import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_S11, _S27, _S30, _S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
_TO_UNIT = 2.0**-53
_MOST_TICKS = 1e9


@compiled(inline=True)
def mix(value: Any) -> Any:
    """Apply the finaliser of splitmix64: one uint64 in, one well-mixed uint64 out."""
    value = (value ^ (value >> _S30)) * _MIX_1
    value = (value ^ (value >> _S27)) * _MIX_2
    return value ^ (value >> _S31)


@compiled(entry=True, inline=True)
def uniform(seed: Any, counter: Any) -> Any:
    """Return draw ``counter`` (at least 0) of stream ``seed`` (any int64), uniform in [0, 1).

    The seed is hashed first, so that neighbouring seeds give unrelated streams instead of
    the same stream shifted by one.
    """
    start = mix(np.uint64(seed) + _GOLDEN)
    return np.float64(mix(start + (np.uint64(counter) + _ONE) * _GOLDEN) >> _S11) * _TO_UNIT


@compiled(entry=True, allocates=True)
def uniforms(seeds: Any, first: int, n: int) -> NDArray[np.float64]:
    """Return draws ``first`` to ``first + n - 1`` of the streams ``seeds [B]``, as ``[B, n]``."""
    draws = np.empty((len(seeds), n))
    for b in range(len(seeds)):
        for k in range(n):
            draws[b, k] = uniform(seeds[b], first + k)
    return draws


@compiled(entry=True, inline=True)
def exponential_ticks(u: Any, mean: Any) -> Any:
    """Return for ``u`` in [0, 1) an exponential time in whole ticks, from 1 to 1e9."""
    return max(1, int(min(-math.log(1.0 - u) * mean, _MOST_TICKS) + 0.5))


@compiled(entry=True, inline=True)
def normal_cdf(z: Any) -> Any:
    """Return the cumulative distribution function of the standard normal at ``z``."""
    return 0.5 * math.erfc(-z * 0.7071067811865476)


@compiled(entry=True, inline=True)
def normal_quantile(u: Any) -> Any:
    """Invert :func:`normal_cdf` for ``u`` in [0, 1), with an absolute error below 5e-4.

    Formula 26.2.23 of Abramowitz and Stegun; 0 is read as 2**-54, half the smallest draw.
    """
    u = max(u, 5.6e-17)
    t = math.sqrt(-2.0 * math.log(min(u, 1.0 - u)))
    top = 2.515517 + t * (0.802853 + t * 0.010328)
    bottom = 1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))
    z = t - top / bottom
    return -z if u < 0.5 else z
