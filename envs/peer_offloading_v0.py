"""Peer offloading as a PettingZoo parallel environment: the B = 1 view of the simulator."""

from __future__ import annotations

from operator import index
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from pettingzoo import ParallelEnv
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_marl.envs.legal_discrete import LegalDiscrete
from edge_marl.envs.peer_offloading_batch import PeerOffloadingBatch, node_names
from edge_marl.errors import InputError
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import (
    METRICS,
    PeerOffloadingSimulator,
    Reward,
    n_features,
)
from edge_marl.validation import invalid

ObsDict = dict[str, NDArray[Any]]
_SEED_LIMIT = 2**31


class PeerOffloadingConfig(BaseModel):
    """Options of ``peer_offloading_v0``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: OffloadingScenario = Field(
        default_factory=OffloadingScenario,
        description="what episodes are drawn from; a preset's name stands for that preset",
    )
    reward: Reward = Field("team", description="feedback on all tasks, or on the node's own")
    seed: int = Field(default=0, ge=0, description="seed of the first reset without one")


class PeerOffloadingEnv(ParallelEnv[str, ObsDict, int]):
    """N edge nodes that execute their tasks or send them to each other, one decision per slot.

    The view on one episode of
    :class:`edge_marl.peer_offloading.simulator.PeerOffloadingSimulator`, which holds all of the
    physics; sections III and IV-B of the O2O-DRL paper.

    **Agents**: ``node_0`` to ``node_{N-1}``; all act in every slot until the episode ends.

    **Observation** of an agent, a dictionary:

    - ``observation``: float32 ``[3N + 5]``, each in [0, 1], see
      :func:`edge_marl.peer_offloading.simulator.n_features`: the node's arrival probability,
      failure rate, capacity and execution queue; tasks on their way from each other node; rate to
      each other node; size, cycles and deadline of its task, or zeros; its index, one-hot.
    - ``action_mask``: int8 ``[N + 1]``, 1 for legal actions.

    **Action** ``Discrete(N + 1)``: the node that is to execute the task that has just arrived;
    N, "no task", is the one legal action of a node without a task, and of no other. A node may
    always keep its task. Others are legal if there is a link and fewer tasks are at them, waiting
    or in execution, than their queue limit. Anything else raises.

    **State** (``state()``): float32 ``[8N]``.

    **Reward**: +1 for each task that succeeded and -1 for each that was dropped or failed, in the
    slot in which that becomes known; the sum over all nodes' tasks for every agent, or, with
    ``reward="own"``, over the tasks that arrived at the agent.

    **End**: all agents are truncated after the last slot; tasks still in flight have no feedback.

    **Infos** are empty until the end, then hold the numbers of
    :data:`edge_marl.peer_offloading.simulator.METRICS` for every agent.

    **Seeds**: ``reset(seed=s)`` starts the episode of seed s. Resets without a seed continue with
    seeds drawn from the last one; a new environment starts with ``seed`` of the configuration.
    ``options`` of ``reset`` are ignored.

    Raises:
        InputError: from the constructor for bad options, from ``step`` for an illegal or missing
            action or without an episode under way, from ``reset`` for a negative seed.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "peer_offloading_v0",
        "render_modes": [],
        "is_parallelizable": True,
    }
    render_mode = None

    def __init__(self, config: PeerOffloadingConfig | None = None) -> None:
        self.config = config or PeerOffloadingConfig()
        N = self.config.scenario.nodes
        self.possible_agents = list(node_names(N))
        self.agents: list[str] = []
        self._simulator = _simulator(self.config, batch_size=1)
        # Buffers that the simulator writes in place, so the views stay valid for good.
        self._features = self._simulator.observation.features[0]
        self._mask = self._simulator.observation.action_mask[0]
        self._actions = np.zeros((1, N), dtype=np.int32)
        self._seed: int | None = self.config.seed
        self._seeds = np.random.default_rng(self.config.seed)
        observation_space = spaces.Dict(
            {
                "observation": spaces.Box(0.0, 1.0, (n_features(N),), np.float32),
                "action_mask": spaces.Box(0, 1, (N + 1,), np.int8),
            }
        )
        self.observation_spaces = dict.fromkeys(self.possible_agents, observation_space)
        self.action_spaces = {
            agent: LegalDiscrete(self._mask[i]) for i, agent in enumerate(self.possible_agents)
        }
        self.state_space = spaces.Box(0.0, 1.0, (8 * N,), np.float32)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's observations, the same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's actions, the same object at every call."""
        return self.action_spaces[agent]

    def state(self) -> NDArray[np.float32]:
        """Global state ``[8N]`` for centralised training, a copy."""
        return self._simulator.observation.state[0].copy()

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, ObsDict], dict[str, dict[str, Any]]]:
        """Start an episode; see the class on seeds."""
        if seed is not None:
            if seed < 0:
                raise InputError(f"peer_offloading_v0: seed: expected at least 0, found {seed}")
            self._seeds = np.random.default_rng(seed)
        elif self._seed is not None:
            seed = self._seed
        else:
            seed = int(self._seeds.integers(_SEED_LIMIT))
        self._seed = None
        self._simulator.reset(np.array([seed], dtype=np.int64))
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
        """Play one slot with the actions of all nodes."""
        if not self.agents:
            raise InputError("peer_offloading_v0: no episode under way, call reset() first")
        for i, agent in enumerate(self.possible_agents):
            self._actions[0, i] = self._legal(i, agent, actions)
        transition = self._simulator.step(self._actions)
        over = bool(transition.truncated[0])
        agents = self.possible_agents
        metrics: dict[str, Any] = {}
        if over:
            self.agents = []
            results = self._simulator.results
            metrics = {name: getattr(results, name)[0].item() for name in METRICS}
        return (
            self._observe(),
            dict(zip(agents, transition.reward[0].tolist(), strict=True)),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {agent: metrics.copy() for agent in agents},
        )

    def render(self) -> None:
        """There is nothing to see."""

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
                f"peer_offloading_v0: action of {agent}: expected an integer, found {found!r}"
            ) from None
        mask = self._mask[i]
        if not (0 <= action < len(mask) and mask[action]):
            raise InputError(
                f"peer_offloading_v0: action of {agent}: expected one of the legal actions "
                f"{np.flatnonzero(mask).tolist()}, found {action}"
            )
        return action


def _simulator(config: PeerOffloadingConfig, batch_size: int) -> PeerOffloadingSimulator:
    """The physics of ``batch_size`` episodes."""
    return PeerOffloadingSimulator(config.scenario, batch_size, reward=config.reward)


def parallel_env(**config: Any) -> PeerOffloadingEnv:
    """Make a peer-offloading environment.

    Args:
        config: fields of :class:`PeerOffloadingConfig`; ``scenario`` may be a dictionary or the
            name of a preset.

    Raises:
        InputError: naming the option at fault, what was expected and what was found.
    """
    return PeerOffloadingEnv(_validated(config))


def batched_env(batch_size: int, **config: Any) -> PeerOffloadingBatch:
    """Make ``batch_size`` episodes of the same environment, for batched sampling.

    Args:
        batch_size: B.
        config: as for :func:`parallel_env`; ``seed`` has no meaning here.

    Raises:
        InputError: as :func:`parallel_env`.
    """
    return PeerOffloadingBatch(_simulator(_validated(config), batch_size))


def _validated(config: dict[str, Any]) -> PeerOffloadingConfig:
    try:
        return PeerOffloadingConfig(**config)
    except ValidationError as error:
        raise invalid(error, "peer_offloading_v0: ") from None
