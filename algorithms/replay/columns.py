"""Name the columns of the transitions that off-policy and offline algorithms learn from."""

from __future__ import annotations


class JointTransition:
    """Name the columns of M sampled rows, each L steps of a whole team.

    L is 1 for single transitions, whose second observation is the one to bootstrap from, and T for
    whole sequences. Shapes have N agents, F features, A actions, S state, H memory.
    """

    FEATURES = "features"
    """``[M, L + 1, N, F]``: observations."""
    ACTION_MASK = "action_mask"
    """``[M, L + 1, N, A]`` bool: legal actions."""
    STATE = "state"
    """``[M, L + 1, S]``: global state."""
    ACTIONS = "actions"
    """``[M, L, N]``: actions played."""
    PRESENT = "present"
    """``[M, L, N]`` bool: agents that played, whose values are mixed."""
    RETURNS = "returns"
    """``[M, L]``: discounted team reward of up to n steps."""
    DISCOUNTS = "discounts"
    """``[M, L]``: of the value that is bootstrapped from; 0 where all agents terminated."""
    BOOTSTRAP = "bootstrap"
    """``[M, L]``: index b; the value to bootstrap from is that of observation b + 1."""
    REMAINING = "remaining"
    """``[M, L, N]`` bool: agents whose values are mixed at observation i + 1."""
    WEIGHTS = "weights"
    """``[M, L]``: of the errors; 0 for steps that were not played."""
    SLOT = "slot"
    """``[M]``: place in the buffer, for :meth:`.buffer.FragmentBuffer.update_priorities`."""
    FIRST = "first"
    """``[M, L + 1]`` bool: first observations of episodes; sequences only."""
    HIDDEN = "hidden"
    """``[M, N, H]``: memory before the first observation; sequences only."""


class AgentTransition:
    """Name the columns of K transitions, each one step of a single agent."""

    FEATURES = "features"
    """``[K, F]`` float32: observation."""
    ACTION_MASK = "action_mask"
    """``[K, A]`` bool: legal actions."""
    ACTIONS = "actions"
    """``[K]``: actions played; int16 in logs."""
    REWARDS = "rewards"
    """``[K]`` float32."""
    DISCOUNTS = "discounts"
    """``[K]`` float32: of what follows; where it is not the same for all."""
    NEXT_FEATURES = "next_features"
    """``[K, F]`` float32: observation in the next step."""
    NEXT_ACTION_MASK = "next_action_mask"
    """``[K, A]`` bool: legal actions in the next step."""
    TERMINATED = "terminated"
    """``[K]`` bool: nothing follows. Never in logs: a network goes on after what was logged."""
    NODE = "node"
    """``[K]``: position of the agent; int16 in logs."""


class DecisionTransition(AgentTransition):
    """Name further columns of K transitions from a decision of an agent to one of its next ones.

    Where values are the team's and agents take turns, the next ones are anyone's.

    The other agents come in their order, from the one after the agent on. O of them are told of:
    N - 1, or none where no two agents ever decide in the same step.
    """

    VECTORS = "vectors"
    """``[K, d]``: of the actions, where they have any."""
    IMMEDIATE = "immediate"
    """``[K]`` float32: of the rewards, that of the decision's own step."""
    STATE = "state"
    """``[K, S]``: global state."""
    OTHER_ACTIONS = "other_actions"
    """``[K, O]``"""
    OTHER_VECTORS = "other_vectors"
    """``[K, O, d]``"""
    OTHERS_DECIDE = "others_decide"
    """``[K, O]`` bool: whose actions of that step count."""
    NEXT_NODE = "next_node"
    """``[K]``: position of who decides next, whose observation then follows."""
    NEXT_STATE = "next_state"
    """``[K, S]``: at the next decision, as all that follows."""
    NEXT_OTHER_FEATURES = "next_other_features"
    """``[K, O, F]``"""
    NEXT_OTHER_MASKS = "next_other_masks"
    """``[K, O, A]`` bool: legal actions, none of those who have nothing to decide."""


TD_ERRORS = "td_errors"
"""Result of a learner: absolute errors of the rows of its batch, in their order."""
