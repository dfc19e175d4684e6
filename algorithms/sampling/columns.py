"""Name the columns of sampled fragments.

A row is T steps of one episode slot. Arrays of observations have T + 1 entries, so that the
observation after step t is always at t + 1 of the same row. This holds at the end of an episode
too, because the slot shows the final observation for one step, whose action is not played
(``valid`` is False there), before the next episode begins. To bootstrap, read the observation at
t + 1 unless the agent terminated.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from edge_marl.algorithms.networks import has_choice


class Fragment:
    """Name the columns: B rows, T steps, N agents, F features, A actions, S state, H memory."""

    FEATURES = "features"
    """``[B, T + 1, N, F]`` float32, or uint8 of 8-bit pictures"""
    ACTION_MASK = "action_mask"
    """``[B, T + 1, N, A]`` bool"""
    STATE = "state"
    """``[B, T + 1, S]`` float32, or uint8 of an 8-bit picture; S is 0 if nobody looks at it"""
    ACTIVE = "active"
    """``[B, T + 1, N]`` bool: agents whose next action is played, or that were just cut off."""
    FIRST = "first"
    """``[B, T + 1]`` bool: first observations of episodes."""
    ACTIONS = "actions"
    """``[B, T, N]``: choices."""
    VECTORS = "vectors"
    """``[B, T, N, d]``: of the actions, from environments where they have any."""
    REWARDS = "rewards"
    """``[B, T, N]``"""
    TERMINATED = "terminated"
    """``[B, T, N]`` bool: the agent's part ended in this step."""
    TRUNCATED = "truncated"
    """``[B, T, N]`` bool: the agent was cut off in this step."""
    ELAPSED = "elapsed"
    """``[B, T]``: how often the discount applies; from environments that tell."""
    VALID = "valid"
    """``[B, T]`` bool: the step was played."""
    HIDDEN = "hidden"
    """``[B, N, H]``: memory before the first observation; recurrent modules only."""
    ACTION_LOGP = "action_logp"
    """``[B, T, N]``, of choice and vector together: where the module gives it."""
    ACTION_DIST_INPUTS = "action_dist_inputs"
    """``[B, T, N, A]``, or with outputs for vectors behind: where the module gives them."""


def who_decides(fragments: Mapping[str, Tensor]) -> Tensor:
    """Return ``[B, T + 1, N]``, where an agent has something to decide."""
    return has_choice(fragments[Fragment.ACTION_MASK], vectors=Fragment.VECTORS in fragments)
