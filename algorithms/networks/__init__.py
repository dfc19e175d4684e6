"""Evaluate networks of many agents at once: parameters by group, batched matrix products."""

import torch
from torch import Tensor

MASKED = -1e9
"""Score of a forbidden action: finite, because infinities turn into NaN in softmax gradients."""


def has_choice(action_mask: Tensor) -> Tensor:
    """Return ``[...]``, where more than one action is legal, given ``action_mask [..., A]``.

    A may be up to 32,767, for the sum is of 16-bit integers, which is a third of the time.
    """
    return action_mask.sum(-1, dtype=torch.int16) > 1


def chooses(action_mask: Tensor, counts: Tensor) -> Tensor:
    """Return ``[..., N]``, true where a step counts and the agent has more than one legal action.

    Args:
        action_mask: ``[..., N, A]`` legal actions.
        counts: ``[..., N]`` bool, steps that count.
    """
    return counts & has_choice(action_mask)
