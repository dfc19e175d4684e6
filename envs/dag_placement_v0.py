"""Offer DAG placement as a PettingZoo environment: the B = 1 view of the simulator."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from edge_marl.dag_placement.scenario import DagScenario
from edge_marl.dag_placement.simulator import (
    METRICS,
    DagPlacementSimulator,
    Features,
    Reward,
    RewardTerms,
    Selector,
)
from edge_marl.envs.views import SimulatorEnv
from edge_marl.options import Options, Seed


class DagPlacementConfig(Options):
    """Configure ``dag_placement_v0``."""

    scenario: DagScenario = Field(
        default_factory=DagScenario, description="what episodes are drawn from"
    )
    reward: Reward = Field("response", description="minus response times, or equation 2")
    terms: RewardTerms = Field(default_factory=RewardTerms, description="of equation 2")
    features: Features = Field("extended", description="the paper's, or more of them")
    selector: Selector = Field(
        "longest_path", description="who selects the primitive: the paper's rule, or an agent"
    )
    seed: Seed = Field(default=0, description="seed of the first reset without one")


class DagPlacementEnv(SimulatorEnv):
    """Place workflows that arrive at a cluster of N servers, one ready primitive per step.

    This is the view of one episode of
    :class:`edge_marl.dag_placement.simulator.DagPlacementSimulator`, which holds all of the
    physics; see sections 3 and 4.1 of the SCALE paper.

    **Agents**: ``placer``, which chooses the server; with ``selector="learned"`` also ``selector``,
    which chooses the primitive first whenever there are several. Both are there until the end and
    take turns: the one that is not to decide has one legal action, N.

    **Observation** of an agent, a dictionary:

    - ``observation``: float32 ``[1 + N, F]``, see
      :class:`edge_marl.dag_placement.records.Observation`: a row for the primitive and one for
      each server; F is 10, or 5 with ``features="paper"``.
    - ``action_mask``: int8 ``[N + 1]``, 1 for legal actions.

    **Action** ``Discrete(N + 1)``. The placer chooses a server, or waits with N: the primitive is
    set aside and offered again while a server with enough memory is idle that has become so since,
    when a server goes or comes back, and when nothing is executed any more. Waiting is legal if a
    server will become idle or come back. With ``time="paper"`` busy and too small servers are legal
    too, but invalid: choosing one advances the clock without placing the primitive; N is not legal.
    With k, the selector chooses the primitive in row 1 + k of what it sees.

    **State** (``state()``): float32, the observations of all agents, flat.

    **Reward**: see :data:`edge_marl.dag_placement.simulator.Reward`; the same for both agents.

    **End**: terminated when all workflows that arrive are done; truncated at the time limit, and
    with ``time="paper"`` after a number of decisions.

    **Infos** are empty until the end, then hold the numbers of
    :data:`edge_marl.dag_placement.simulator.METRICS` for every agent.

    **Seeds**: ``reset(seed=s)`` starts the episode of seed s. Resets without a seed continue with
    seeds drawn from the last one; a new environment starts with ``seed`` of the configuration.
    ``options`` of ``reset`` are ignored.

    Raises:
        InputError: from the constructor for bad options and files, from ``step`` for an illegal or
            missing action or without an episode under way, from ``reset`` for a negative seed.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "dag_placement_v0",
        "render_modes": [],
        "is_parallelizable": True,
    }
    Config = DagPlacementConfig
    metrics = METRICS
    bounds = (-np.inf, np.inf)
    config: DagPlacementConfig

    @classmethod
    def simulator(cls, config: DagPlacementConfig, batch_size: int) -> DagPlacementSimulator:
        """Make the simulator of ``batch_size`` episodes."""
        return DagPlacementSimulator(
            config.scenario, batch_size, reward=config.reward, terms=config.terms,
            features=config.features, selector=config.selector,
        )  # fmt: skip

    @classmethod
    def shares_reward(cls, config: DagPlacementConfig) -> bool:
        """Return whether every agent is paid the team's reward."""
        return True


parallel_env = DagPlacementEnv.make
batched_env = DagPlacementEnv.make_batch
