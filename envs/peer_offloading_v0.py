"""Offer peer offloading as a PettingZoo environment: the B = 1 view of the simulator."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from edge_marl.envs.views import SimulatorEnv
from edge_marl.options import Options, Seed
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import (
    METRICS,
    PeerOffloadingSimulator,
    Reward,
)


class PeerOffloadingConfig(Options):
    """Configure ``peer_offloading_v0``."""

    scenario: OffloadingScenario = Field(
        default_factory=OffloadingScenario,
        description="what episodes are drawn from; a preset's name stands for that preset",
    )
    reward: Reward = Field("team", description="feedback on all tasks, or on the node's own")
    seed: Seed = Field(default=0, description="seed of the first reset without one")


class PeerOffloadingEnv(SimulatorEnv):
    """Let N edge nodes execute their tasks or send them to each other, one decision per slot.

    This is the view of one episode of
    :class:`edge_marl.peer_offloading.simulator.PeerOffloadingSimulator`, which holds all of the
    physics; see sections III and IV-B of the O2O-DRL paper.

    **Agents**: ``node_0`` to ``node_{N-1}``; all act in every slot until the episode ends.

    **Observation** of an agent, a dictionary:

    - ``observation``: float32 ``[3N + 5]``, each in [0, 1], see
      :func:`edge_marl.peer_offloading.observing.n_features`: the node's arrival probability,
      failure rate, capacity and execution queue; tasks on their way from each other node; rate to
      each other node; size, cycles and deadline of its task, or zeros; its index, one-hot.
    - ``action_mask``: int8 ``[N + 1]``, 1 for legal actions.

    **Action** ``Discrete(N + 1)``: the node that is to execute the task that has just arrived;
    N, "no task", is the one legal action of a node without a task, and of no other. A node may
    always keep its task. Another node is legal if there is a link to it and fewer tasks are there,
    waiting or in execution, than its queue limit. Anything else raises an error.

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
    Config = PeerOffloadingConfig
    metrics = METRICS
    bounds = (0.0, 1.0)
    config: PeerOffloadingConfig

    @classmethod
    def simulator(cls, config: PeerOffloadingConfig, batch_size: int) -> PeerOffloadingSimulator:
        """Make the simulator of ``batch_size`` episodes."""
        return PeerOffloadingSimulator(config.scenario, batch_size, reward=config.reward)

    @classmethod
    def shares_reward(cls, config: PeerOffloadingConfig) -> bool:
        """Return whether every agent is paid the team's reward."""
        return config.reward == "team"


parallel_env = PeerOffloadingEnv.make
batched_env = PeerOffloadingEnv.make_batch
