"""Move rewards that are paid a fixed time after the actions that they are for to these actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.sampling.columns import Fragment


def with_rewards_of_actions(
    fragments: Mapping[str, NDArray[Any]], delay: int
) -> dict[str, NDArray[Any]]:
    """Return fragments in which every step has the reward for its own actions.

    An episode pays in step ``t + delay`` for what was done in step t. So the last ``delay`` steps
    of a fragment, and of an episode, are not learned from: they are not ``VALID`` any more. What
    comes before is cut off there: the first observation not learned from is worth what the critic
    says.

    Args:
        fragments: columns of :class:`Fragment`.
        delay: in steps, fewer than the fragments have.
    """
    valid = fragments[Fragment.VALID]
    n_paid = valid.shape[1] - delay
    episode = fragments[Fragment.FIRST].cumsum(axis=1)
    paid = np.zeros_like(valid)
    paid[:, :n_paid] = valid[:, :n_paid] & valid[:, delay:]
    paid[:, :n_paid] &= episode[:, :n_paid] == episode[:, delay:-1]
    rewards = np.zeros_like(fragments[Fragment.REWARDS])
    rewards[:, :n_paid] = fragments[Fragment.REWARDS][:, delay:]
    rewards[~paid] = 0.0
    last = paid & ~np.append(paid[:, 1:], paid[:, -1:], axis=1)
    cut = last[..., None] & ~fragments[Fragment.TERMINATED]
    return {
        **fragments,
        Fragment.VALID: paid,
        Fragment.REWARDS: rewards,
        Fragment.TRUNCATED: fragments[Fragment.TRUNCATED] | cut,
    }
