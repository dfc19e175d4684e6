"""Step many episodes of one environment at once, as this project's algorithms sample them."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edge_marl.envs import ENVIRONMENTS, intake, module_of
from edge_marl.envs.actions import ActionSpec, native_action
from edge_marl.envs.faults import naming_faults
from edge_marl.errors import InputError
from edge_marl.simulation import NOTHING_TO_SHARE, Actions, Hybrid, Travel

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]


class BatchedObservation(NamedTuple):
    """Hold what is seen in B episodes of N agents; the next step may overwrite the arrays."""

    features: NDArray[Any]
    """``[B, N, F]`` float32: each agent's local observation, flattened, zero padded to the widest.
    Where all agents see 8-bit pictures, these as they are, uint8."""
    action_mask: BoolArray
    """``[B, N, A]``: legal choices; False behind those of agents that have fewer. An agent has
    nothing to decide where one is legal or, if there are vectors, where none is."""
    state: NDArray[Any]
    """``[B, S]`` float32, or uint8 of an 8-bit picture: global state, for centralised training
    only; S is 0 where nobody asked for it."""
    active: BoolArray
    """``[B, N]``: agents whose next action is played, be it that they have just arrived. At the end
    of an episode, where none is, those cut off by truncation count, because what they see then is
    worth something."""


class BatchedTransition(NamedTuple):
    """Hold the outcome of a step; the next step may overwrite the arrays."""

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
    """Play B episodes that are stepped together and end independently.

    An episode that is over stays frozen, its actions ignored, until it is reset.
    """

    agents: tuple[str, ...]
    batch_size: int
    observation_shape: tuple[int, ...]
    """Of one agent, before flattening; the widest agent's, flat, where agents differ."""
    action_spec: ActionSpec
    state_size: int
    shared_reward: bool | None
    """Whether every agent is paid the team's reward; None: nobody knows."""
    reward_delay: int
    """How many steps after an action the reward for it is paid."""
    takes_turns: bool
    """Whether no two agents ever decide in the same step."""

    @property
    def done(self) -> BoolArray:
        """Return which episodes are over and wait for a reset, ``[B]``."""
        ...

    @property
    def observation(self) -> BatchedObservation:
        """Return the current observations of all agents and episodes."""
        ...

    def travel(self, n_bytes: float, every: int | None = None) -> Travel:
        """Return how long a message takes between agents and the manager of a federation.

        See :meth:`edge_marl.simulation.Simulator.travel`.
        """
        ...

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start the episodes ``where [B]`` anew (all when None) from ``seeds [B]``."""
        ...

    def step(self, actions: Actions) -> BatchedTransition:
        """Play one step of every episode with choices ``[B, N]``, and vectors if there are any."""
        ...

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Return domain metrics ``[K]`` of the K finished episodes ``where [B]``, by name."""
        ...

    def get_state(self) -> Any:
        """Return what :meth:`set_state` needs to continue exactly here; None where impossible."""
        ...

    def set_state(self, state: Any) -> None:
        """Continue from where ``state`` was taken."""
        ...


def make_batched(
    env: str | Callable[[Any], Any],
    env_config: Mapping[str, Any],
    batch_size: int,
    *,
    state: bool = True,
) -> BatchedEnv:
    """Make B episodes of an environment.

    Args:
        env: an environment of a simulator by name, which brings its batched form; any
            PettingZoo parallel environment by the name under which it is registered with Ray
            Tune, of which B copies are stepped; or what makes one from ``env_config``.
        env_config: options of the environment.
        batch_size: B.
        state: whether the global state is used; it may be large.

    Raises:
        InputError: for an unknown environment, and for one that is not a parallel environment or
            has actions that :class:`ActionSpec` cannot describe.
    """
    module = module_of(env)
    if module is not None:
        own: BatchedEnv = import_module(module).batched_env(batch_size, **_own_options(env_config))
        if not state:
            own.state_size = 0
        return own
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
        intake.parallel(creator(EnvContext(dict(env_config), worker_index=0, vector_index=b)))
        for b in range(batch_size)
    ]
    if len(set(map(id, made))) < batch_size:
        raise InputError(
            f"environment {intake.name_of(made[0])}: expected a new one from every call, found the "
            "same again"
        )
    return ParallelEnvBatch(made, state=state)


