"""Offer offloading on a graph as a PettingZoo environment: the B = 1 view of the simulator."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from edge_marl.envs.views import SimulatorEnv
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.graph_offloading.simulator import METRICS, GraphOffloadingSimulator, RewardConfig
from edge_marl.options import Options, Seed


class GraphOffloadingConfig(Options):
    """Configure ``graph_offloading_v0``."""

    scenario: GraphScenario = Field(
        default_factory=GraphScenario, description="what episodes are drawn from"
    )
    rewards: RewardConfig = Field(default_factory=RewardConfig)
    extended: bool = Field(
        False, description="observe rates, capacities and ages, and instructions on a log scale"
    )
    seed: Seed = Field(default=0, description="seed of the first reset without one")


class GraphOffloadingEnv(SimulatorEnv):
    """Let nodes on a graph execute their tasks or send them to neighbours, tick by tick.

    This is the view of one episode of
    :class:`edge_marl.graph_offloading.simulator.GraphOffloadingSimulator`, which holds all of the
    physics; see section 2, and annexes 10 and 12 of the FAuNO paper.

    **Agents**: the names of the nodes that have one, such as ``nuc_0``; all act in every tick until
    the episode ends. Most of the time most of them have nothing to decide.

    **Observation** of an agent, a dictionary; D is the largest number of neighbours of an agent:

    - ``observation``: float32 ``[8 + 2D]``, or ``[10 + 4D]`` with ``extended``, each in [-1, 1]:
      see :func:`edge_marl.graph_offloading.observing.n_features`. What is missing is -1.
    - ``action_mask``: int8 ``[D + 1]``, 1 for legal actions.

    **Action** ``Discrete(D + 1)``: 0 keeps the oldest task that the agent has not decided on, k
    sends it to the node's k-th neighbour. Without a task only 0 is legal, and does nothing.

    **State** (``state()``): float32 ``[6N]``, see
    :data:`edge_marl.graph_offloading.observing.STATE_PER_NODE`.

    **Reward**: see :mod:`edge_marl.graph_offloading.rewards`.

    **End**: all agents are truncated after the last tick.

    **Infos** are empty until the end, then hold the numbers of
    :data:`edge_marl.graph_offloading.simulator.METRICS` for every agent.

    **Seeds**: ``reset(seed=s)`` starts the episode of seed s. Resets without a seed continue with
    seeds drawn from the last one; a new environment starts with ``seed`` of the configuration.
    ``options`` of ``reset`` are ignored.

    Raises:
        InputError: from the constructor for bad options, from ``step`` for an illegal or missing
            action, without an episode under way or when a pool of tasks is full, from ``reset``
            for a negative seed.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "graph_offloading_v0",
        "render_modes": [],
        "is_parallelizable": True,
    }
    Config = GraphOffloadingConfig
    metrics = METRICS
    bounds = (-1.0, 1.0)
    config: GraphOffloadingConfig

    @classmethod
    def simulator(cls, config: GraphOffloadingConfig, batch_size: int) -> GraphOffloadingSimulator:
        """Make the simulator of ``batch_size`` episodes."""
        return GraphOffloadingSimulator(
            config.scenario, batch_size, rewards=config.rewards, extended=config.extended
        )

    @classmethod
    def reward_delay(cls, config: GraphOffloadingConfig) -> int:
        """Return how many ticks after a decision its own outcome is paid."""
        return config.rewards.delay_ticks


parallel_env = GraphOffloadingEnv.make
batched_env = GraphOffloadingEnv.make_batch
