"""Track running means and variances with the weights, and therefore in every checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_EPSILON = 1e-8
_CLIP = 10.0  # standard deviations; an outlier must not dominate an update
_AT_ONCE = 2**23  # numbers of an update that are looked at together


Total = Callable[[Tensor], Tensor]
"""Adds up over all learners."""


def unchanged(sums: Tensor) -> Tensor:
    """Return the sums as they are, which are the total of a single learner."""
    return sums


class RunningMoments(nn.Module):
    """Track mean and variance of everything seen so far (Chan et al., 1979: merging of batches).

    Args:
        shape: of one sample; of observations ``(G, F)``, for each of G parameter sets.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tuple(shape)))
        self.register_buffer("var", torch.ones(tuple(shape)))
        # Not a float: RLlib's states hold float32, which stops counting at 16 million samples.
        self.register_buffer("count", torch.zeros(tuple(shape), dtype=torch.int64))

    @torch.no_grad()
    def update(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        sets: Tensor | None = None,
        total: Total = unchanged,
    ) -> None:
        """Update the moments with samples.

        Args:
            x: ``[R, *shape]``, of any type; with ``sets``, ``[R, N, ...]`` of N agents.
            present: bool ``[R]``, or ``[R, N]``: which samples count. All when None.
            sets: ``[N]`` the moments, along their first axis, that each agent's samples belong to.
            total: adds up over the learners, each of which has samples of its own.
        """
        n_sets = 1 if sets is None else len(self.mean)
        which = sets if sets is not None else torch.zeros(1, dtype=torch.int64, device=x.device)
        owners = which.repeat(len(x))
        mean = self.mean.double().view(n_sets, self.mean.numel() // n_sets)
        samples = x.reshape(len(owners), mean.shape[1])
        # How many, and the sums of their differences from the mean so far and of the squares.
        sums = torch.zeros_like(mean).repeat(3, 1, 1)
        rows = max(1, _AT_ONCE // max(1, mean.shape[1]))
        for k in range(0, len(samples), rows):
            part, owner = samples[k : k + rows], owners[k : k + rows]
            if present is not None:
                counted = present.flatten()[k : k + rows]
                part, owner = part[counted], owner[counted]
            difference = part - mean[owner]
            of_set = nn.functional.one_hot(owner, n_sets).T.double()
            sums[0] += of_set.sum(1, keepdim=True)
            sums[1] += of_set @ difference
            sums[2] += of_set @ difference.square_()
        n, first, second = total(sums.view(3, *self.mean.shape))
        seen = (self.count + n).clamp(min=1)
        square_sum = self.var.double() * self.count + second - first.square() / seen
        self.var.copy_(torch.where(self.count + n > 0, square_sum.clamp(min=0) / seen, 1.0))
        self.mean.copy_(self.mean.double() + first / seen)
        self.count += n.long()

    def normalise(self, x: Tensor, sets: Tensor | None = None) -> Tensor:
        """Scale to zero mean and unit variance, clipped to ten standard deviations.

        Args:
            x: ``[..., *shape]``; with ``sets``, ``[..., N, ...]`` of N agents.
            sets: as for :meth:`update`.
        """
        mean, var = self.mean, self.var
        if sets is not None:
            mean, var = mean[sets], var[sets]
        return ((x - mean) / (var + _EPSILON).sqrt()).clamp(-_CLIP, _CLIP)

    def denormalise(self, x: Tensor, sets: Tensor | None = None) -> Tensor:
        """Invert :meth:`normalise`, except for the clipping."""
        mean, var = self.mean, self.var
        if sets is not None:
            mean, var = mean[sets], var[sets]
        return x * (var + _EPSILON).sqrt() + mean
