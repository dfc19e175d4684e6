"""Describe the actions of an environment's agents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from gymnasium import spaces

from edge_marl.errors import InputError


class ActionSpec(NamedTuple):
    """Describe the actions of every agent of a :class:`edge_marl.envs.batched.BatchedEnv`.

    They are discrete, numbered from 0. This is the one place that says so: all code that needs to
    know what an action is asks here, and continuous parts will be further fields.
    """

    n: int
    """A, of the agent with most choices; the others' masks close what they do not have."""

    @classmethod
    def of_space(cls, space: spaces.Space[Any], agent: str) -> ActionSpec:
        """Read an agent's action space.

        Raises:
            InputError: for actions that are not discrete.
        """
        if not isinstance(space, spaces.Discrete):
            raise InputError(f"action space of {agent}: expected Discrete, found {space}")
        return cls(int(space.n))

    @classmethod
    def widest(cls, specs: Iterable[ActionSpec]) -> ActionSpec:
        """Return the specification that has room for the actions of each of several agents."""
        return cls(max(spec.n for spec in specs))

    def joint_space(self, n_agents: int) -> spaces.MultiDiscrete:
        """Return the space of the actions of all agents together."""
        return spaces.MultiDiscrete([self.n] * n_agents)
