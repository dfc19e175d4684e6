"""Running mean and variance, kept with the weights and therefore in every checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EPSILON = 1e-8
_CLIP = 10.0  # standard deviations; an outlier must not dominate an update
_AT_ONCE = 2**26  # numbers of an update that are looked at together: 8-bit pictures become floats


class RunningMoments(nn.Module):
    """Mean and variance of everything seen so far (Chan et al., 1979: merging of batches).

    Args:
        shape: of one sample.
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
    def update(self, x: Tensor, present: Tensor | None = None) -> None:
        """Take in samples.

        Args:
            x: ``[R, *shape]``, of any type.
            present: bool ``[R, ...]``, broadcastable to ``x``: which samples count. All when None.
        """
        rows = max(1, _AT_ONCE // max(1, self.mean.numel()))
        for k in range(0, len(x), rows):
            counted = None if present is None else present[k : k + rows]
            self._merge(x[k : k + rows].to(self.mean.dtype), counted)

    def _merge(self, x: Tensor, present: Tensor | None) -> None:
        weight = torch.ones_like(x) if present is None else present.to(x.dtype).expand_as(x)
        n = weight.sum(0, dtype=torch.float64)
        safe = n.clamp(min=1)
        batch_mean = ((x * weight).sum(0, dtype=torch.float64) / safe).to(x.dtype)
        deviation = (x - batch_mean) * weight
        batch_var = deviation.square().sum(0, dtype=torch.float64) / safe
        total = (self.count + n).clamp(min=1)
        delta = (batch_mean - self.mean).double()
        merged = self.var.double() * self.count + batch_var * n
        merged += delta.square() * self.count * n / total
        seen = self.count + n > 0
        self.mean += torch.where(seen, delta * n / total, 0.0).to(self.mean.dtype)
        self.var.copy_(torch.where(seen, merged / total, 1.0))
        self.count += n.long()

    def normalise(self, x: Tensor) -> Tensor:
        """Zero mean, unit variance, clipped to ten standard deviations."""
        return ((x - self.mean) / (self.var + _EPSILON).sqrt()).clamp(-_CLIP, _CLIP)

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`normalise`, without the clipping."""
        return x * (self.var + _EPSILON).sqrt() + self.mean
