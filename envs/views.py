"""The two ways in which this project's simulators are seen: one episode, and many at once.

Every simulator (``edge_marl.tandem``, ``edge_marl.peer_offloading``) has the same surface. Here it
is turned, once for all of them, into a PettingZoo environment and into a
:class:`edge_marl.envs.batched.BatchedEnv`. Neither has any physics of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from edge_marl.envs.batched import BatchedObservation, BatchedTransition, BoolArray
from edge_marl.envs.legal_discrete import LegalDiscrete
from edge_marl.errors import InputError
from edge_marl.seeds import EPISODE_SEED_LIMIT, SEED_LIMIT

ObsDict = dict[str, NDArray[Any]]


class _Observation(Protocol):
    @property
    def features(self) -> NDArray[np.float32]: ...  # [B, N, ...]
    @property
    def action_mask(self) -> BoolArray: ...  # [B, N, A]
    @property
    def state(self) -> NDArray[np.float32]: ...  # [B, S]


class Simulator(Protocol):
    """B episodes of N agents; see the simulators themselves."""

    batch_size: int
    done: BoolArray

    @property
    def observation(self) -> Any:
        """Buffers that the simulator writes in place: an :class:`_Observation`."""
        ...

    @property
    def results(self) -> Any:
        """Metrics of every episode, ``[B]`` by name."""
        ...

    def reset(self, seeds: Any, where: Any = None) -> Any:
        """Start episodes anew."""
        ...

    def step(self, actions: Any) -> Any:
        """Play a step; observation, ``reward [B, N]``, ``terminated [B]``, ``truncated [B]``."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Copies of everything that changes."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        ...


