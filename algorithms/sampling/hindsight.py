"""Move rewards that are paid a fixed time after the actions that they are for to these actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.sampling.columns import Fragment

Fragments = Mapping[str, NDArray[Any]]

_OBSERVED = (Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.STATE, Fragment.ACTIVE,
             Fragment.FIRST)  # fmt: skip


def with_rewards_of_actions(fragments: Fragments, delay: int) -> dict[str, NDArray[Any]]:
    """Return fragments in which every step has the reward for its own actions.

    An episode pays in step ``t + delay`` for what was done in step t. So the last ``delay`` steps
    of a fragment, and of an episode, are not learned from. They are cut off: an observation is
    worth what the critic says.

    Args:
        fragments: columns of :class:`Fragment` with more than ``delay`` steps.
        delay: in steps.

    Returns:
        The columns with ``delay`` steps fewer; those not learned from are not ``VALID``.
    """
    valid = fragments[Fragment.VALID]
    T = valid.shape[1] - delay
    episode = fragments[Fragment.FIRST].cumsum(axis=1)
    paid = valid[:, :T] & valid[:, delay:] & (episode[:, :T] == episode[:, delay : delay + T])
    moved = {
        name: column if name == Fragment.HIDDEN else column[:, : T + (name in _OBSERVED)]
        for name, column in fragments.items()
    }
    moved[Fragment.VALID] = paid
    moved[Fragment.REWARDS] = np.where(paid[..., None], fragments[Fragment.REWARDS][:, delay:], 0)
    last = paid & ~np.append(paid[:, 1:], paid[:, -1:], axis=1)
    ended = moved[Fragment.TERMINATED]
    moved[Fragment.TRUNCATED] = moved[Fragment.TRUNCATED] | (last[..., None] & ~ended)
    return moved
