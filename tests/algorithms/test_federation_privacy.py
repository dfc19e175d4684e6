"""What noisy versions cost a client, against the exact answer for a Gaussian."""

import sys
from math import exp, inf, sqrt

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from edge_marl.algorithms.federation.privacy import epsilon
from edge_marl.errors import InputError

DELTA = 1e-5


def analytic(noise_multiplier: float, releases: int) -> float:
    """Epsilon of so many Gaussian releases (Balle and Wang, 2018; Dong et al., 2022)."""
    mu = sqrt(releases) / noise_multiplier

    def excess(epsilon: float) -> float:
        lost = norm.cdf(-epsilon / mu + mu / 2) - exp(epsilon) * norm.cdf(-epsilon / mu - mu / 2)
        return float(lost - DELTA)

    return float(brentq(excess, 1e-6, 200.0))


@pytest.mark.parametrize(("noise_multiplier", "releases"), [(4.0, 200), (1.0, 1), (10.0, 50)])
def test_epsilon_is_that_of_a_gaussian(noise_multiplier: float, releases: int) -> None:
    exact = analytic(noise_multiplier, releases)
    if releases == 200:
        assert exact == pytest.approx(20.676, abs=5e-4)
    assert epsilon(noise_multiplier, releases, DELTA) == pytest.approx(exact, rel=0.005)


def test_who_was_in_no_version_lost_nothing() -> None:
    assert epsilon(4.0, 0, DELTA) == 0.0


def test_without_noise_everything_is_lost() -> None:
    assert epsilon(0.0, 1, DELTA) == inf


def test_without_opacus_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    epsilon.cache_clear()  # another test may have asked for the same
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(InputError, match=r"edge-marl\[privacy\]"):
        epsilon(4.0, 1, DELTA)
