"""Compute structured representation regularisation (SRR) by pure functions of tensors.

B is the number of rows of a batch, d the width of the features. See section 4.3 of the SCALE paper.
"""

from __future__ import annotations

from torch import Tensor

from edge_marl.algorithms.networks.normalisation import Total, unchanged

_LEAST_VARIANCE = 1e-8  # of a feature that never changes: its logarithm has to exist


def covariance(features: Tensor) -> Tensor:
    """Return the covariance ``C [d, d]`` of ``features [B, d]``, for B of at least 2."""
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


def decorrelation(features: Tensor) -> Tensor:
    """Return ``L_c``, the sum of ``|C_ij|`` over i other than j.

    Layer normalisation keeps the sum of a row's features (divided by the scales of the norm) the
    same, so the features that leave it cannot all be uncorrelated: with variances of 1 and equal
    scales, ``L_c`` is at least d.
    """
    return _off_diagonal(covariance(features))


def kl_to_standard_normal(features: Tensor) -> Tensor:
    """Return ``L_d = 1 / (2 d) sum_k (mu_k^2 + var_k - ln var_k - 1)``, variances with ``B - 1``.

    This is the divergence from N(0, 1) of normal distributions with these moments, averaged over
    the features.
    """
    return _kl(features.mean(0), features.var(0, correction=1))


def mean_off_diagonal(features: Tensor) -> Tensor:
    """Return the mean ``|C_ij|`` over i other than j, the off-diagonal covariance of Table 5."""
    d = features.shape[1]
    return decorrelation(features) / (d * (d - 1))


def batch_statistics(features: Tensor, total: Total = unchanged) -> tuple[Tensor, Tensor]:
    """Return :func:`decorrelation` and :func:`kl_to_standard_normal`, 0 for fewer than two rows.

    Args:
        features: ``[B, d]``.
        total: sums over the learners, each of which has rows of its own; differentiable.
    """
    n = total(features.new_tensor(float(len(features))))
    if n < 2:
        nothing = features.sum() * 0.0
        return nothing, nothing
    mean = total(features.sum(0)) / n
    # No gradient is lost: differences from a mean add up to zero.
    centred = features - mean.detach()
    of_all = total(centred.T @ centred) / (n - 1)
    return _off_diagonal(of_all), _kl(mean, of_all.diagonal())


def warm_up(iteration: int, start: int, length: int) -> float:
    """Return ``w = min(1, max(0, (e - E_s) / E_w))`` of iteration e (Algorithm 1, line 19)."""
    return min(1.0, max(0.0, (iteration - start) / length))


def _off_diagonal(covariance: Tensor) -> Tensor:
    absolute = covariance.abs()
    return absolute.sum() - absolute.diagonal().sum()


def _kl(mean: Tensor, variance: Tensor) -> Tensor:
    variance = variance.clamp(min=_LEAST_VARIANCE)
    return 0.5 * (mean.square() + variance - variance.log() - 1.0).mean()
