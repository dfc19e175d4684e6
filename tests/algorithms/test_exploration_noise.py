"""Noise that is added to vectors: its mean, variance and autocorrelation are those of theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edge_marl.algorithms.cto.noise import NoiseKind, next_noise

N, STEPS, THETA = 20_000, 60, 0.15


def paths(kind: NoiseKind) -> np.ndarray:
    """Return noise ``[STEPS + 1, N]`` from 0 on."""
    torch.manual_seed(0)
    found = [torch.zeros(N)]
    for _ in range(STEPS):
        found.append(next_noise(found[-1], kind, THETA))
    return torch.stack(found).numpy()


def test_an_ornstein_uhlenbeck_process_has_its_variance_and_correlation() -> None:
    found = paths("ornstein_uhlenbeck")
    error = 4.0 / math.sqrt(N)
    for k in (1, 3, 10, STEPS):
        # It starts at 0, and its variance approaches 1.
        variance = 1.0 - math.exp(-2.0 * THETA * k)
        assert found[k].mean() == pytest.approx(0.0, abs=error)
        assert found[k].var() == pytest.approx(variance, rel=math.sqrt(2) * error)
    for lag in (1, 5, 20):
        later, last = found[STEPS - lag], found[STEPS]
        assert np.corrcoef(later, last)[0, 1] == pytest.approx(math.exp(-THETA * lag), abs=error)


def test_gaussian_noise_is_independent_and_of_variance_one() -> None:
    found = paths("gaussian")[1:]
    error = 4.0 / math.sqrt(N)
    for k in (0, 10, STEPS - 1):
        assert found[k].mean() == pytest.approx(0.0, abs=error)
        assert found[k].var() == pytest.approx(1.0, rel=math.sqrt(2) * error)
    assert np.corrcoef(found[-2], found[-1])[0, 1] == pytest.approx(0.0, abs=error)
