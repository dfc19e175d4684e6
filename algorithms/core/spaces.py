"""Define the spaces of all agents together, from which modules are built."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from edge_marl.envs.actions import ActionSpec
from edge_marl.envs.batched import BatchedEnv


class JointObservation(spaces.Dict):
    """Describe what an episode shows: ``features [N, F]``, ``action_mask [N, A]``, ``state [S]``.

    Args:
        agents: N names.
        observation_shape: of one agent, before flattening to F.
        action_spec: of A choices, and of vectors.
        state_size: S.
        takes_turns: whether no two agents ever decide in the same step.
    """

    def __init__(
        self,
        agents: tuple[str, ...],
        observation_shape: tuple[int, ...],
        action_spec: ActionSpec,
        state_size: int,
        *,
        takes_turns: bool = False,
    ) -> None:
        self.takes_turns = takes_turns
        self.agents = agents
        self.observation_shape = observation_shape
        self.n_agents = len(agents)
        self.n_features = math.prod(observation_shape)
        self.action_spec = action_spec
        self.state_size = state_size
        super().__init__(
            {
                "features": spaces.Box(-np.inf, np.inf, (self.n_agents, self.n_features)),
                "action_mask": spaces.MultiBinary((self.n_agents, action_spec.n)),
                "state": spaces.Box(-np.inf, np.inf, (state_size,)),
            }
        )


def joint_spaces(env: BatchedEnv) -> tuple[JointObservation, spaces.Space[Any]]:
    """Return the observation and action spaces of a batched environment's episodes."""
    actions = env.action_spec
    observation = JointObservation(
        env.agents, env.observation_shape, actions, env.state_size, takes_turns=env.takes_turns
    )
    return observation, actions.joint_space(len(env.agents))
