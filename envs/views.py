"""Show this project's simulators in two ways: as one episode, and as many at once.

Any simulator, a :class:`edge_marl.simulation.Simulator`, is turned here into a PettingZoo
environment and into a :class:`edge_marl.envs.batched.BatchedEnv`. Neither has any physics of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from pydantic import ValidationError

from edge_marl.envs.actions import ActionSpec
from edge_marl.envs.batched import BatchedObservation, BatchedTransition, BoolArray
from edge_marl.envs.legal_discrete import LegalDiscrete, LegalHybrid
from edge_marl.errors import InputError
from edge_marl.options import Options
from edge_marl.seeds import EPISODE_SEED_LIMIT, SEED_LIMIT
from edge_marl.simulation import Actions, Hybrid, Simulator, Travel
from edge_marl.validation import invalid, shown

ObsDict = dict[str, NDArray[Any]]


class SimulatorEnv(ParallelEnv[str, ObsDict, Any]):
    """Play one episode of a simulator as a PettingZoo environment, with all agents until its end.

    A subclass declares an environment once, by the attributes and methods below; its module names
    :meth:`make` ``parallel_env`` and :meth:`make_batch` ``batched_env``. Its docstring specifies
    the observation, action, reward and end of an episode.

    Args:
        config: validated options; the defaults when None.
    """

    Config: ClassVar[type[Options]]
    """Options of the environment, with a ``seed`` of the first reset without one."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of the simulator's results that the infos hold at the end."""
    bounds: ClassVar[tuple[float, float]]
    """What no number in observations and state is below and above."""
    action_parts: ClassVar[tuple[str, str]] = ("choice", "vector")
    """Names of the two parts of an action, where there are vectors."""
    config: Any
    """A :attr:`Config`."""
    render_mode: str | None = None

    @classmethod
    def simulator(cls, config: Any, batch_size: int) -> Simulator[Any, Any]:
        """Make the simulator of ``batch_size`` episodes."""
        raise NotImplementedError

    @classmethod
    def shares_reward(cls, config: Any) -> bool:
        """Return whether every agent is paid the team's reward."""
        return False

    @classmethod
    def reward_delay(cls, config: Any) -> int:
        """Return how many steps after an action the reward for it is paid."""
        return 0

    @classmethod
    def make(cls, **config: Any) -> Self:
        """Make the environment.

        Args:
            config: fields of :attr:`Config`; models among them may be dictionaries.

        Raises:
            InputError: naming the option at fault, what was expected and what was found.
        """
        return cls(cls._validated(config))

    @classmethod
    def make_batch(cls, batch_size: int, **config: Any) -> SimulatorBatch:
        """Make ``batch_size`` episodes of the same environment, for batched sampling.

        Args:
            batch_size: B.
            config: as for :meth:`make`; what concerns one episode alone, as ``seed`` does, has no
                meaning here.

        Raises:
            InputError: as :meth:`make`.
        """
        options = cls._validated(config)
        return SimulatorBatch(
            cls.simulator(options, batch_size),
            metrics=cls.metrics,
            shared_reward=cls.shares_reward(options),
            reward_delay=cls.reward_delay(options),
        )

    @classmethod
    def _validated(cls, config: Mapping[str, Any]) -> Options:
        try:
            return cls.Config.model_validate(config)
        except ValidationError as error:
            raise invalid(error, f"{cls.metadata['name']}: ") from None

    def __init__(self, config: Any = None) -> None:
        self.config = config or self.Config()
        simulator = self._simulator = self.simulator(self.config, batch_size=1)
        self.possible_agents = list(simulator.agents)
        self.agents: list[str] = []
        # Buffers that the simulator writes in place, so the views stay valid for good.
        self._features = simulator.observation.features[0]
        self._mask = simulator.observation.action_mask[0]
        self._actions = np.zeros((1, len(self.possible_agents)), dtype=np.int32)
        self._vectors = np.zeros_like(simulator.vectors)
        self._name = str(self.metadata["name"])
        self._seed: int | None = self.config.seed
        self._seeds = np.random.default_rng(self._seed)
        low, high = self.bounds
        n_actions = self._mask.shape[1]
        observation_space = spaces.Dict(
            {
                "observation": spaces.Box(low, high, self._features.shape[1:], np.float32),
                "action_mask": spaces.Box(0, 1, (n_actions,), np.int8),
            }
        )
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation_space)
        self.action_spaces = dict(
            zip(self.possible_agents, map(self._space_of, self._mask), strict=True)
        )
        state_size = simulator.observation.state.shape[1]
        self.state_space = spaces.Box(low, high, (state_size,), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Return the space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def state(self) -> NDArray[np.float32]:
        """Return a copy of the global state ``[S]``, for centralised training."""
        state: NDArray[np.float32] = self._simulator.observation.state[0]
        return state.copy()

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
        self._simulator.reset(np.array([seed], dtype=np.int64))
        self.agents = list(self.possible_agents)
        return self._observe(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
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
            self._take(i, agent, actions.get(agent))
        hybrid = self._simulator.vector_size > 0
        transition = self._simulator.step(
            Hybrid(self._actions, self._vectors) if hybrid else self._actions
        )
        terminated, truncated = bool(transition.terminated[0]), bool(transition.truncated[0])
        agents = self.possible_agents
        metrics: dict[str, Any] = {}
        if terminated or truncated:
            self.agents = []
            results = self._simulator.results
            metrics = {name: getattr(results, name)[0].item() for name in self.metrics}
        return (
            self._observe(),
            dict(zip(agents, transition.reward[0].tolist(), strict=True)),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: metrics.copy() for agent in agents},
        )

    def render(self) -> Any:
        """Return None, for there is nothing to see."""
        return None

    def close(self) -> None:
        """Do nothing, for nothing is held open."""

    def _observe(self) -> dict[str, ObsDict]:
        features, mask = self._features.copy(), self._mask.astype(np.int8)
        return {
            agent: {"observation": features[i], "action_mask": mask[i]}
            for i, agent in enumerate(self.possible_agents)
        }

    def _space_of(self, legal: BoolArray) -> spaces.Space[Any]:
        """Return the space of an agent's actions, given its live mask ``[A]``."""
        size = self._simulator.vector_size
        if not size:
            return LegalDiscrete(legal)
        choice, vector = self.action_parts
        return LegalHybrid(choice, legal, vector, size)

    def _take(self, i: int, agent: str, action: Any) -> None:
        """Take the action of an agent, after checking it against mask and bounds."""
        if not self._simulator.vector_size:
            self._actions[0, i] = self._legal(i, agent, action)
            return
        expected = " and ".join(self.action_parts)
        if not isinstance(action, Mapping) or set(action) != set(self.action_parts):
            found = sorted(action) if isinstance(action, Mapping) else shown(action or "none")
            raise InputError(f"{self._name}: action of {agent}: expected {expected}, found {found}")
        choice, name = self.action_parts
        if self._mask[i].any():
            self._actions[0, i] = self._legal(i, agent, action[choice], f"{choice} of ")
        numbers, shape = np.asarray(action[name]), self._vectors.shape[2:]
        if numbers.shape != shape or numbers.dtype.kind not in "iuf":
            raise InputError(
                f"{self._name}: {name} of {agent}: expected {shape[0]} numbers, "
                f"found {shown(action[name])}"
            )
        self._vectors[0, i] = numbers

    def _legal(self, i: int, agent: str, action: Any, what: str = "action of ") -> int:
        """Return the choice of an agent after checking it against the mask."""
        try:
            choice = index(action)
        except TypeError:
            found = "none" if action is None else repr(action)
            raise InputError(
                f"{self._name}: {what}{agent}: expected an integer, found {found}"
            ) from None
        mask = self._mask[i]
        if not (0 <= choice < len(mask) and mask[choice]):
            raise InputError(
                f"{self._name}: {what}{agent}: expected one of the legal actions "
                f"{np.flatnonzero(mask).tolist()}, found {choice}"
            )
        return choice


class SimulatorBatch:
    """Play the episodes of a simulator as a :class:`edge_marl.envs.batched.BatchedEnv`.

    Args:
        simulator: the simulator of B episodes.
        metrics: names of the simulator's results to report of every episode.
        shared_reward: whether every agent is paid the team's reward.
        reward_delay: how many steps after an action the reward for it is paid.
    """

    def __init__(
        self,
        simulator: Simulator[Any, Any],
        *,
        metrics: Sequence[str],
        shared_reward: bool,
        reward_delay: int,
    ) -> None:
        self.simulator = simulator
        self.shared_reward: bool | None = shared_reward
        self.reward_delay = reward_delay
        self.takes_turns = simulator.takes_turns
        self.agents = simulator.agents
        self.batch_size = simulator.batch_size
        seen = simulator.observation
        self.observation_shape = tuple(seen.features.shape[2:])
        box = ((0.0, 1.0),) * simulator.vector_size
        self.action_spec = ActionSpec(
            seen.action_mask.shape[2], (box,) * len(self.agents) if box else ()
        )
        self.state_size = seen.state.shape[1]  # how much of the state is shown
        self._metric_names = tuple(metrics)
        shape = (self.batch_size, len(self.agents))
        self._active = np.zeros(shape, dtype=np.bool_)
        self._terminated = np.zeros(shape, dtype=np.bool_)
        self._truncated = np.zeros(shape, dtype=np.bool_)

    @property
    def done(self) -> BoolArray:
        """Return which episodes are over, ``[B]``."""
        return self.simulator.done

    @property
    def observation(self) -> BatchedObservation:
        """Return the current observations of all agents and episodes."""
        return self._seen(self.simulator.observation)

    def travel(self, n_bytes: float, every: int | None = None) -> Travel:
        """Return how long a message takes, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        return self.simulator.travel(n_bytes, every)

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        observation = self.simulator.reset(seeds, where)
        self._active[slice(None) if where is None else where] = True
        return self._seen(observation)

    def step(self, actions: Actions) -> BatchedTransition:
        """Play one step, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        transition = self.simulator.step(actions)
        self._terminated[:] = transition.terminated[:, None]
        self._truncated[:] = transition.truncated[:, None]
        # Truncated agents stay active: what they see last is still to be valued.
        self._active &= ~self._terminated
        return BatchedTransition(
            self._seen(transition.observation),
            transition.reward, self._terminated, self._truncated, transition.elapsed,
        )  # fmt: skip

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Return the results ``[K]`` of the K finished episodes ``where [B]``, by name."""
        results = self.simulator.results
        return {
            name: getattr(results, name)[where].astype(np.float64) for name in self._metric_names
        }

    def get_state(self) -> Any:
        """Copy the simulator's state and which agents are active, for :meth:`set_state`."""
        return {"simulator": self.simulator.get_state(), "active": self._active.copy()}

    def set_state(self, state: Any) -> None:
        """Continue from where ``state`` was taken."""
        self.simulator.set_state(state["simulator"])
        self._active[:] = state["active"]

    def _seen(self, observation: Any) -> BatchedObservation:
        features = observation.features
        return BatchedObservation(
            features.reshape(*features.shape[:2], -1),
            observation.action_mask,
            observation.state[:, : self.state_size],
            self._active,
        )
