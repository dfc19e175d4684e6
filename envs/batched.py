"""Many episodes of one environment at once, as the algorithms of this project sample them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from edge_marl.envs import ENVIRONMENTS
from edge_marl.envs.faults import naming_faults
from edge_marl.errors import InputError

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class BatchedObservation(NamedTuple):
    """What is seen in B episodes of N agents; arrays may be overwritten by the next step."""

    features: FloatArray
    """``[B, N, F]``: each agent's local observation, flattened, zero padded to the widest."""
    action_mask: BoolArray
    """``[B, N, A]``: legal actions; False behind the actions of agents that have fewer."""
    state: FloatArray
    """``[B, S]``: global state, for centralised training only."""
    active: BoolArray
    """``[B, N]``: agents in the episode. At the end of an episode those cut off by truncation
    still count, because what they see then is worth something."""


class BatchedTransition(NamedTuple):
    """Outcome of a step; arrays may be overwritten by the next step."""

    observation: BatchedObservation
    reward: FloatArray
    """``[B, N]``: zero for agents and episodes that are over."""
    terminated: BoolArray
    """``[B, N]``: the agent's part ended in this step."""
    truncated: BoolArray
    """``[B, N]``: the agent was cut off in this step."""
    elapsed: FloatArray | None = None
    """``[B]``: how often the discount applies, where decisions are not equally far apart in time:
    a step that takes no time is not discounted. None: once in every step."""


class BatchedEnv(Protocol):
    """B episodes that are stepped together and end independently.

    An episode that is over stays frozen, its actions ignored, until it is reset.
    """

    agents: tuple[str, ...]
    batch_size: int
    observation_shape: tuple[int, ...]
    """Of one agent, before flattening; the widest agent's, flat, where agents differ."""
    n_actions: int
    state_size: int

    @property
    def done(self) -> BoolArray:
        """``[B]``: episodes that are over and wait for a reset."""
        ...

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start the episodes ``where [B]`` anew (all when None) from ``seeds [B]``."""
        ...

    def step(self, actions: NDArray[np.integer[Any]]) -> BatchedTransition:
        """Play one step of every episode with ``actions [B, N]``."""
        ...

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Domain metrics ``[K]`` by name of the K finished episodes ``where [B]``."""
        ...

    def get_state(self) -> Any:
        """What :meth:`set_state` needs to go on exactly here; None where that is impossible."""
        ...

    def set_state(self, state: Any) -> None:
        """Go on where ``state`` was taken."""
        ...


def make_batched(
    env: str | Callable[[Any], Any], env_config: Mapping[str, Any], batch_size: int
) -> BatchedEnv:
    """Make B episodes of an environment.

    Args:
        env: an environment of this project by name, which brings its batched simulator; any
            PettingZoo parallel environment by the name under which it is registered with Ray
            Tune, of which B copies are stepped; or what makes one from ``env_config``.
        env_config: options of the environment.
        batch_size: B.

    Raises:
        InputError: for an unknown environment or one that is not a parallel environment with
            discrete actions.
    """
    if isinstance(env, str) and env in ENVIRONMENTS:
        return import_module(ENVIRONMENTS[env]).batched_env(batch_size, **_own_options(env_config))
    from ray.rllib.env.env_context import EnvContext
    from ray.tune.registry import ENV_CREATOR, _global_registry

    if not isinstance(env, str):
        creator = env
    elif _global_registry.contains(ENV_CREATOR, env):
        creator = _global_registry.get(ENV_CREATOR, env)
    else:
        raise InputError(
            f"environment: expected one of {', '.join(ENVIRONMENTS)} or a name registered with "
            f"ray.tune.register_env, found {env!r}"
        )
    made = [
        _unwrapped(creator(EnvContext(dict(env_config), worker_index=0, vector_index=b)))
        for b in range(batch_size)
    ]
    return ParallelEnvBatch(made)