def logged_configuration(env: Any, env_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scenario that task logs of an environment record; empty if it has none."""
    module = module_of(env)
    if module is None:
        return {}
    config = import_module(module).parallel_env(**_own_options(env_config)).config
    return config.scenario.model_dump(mode="json") if hasattr(config, "scenario") else {}


def _own_options(env_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options without ``flatten``, which the adapter for RLlib takes."""
    return {name: value for name, value in env_config.items() if name != "flatten"}


class _Seat(NamedTuple):
    """Hold what is fixed about an agent."""

    key: Any
    """The environment's own name for it."""
    name: str
    space: intake.AnySpace
    """Of its observations, without the mask."""
    width: int
    action_space: intake.AnySpace
    actions: ActionSpec


class ParallelEnvBatch:
    """Step B copies of a PettingZoo environment through the interface :class:`BatchedEnv`.

    Agents are in the order of ``possible_agents``; they may join, pause and leave at any time.
    Observations are flattened and padded to the widest agent's. Action masks, found beside the
    observation or in the infos, are padded too. The state is the environment's own, padded to the
    size that its ``state_space`` gives or that it has at first; where there is none, it consists of
    all observations. Domain metrics are the numbers in the infos of the last step, of the first
    agent that has any.

    An attribute ``shared_reward`` of the environment says whether it pays every agent the team's.

    An agent that is flagged as terminated or truncated has left. If such agents stay in
    ``env.agents``, one warning says so, their actions are still sent, and the episode is over when
    all are flagged.

    Args:
        envs: the copies.
        state: whether the state is used.

    Raises:
        InputError: for actions that :class:`ActionSpec` cannot describe, observations of varying
            size, and, from any method, for a value that does not fit, naming the value, its agent
            and the step.
    """

    def __init__(self, envs: Sequence[intake.AnyParallelEnv], *, state: bool = True) -> None:
        self.envs = envs
        self.batch_size = len(envs)
        env = envs[0]
        shared = getattr(env, "shared_reward", None)
        self.shared_reward: bool | None = None if shared is None else bool(shared)
        self.reward_delay = 0
        self.takes_turns = False
        names = intake.agents_of(env)
        for other in envs[1:]:
            if (found := intake.agents_of(other)) != names:
                raise InputError(
                    f"environment {intake.name_of(env)}: possible_agents: expected {list(names)} "
                    f"in every copy, found {list(found)}"
                )
        self.agents = tuple(names.values())
        self._seats = tuple(_seat(env, key, name) for key, name in names.items())
        # A network has to see something, were it always zero.
        width = max(1, *(seat.width for seat in self._seats))
        shapes = {seat.space.shape for seat in self._seats}
        shape = shapes.pop() if len(shapes) == 1 else None
        self.observation_shape = shape if shape and math.prod(shape) == width else (width,)
        self.action_spec = ActionSpec.of_agents(seat.actions for seat in self._seats)
        B, N, A = self.batch_size, len(self.agents), self.action_spec.n
        self._no_vectors = np.zeros((B, N, 0))
        self._legal_by_default = np.zeros((N, A), dtype=np.bool_)
        for n, seat in enumerate(self._seats):
            self._legal_by_default[n, : seat.actions.n] = True
        observations, _ = intake.started(env, 0)
        kind = np.uint8 if _are_pictures(self._seats, observations) else np.float32
        self._features = np.zeros((B, N, width), dtype=kind)
        self._mask = np.tile(self._legal_by_default, (B, 1, 1))
        self._active = np.zeros((B, N), dtype=np.bool_)
        self._left = np.zeros((B, N), dtype=np.bool_)  # flagged, and in env.agents all the same
        self._reward = np.zeros((B, N), dtype=np.float32)
        self._terminated = np.zeros((B, N), dtype=np.bool_)
        self._truncated = np.zeros((B, N), dtype=np.bool_)
        self._done = np.ones(B, dtype=np.bool_)
        self._steps = np.zeros(B, dtype=np.int64)
        self._infos: list[dict[str, float]] = [{} for _ in envs]
        self._warned = False
        self._state = self._room_for_state(env) if state else np.zeros((B, 0), dtype=np.float32)
        self.state_size = self._state.shape[1]

    def travel(self, n_bytes: float, every: int | None = None) -> Travel:
        """Return that every message is there at once."""
        if every is not None:
            raise InputError(NOTHING_TO_SHARE)
        return Travel.at_once(len(self.agents))

    def _room_for_state(self, env: intake.AnyParallelEnv) -> NDArray[Any]:
        """Allocate states ``[B, S]``; note whether the environment or observations fill them."""
        own = intake.state_of(env)
        self._has_state = own is not None
        if own is None:
            return np.zeros((self.batch_size, self._features[0].size), self._features.dtype)
        space = getattr(env, "state_space", None)
        size = 0
        try:
            # A box says no more than how many numbers there are.
            self._state_space = space if isinstance(space, spaces.Space) else spaces.Box(0, 1, ())
            if self._state_space is space:
                size = intake.width_of(space)
            row = intake.flat(self._state_space, own)
        except intake.FAULTS as error:
            raise intake.fault(env, "state()", 0, error) from error
        kind = np.uint8 if row.dtype == np.uint8 else np.float32
        return np.zeros((self.batch_size, max(size, row.size)), dtype=kind)

    @property
    def done(self) -> BoolArray:
        """Return which episodes are over, ``[B]``."""
        return self._done

    @property
    def observation(self) -> BatchedObservation:
        """Return the current observations of all agents and episodes."""
        return BatchedObservation(self._features, self._mask, self._state, self._active)

    @naming_faults
    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`BatchedEnv`."""
        for b in range(self.batch_size) if where is None else np.flatnonzero(where).tolist():
            env = self.envs[b]
            observations, infos = intake.started(env, int(seeds[b]))
            self._done[b], self._steps[b], self._left[b] = False, 0, False
            self._active[b] = self._present(env)
            if not self._active[b].any():
                raise InputError(
                    f"environment {intake.name_of(env)}: agents: expected some after reset, "
                    "found none"
                )
            self._see(b, observations, infos)
        return self.observation

    @naming_faults
    def step(self, actions: Actions) -> BatchedTransition:
        """Play one step, see :class:`BatchedEnv`."""
        hybrid = isinstance(actions, Hybrid)
        choices, vectors = actions if hybrid else (actions, self._no_vectors)
        self._reward[:] = 0.0
        self._terminated[:] = False
        self._truncated[:] = False
        for b in np.flatnonzero(~self._done).tolist():
            self._step_one(b, choices[b].tolist(), vectors[b])
        return BatchedTransition(self.observation, self._reward, self._terminated, self._truncated)

    def _step_one(self, b: int, choices: list[int], vectors: NDArray[np.floating[Any]]) -> None:
        env = self.envs[b]
        here = intake.present_in(env)
        observations, rewards, terminations, truncations, infos = intake.stepped(
            env, {seat.key: native_action(seat.action_space, choices[n], vectors[n])
                  for n, seat in enumerate(self._seats) if seat.key in here}
        )  # fmt: skip
        self._steps[b] += 1
        played = self._active[b].copy()
        for n in np.flatnonzero(played).tolist():
            key, what = self._seats[n].key, "reward"
            try:
                self._reward[b, n] = intake.number(rewards.get(key, 0.0))
                what = "termination and truncation"
                self._terminated[b, n] = bool(terminations.get(key, False))
                self._truncated[b, n] = (
                    bool(truncations.get(key, False)) and not self._terminated[b, n]
                )
            except intake.FAULTS as error:
                step = int(self._steps[b])
                raise intake.fault(env, f"{what} of {self.agents[n]}", step, error) from error
        flagged = self._terminated[b] | self._truncated[b]
        present = self._present(env)
        self._left[b] = (self._left[b] | flagged) & present
        self._active[b] = present & ~self._left[b]
        if self._left[b].any() and not self._warned:
            self._warn(env, self.agents[int(self._left[b].argmax())])
        if not self._active[b].any():
            self._done[b] = True
            # Where nothing says how the episode ended, it counts as terminated.
            self._terminated[b] |= played & ~flagged
            self._active[b] = self._truncated[b]
            self._infos[b] = next(filter(None, map(_numbers, infos.values())), {})
        self._see(b, observations, infos)

    def _present(self, env: intake.AnyParallelEnv) -> BoolArray:
        """Return which agents are in the environment's episode, ``[N]``."""
        here = intake.present_in(env)
        present = np.array([seat.key in here for seat in self._seats])
        if present.sum() < len(here):
            unknown = sorted(map(str, here - {seat.key for seat in self._seats}))
            raise InputError(
                f"environment {intake.name_of(env)}: agents: expected some of possible_agents, "
                f"{', '.join(self.agents)}, found {unknown[0]}"
            )
        return present

    def _warn(self, env: intake.AnyParallelEnv, agent: str) -> None:
        self._warned = True
        warnings.warn(
            f"environment {intake.name_of(env)}: {agent} is flagged as terminated or truncated and "
            "stays in env.agents; such agents are taken for gone, and the episode for over when "
            "all are",
            stacklevel=2,
        )

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """Return the numbers in the infos at the end, by name; NaN where an episode lacks one."""
        finished = [self._infos[b] for b in np.flatnonzero(where)]
        names = sorted({name for info in finished for name in info})
        return {name: np.array([info.get(name, np.nan) for info in finished]) for name in names}

    def get_state(self) -> Any:
        """Return everything as bytes; None where the environment cannot be copied this way."""
        try:
            return pickle.dumps(self.__dict__)
        except Exception:  # whatever an environment of others may raise
            return None

    def set_state(self, state: Any) -> None:
        """Continue from where ``state`` was taken; if it is None, mark all episodes as over."""
        if state is None:
            self._done[:] = True
        else:
            # From a checkpoint of RLlib's, which is pickled as a whole.
            self.__dict__.update(pickle.loads(state))

    def _see(self, b: int, observations: intake.ByAgent, infos: intake.ByAgent) -> None:
        """Copy observations, masks and state of episode b; what is not observed is zero."""
        env, step = self.envs[b], int(self._steps[b])
        self._features[b] = 0
        self._mask[b] = self._legal_by_default
        turn = None if self._done[b] else intake.whose_turn(env)
        for n, seat in enumerate(self._seats):
            seen = observations.get(seat.key)
            mask = intake.mask_of(seen, infos.get(seat.key))
            what = "action mask"
            try:
                if mask is not None:
                    legal = intake.legal_actions(mask, seat.actions.n)
                    idle = bool(seat.actions.boxes)  # who has a vector may have nothing to decide
                    if not legal.any() and self._active[b, n] and not self._done[b] and not idle:
                        if turn is None or turn == seat.key:
                            raise ValueError("expected a legal action, found none")
                        legal[0] = True  # it is not played
                    if legal.any() or idle:
                        self._mask[b, n, : seat.actions.n] = legal
                what = "observation"
                if seen is not None:
                    row = intake.flat(seat.space, intake.beside_mask(seen))
                    if row.size != seat.width:
                        raise ValueError(f"expected {seat.width} numbers, found {row.size}")
                    eight_bit = self._features.dtype == np.uint8
                    self._features[b, n, : row.size] = intake.typed(row, eight_bit=eight_bit)
            except intake.FAULTS as error:
                if self._active[b, n]:  # whoever has left may be shown anything
                    raise intake.fault(env, f"{what} of {seat.name}", step, error) from error
        if self.state_size:
            self._look_at_state(b)

    def _look_at_state(self, b: int) -> None:
        """Copy the state of episode b."""
        if not self._has_state:
            self._state[b] = self._features[b].ravel()
            return
        env = self.envs[b]
        try:
            own = intake.state_of(env)
        except Exception:
            # A state of the agents present may not exist when none is: then the last one stays.
            if not self._done[b]:
                raise
            return
        try:
            row = intake.flat(self._state_space, own)
            if row.size > self.state_size:
                raise ValueError(
                    f"expected at most {self.state_size} numbers, as state_space or the first "
                    f"state has, found {row.size}"
                )
            row = intake.typed(row, eight_bit=self._state.dtype == np.uint8)
        except intake.FAULTS as error:
            raise intake.fault(env, "state()", int(self._steps[b]), error) from error
        self._state[b] = 0
        self._state[b, : row.size] = row


def _seat(env: intake.AnyParallelEnv, key: Any, name: str) -> _Seat:
    """Read what an environment says about one of its agents."""
    action_space = env.action_space(key)
    actions = ActionSpec.of_space(action_space, name)
    space = intake.without_mask(env.observation_space(key))
    try:
        width = intake.width_of(space)
    except ValueError as error:
        raise InputError(f"observation space of {name}: {error}") from error
    return _Seat(key, name, space, width, action_space, actions)


def _are_pictures(seats: Sequence[_Seat], observations: intake.ByAgent) -> bool:
    """Return whether all agents see 8-bit integers, both by their spaces and in fact."""
    seen = [intake.beside_mask(one) for one in observations.values()]
    return all(
        isinstance(seat.space, spaces.Box) and seat.space.dtype == np.uint8 for seat in seats
    ) and all(getattr(one, "dtype", None) == np.uint8 for one in seen)


def _numbers(info: Any) -> dict[str, float]:
    if not isinstance(info, Mapping):
        return {}
    return {str(name): float(value) for name, value in info.items()
            if isinstance(value, bool | int | float | np.number)}  # fmt: skip
