"""Evaluate networks of many agents at once: parameters by group, batched matrix products."""

import torch
from torch import Tensor

MASKED = -1e9
"""Score of a forbidden action: finite, because infinities turn into NaN in softmax gradients."""


def has_choice(action_mask: Tensor, *, vectors: bool = False) -> Tensor:
    """Return ``[...]``, where there is something to decide, given ``action_mask [..., A]``.

    A may be up to 32,767, for the sum is of 16-bit integers, which is a third of the time.

    Args:
        action_mask: legal choices.
        vectors: whether a vector belongs to an action: then one legal choice is enough.
    """
    return action_mask.sum(-1, dtype=torch.int16) > (0 if vectors else 1)