def logged_configuration(env: Any, env_config: Mapping[str, Any]) -> dict[str, Any]:
    """What task logs of an environment record of its configuration; nothing of others' ones."""
    if not (isinstance(env, str) and env in ENVIRONMENTS):
        return {}
    config = import_module(ENVIRONMENTS[env]).parallel_env(**_own_options(env_config)).config
    return config.scenario.model_dump(mode="json") if hasattr(config, "scenario") else {}


def _own_options(env_config: Mapping[str, Any]) -> dict[str, Any]:
    """Options without that of the adapter for RLlib."""
    return {name: value for name, value in env_config.items() if name != "flatten"}


def _unwrapped(env: Any) -> ParallelEnv[str, Any, Any]:
    """The PettingZoo environment itself, or inside an adapter for RLlib."""
    for candidate in (env, getattr(env, "par_env", None), getattr(env, "env", None)):
        if isinstance(candidate, ParallelEnv):
            return candidate
    # PettingZoo's own wrappers, such as those of aec_to_parallel, keep the shape, not the class.
    if all(hasattr(env, name) for name in ("possible_agents", "observation_space", "step")):
        return env
    raise InputError(f"environment: expected a PettingZoo ParallelEnv, found {type(env).__name__}")


class ParallelEnvBatch:
    """B copies of a PettingZoo environment behind the interface of the batched simulators.

    Agents are in the order of ``possible_agents`` and may leave at different times. Observations
    that differ between agents are flattened and padded; so are action masks. The state is the
    environment's own where it has one and all observations otherwise. Domain metrics are the
    numbers in the infos of the last step.

    Raises:
        InputError: for actions that are not discrete.
    """

    def __init__(self, envs: list[ParallelEnv[str, Any, Any]]) -> None:
        self.envs = envs
        self.batch_size = len(envs)
        env = envs[0]
        self.agents = tuple(env.possible_agents)
        local: dict[str, spaces.Space[Any]] = {}
        n_actions: dict[str, int] = {}
        self._first_action = np.zeros(len(self.agents), dtype=np.int64)
        for n, agent in enumerate(self.agents):
            action_space = env.action_space(agent)
            if not isinstance(action_space, spaces.Discrete):
                raise InputError(
                    f"action space of {agent}: expected Discrete, found {action_space}"
                )
            n_actions[agent] = int(action_space.n)
            self._first_action[n] = int(action_space.start)
            local[agent] = _without_mask(env.observation_space(agent))
        self._spaces = local
        shapes = {space.shape for space in local.values()}
        widths = [int(spaces.flatdim(space)) for space in local.values()]
        shape = shapes.pop() if len(shapes) == 1 else None
        self.observation_shape = shape if shape else (max(widths),)
        self.n_actions = max(n_actions.values())
        B, N, A = self.batch_size, len(self.agents), self.n_actions
        self._legal_by_default = np.zeros((N, A), dtype=np.bool_)
        for n, agent in enumerate(self.agents):
            self._legal_by_default[n, : n_actions[agent]] = True
        self._features = np.zeros((B, N, max(widths)), dtype=np.float32)
        self._mask = np.tile(self._legal_by_default, (B, 1, 1))
        self._active = np.zeros((B, N), dtype=np.bool_)
        self._reward = np.zeros((B, N), dtype=np.float32)
        self._terminated = np.zeros((B, N), dtype=np.bool_)
        self._truncated = np.zeros((B, N), dtype=np.bool_)
        self._done = np.ones(B, dtype=np.bool_)
        self._infos: list[dict[str, float]] = [{} for _ in envs]
        env.reset(seed=0)
        own_state = _state_of(env)
        self._has_state = own_state is not None
        self.state_size = self._features[0].size if own_state is None else own_state.size
        self._state = np.zeros((B, self.state_size), dtype=np.float32)

    @property
    def done(self) -> BoolArray:
        """``[B]``: episodes that are over."""
        return self._done

    @naming_faults
    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`BatchedEnv`."""
        for b in range(self.batch_size) if where is None else np.flatnonzero(where).tolist():
            observations, _ = self.envs[b].reset(seed=int(seeds[b]))
            self._done[b] = False
            self._active[b] = [agent in self.envs[b].agents for agent in self.agents]
            self._see(b, observations)
        return self._observation()

    @naming_faults
    def step(self, actions: NDArray[np.integer[Any]]) -> BatchedTransition:
        """Play one step, see :class:`BatchedEnv`."""
        self._reward[:] = 0.0
        self._terminated[:] = False
        self._truncated[:] = False
        for b in np.flatnonzero(~self._done).tolist():
            self._step_one(b, actions[b] + self._first_action)
        return BatchedTransition(
            self._observation(), self._reward, self._terminated, self._truncated
        )

    def _step_one(self, b: int, actions: NDArray[np.int64]) -> None:
        env = self.envs[b]
        playing = {agent: int(actions[n]) for n, agent in enumerate(self.agents)
                   if agent in env.agents}  # fmt: skip
        observations, rewards, terminations, truncations, infos = env.step(playing)
        for n, agent in enumerate(self.agents):
            if agent not in playing:
                continue
            self._reward[b, n] = rewards.get(agent, 0.0)
            self._terminated[b, n] = bool(terminations.get(agent, False))
            self._truncated[b, n] = (
                bool(truncations.get(agent, False)) and not (self._terminated[b, n])
            )
            self._active[b, n] = agent in env.agents
        if not env.agents:
            self._done[b] = True
            self._active[b] = self._truncated[b]
            self._infos[b] = next((_numbers(info) for info in infos.values() if info), {})
        self._see(b, observations)

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """The numbers in the infos at the end, NaN where an episode has none."""
        finished = [self._infos[b] for b in np.flatnonzero(where)]
        names = sorted({name for info in finished for name in info})
        return {name: np.array([info.get(name, np.nan) for info in finished]) for name in names}

    def get_state(self) -> Any:
        """Everything, as bytes; None where the environment cannot be copied this way."""
        try:
            return pickle.dumps(self.__dict__)
        except Exception:  # whatever an environment of others may raise
            return None

    def set_state(self, state: Any) -> None:
        """Go on where ``state`` was taken; new episodes begin where it is None."""
        if state is None:
            self._done[:] = True
        else:
            # From a checkpoint of RLlib's, which is pickled as a whole.
            self.__dict__.update(pickle.loads(state))

    def _see(self, b: int, observations: Mapping[str, Any]) -> None:
        """Copy the observations of episode b; what is not observed is zero."""
        self._features[b] = 0.0
        self._mask[b] = self._legal_by_default
        for n, agent in enumerate(self.agents):
            seen = observations.get(agent)
            if seen is None:
                continue
            if isinstance(seen, Mapping) and "action_mask" in seen:
                mask = np.asarray(seen["action_mask"], dtype=np.bool_)
                if mask.any():
                    self._mask[b, n, : len(mask)] = mask
                seen = {name: part for name, part in seen.items() if name != "action_mask"}
                if len(seen) == 1:
                    (seen,) = seen.values()
            flat = np.asarray(spaces.flatten(self._spaces[agent], seen), dtype=np.float32)
            self._features[b, n, : len(flat)] = flat
        state = _state_of(self.envs[b]) if self._has_state else None
        self._state[b] = self._features[b].ravel() if state is None else state

    def _observation(self) -> BatchedObservation:
        return BatchedObservation(self._features, self._mask, self._state, self._active)


def _without_mask(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space of the observation itself."""
    if isinstance(space, spaces.Dict) and "action_mask" in space.spaces:
        rest = {name: part for name, part in space.spaces.items() if name != "action_mask"}
        return next(iter(rest.values())) if len(rest) == 1 else spaces.Dict(rest)
    return space


def _state_of(env: ParallelEnv[str, Any, Any]) -> FloatArray | None:
    """The environment's global state, flat; None where it has none."""
    try:
        return np.asarray(env.state(), dtype=np.float32).ravel()
    except (AttributeError, NotImplementedError):
        return None


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in info.items()
            if isinstance(value, bool | int | float | np.number)}  # fmt: skip