class SimulatorEnv(ParallelEnv[str, ObsDict, int]):
    """One episode of a simulator as a PettingZoo environment; all agents play until its end.

    Args:
        simulator: of one episode.
        agents: N names.
        observations: space of every agent's ``observation``.
        state: space of the global state.
        metrics: names of the simulator's results that the infos hold at the end.
        seed: of the first reset without one.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        agents: Sequence[str],
        observations: spaces.Box,
        state: spaces.Box,
        metrics: Sequence[str],
        seed: int,
    ) -> None:
        self.possible_agents = list(agents)
        self.agents: list[str] = []
        # Buffers that the simulator writes in place, so the views stay valid for good.
        self._features = simulator.observation.features[0]
        self._mask = simulator.observation.action_mask[0]
        self._actions = np.zeros((1, len(self.possible_agents)), dtype=np.int32)
        self._view_of = simulator
        self._metric_names = tuple(metrics)
        self._name = str(self.metadata["name"])
        self._seed: int | None = seed
        self._seeds = np.random.default_rng(seed)
        n_actions = self._mask.shape[1]
        observation_space = spaces.Dict(
            {"observation": observations, "action_mask": spaces.Box(0, 1, (n_actions,), np.int8)}
        )
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation_space)
        self.action_spaces = {
            agent: LegalDiscrete(self._mask[i]) for i, agent in enumerate(self.possible_agents)
        }
        self.state_space = state

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def state(self) -> NDArray[np.float32]:
        """Global state ``[S]`` for centralised training, a copy."""
        seen: _Observation = self._view_of.observation
        return seen.state[0].copy()

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, ObsDict], dict[str, dict[str, Any]]]:
        """Start an episode; see the class on seeds."""
        if seed is not None:
            if not 0 <= seed < EPISODE_SEED_LIMIT:
                raise InputError(
                    f"{self._name}: seed: expected 0 to {EPISODE_SEED_LIMIT - 1}, found {seed}"
                )
            self._seeds = np.random.default_rng(seed)
        elif self._seed is not None:
            seed = self._seed
        else:
            seed = int(self._seeds.integers(SEED_LIMIT))
        self._seed = None
        self._view_of.reset(np.array([seed], dtype=np.int64))
        self.agents = list(self.possible_agents)
        return self._observe(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[
        dict[str, ObsDict],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """Play one step with the actions of all agents."""
        if not self.agents:
            raise InputError(f"{self._name}: no episode under way, call reset() first")
        for i, agent in enumerate(self.possible_agents):
            self._actions[0, i] = self._legal(i, agent, actions)
        transition = self._view_of.step(self._actions)
        terminated, truncated = bool(transition.terminated[0]), bool(transition.truncated[0])
        agents = self.possible_agents
        metrics: dict[str, Any] = {}
        if terminated or truncated:
            self.agents = []
            results = self._view_of.results
            metrics = {name: getattr(results, name)[0].item() for name in self._metric_names}
        return (
            self._observe(),
            dict(zip(agents, transition.reward[0].tolist(), strict=True)),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: metrics.copy() for agent in agents},
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _observe(self) -> dict[str, ObsDict]:
        features, mask = self._features.copy(), self._mask.astype(np.int8)
        return {
            agent: {"observation": features[i], "action_mask": mask[i]}
            for i, agent in enumerate(self.possible_agents)
        }

    def _legal(self, i: int, agent: str, actions: dict[str, int]) -> int:
        """The action of an agent, checked against its mask."""
        try:
            action = index(actions[agent])
        except (KeyError, TypeError):
            found = actions.get(agent, "none")
            raise InputError(
                f"{self._name}: action of {agent}: expected an integer, found {found!r}"
            ) from None
        mask = self._mask[i]
        if not (0 <= action < len(mask) and mask[action]):
            raise InputError(
                f"{self._name}: action of {agent}: expected one of the legal actions "
                f"{np.flatnonzero(mask).tolist()}, found {action}"
            )
        return action


class SimulatorBatch:
    """The episodes of a simulator as a :class:`edge_marl.envs.batched.BatchedEnv`.

    Args:
        simulator: of B episodes.
        agents: N names.
        metrics: names of the simulator's results to report of every episode.
        shared_reward: whether every agent is paid the team's reward.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        agents: Sequence[str],
        metrics: Sequence[str],
        shared_reward: bool,
    ) -> None:
        self.simulator = simulator
        self.shared_reward: bool | None = shared_reward
        self.agents = tuple(agents)
        self.batch_size = simulator.batch_size
        seen: _Observation = simulator.observation
        self.observation_shape = tuple(seen.features.shape[2:])
        self.n_actions = seen.action_mask.shape[2]
        self.state_size = seen.state.shape[1]  # so much of it is shown
        self._metric_names = tuple(metrics)
        shape = (self.batch_size, len(self.agents))
        self._active = np.zeros(shape, dtype=np.bool_)
        self._terminated = np.zeros(shape, dtype=np.bool_)
        self._truncated = np.zeros(shape, dtype=np.bool_)

    @property
    def done(self) -> BoolArray:
        """``[B]``: episodes that are over."""
        return self.simulator.done

    @property
    def observation(self) -> BatchedObservation:
        """What is seen now."""
        return self._seen(self.simulator.observation)

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        observation = self.simulator.reset(seeds, where)
        self._active[slice(None) if where is None else where] = True
        return self._seen(observation)

    def step(self, actions: NDArray[np.integer[Any]]) -> BatchedTransition:
        """Play one step, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        transition = self.simulator.step(actions)
        self._terminated[:] = transition.terminated[:, None]
        self._truncated[:] = transition.truncated[:, None]
        # What is left when an episode is cut off is still there to be valued.
        self._active &= ~self._terminated
        return BatchedTransition(
            self._seen(transition.observation),
            transition.reward, self._terminated, self._truncated,
            getattr(transition, "elapsed", None),
        )  # fmt: skip

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Results of the finished episodes ``where [B]``."""
        results = self.simulator.results
        return {
            name: getattr(results, name)[where].astype(np.float64) for name in self._metric_names
        }

    def get_state(self) -> Any:
        """Copies of the simulator's arrays."""
        return {"simulator": self.simulator.get_state(), "active": self._active.copy()}

    def set_state(self, state: Any) -> None:
        """Go on where ``state`` was taken."""
        self.simulator.set_state(state["simulator"])
        self._active[:] = state["active"]

    def _seen(self, observation: _Observation) -> BatchedObservation:
        features = observation.features
        return BatchedObservation(
            features.reshape(*features.shape[:2], -1),
            observation.action_mask,
            observation.state[:, : self.state_size],
            self._active,
        )
