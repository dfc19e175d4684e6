"""Account for the privacy that noisy versions cost a client."""

from __future__ import annotations

import warnings
from functools import cache

from edge_marl.errors import InputError

DELTA = 1e-5
"""With which probability a client may lose more than the epsilon that is reported."""


@cache
def epsilon(noise_multiplier: float, releases: int, delta: float) -> float:
    """Return the epsilon that a client has lost: its part in the versions is (epsilon, delta)-DP.

    The accountant is Opacus's of privacy loss random variables (Gopi et al., 2021). Who is in the
    buffer is no random sample of the clients, so nothing is gained by sampling.

    Args:
        noise_multiplier: standard deviation of the noise over what one client can change.
        releases: versions that an update of the client is part of.
        delta: probability with which more may be lost.

    Raises:
        InputError: if Opacus is not installed.
    """
    if releases == 0:
        return 0.0
    if noise_multiplier == 0.0:
        return float("inf")
    try:
        from opacus.accountants import PRVAccountant
    except ImportError:
        raise InputError(
            "noise_multiplier: expected 0, for accounting for privacy takes Opacus, which is not "
            "installed: pip install 'edge-marl[privacy]'"
        ) from None
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, 1.0, releases)]
    with warnings.catch_warnings():  # of orders that it does not need, and of logarithms of 0
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta=delta))
