"""Offer cooperative offloading as a PettingZoo environment: the B = 1 view of the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.simulator import (
    METRICS,
    CooperativeOffloadingSimulator,
    Features,
    Grants,
    Reward,
)
from edge_marl.envs.views import SimulatorEnv
from edge_marl.options import Options, Seed


class CooperativeOffloadingConfig(Options):
    """Configure ``cooperative_offloading_v0``."""

    scenario: CooperativeScenario = Field(
        default_factory=CooperativeScenario, description="what episodes are drawn from"
    )
    reward: Reward = Field(
        "cost", description="cost: minus what accrues in a step; saving: the same, and what tasks "
        "cost alone at home; ratio: the paper's, when a task is done"
    )  # fmt: skip
    features: Features = Field(
        "extended", description="extended: the other servers, too; paper: own resources and links"
    )
    predictor: Path | None = Field(
        None, description="folder of a predictor, whose predictions are added to the state"
    )
    actors_foresee: bool = Field(
        False, description="whether predictions of an agent's own next task are also observed by it"
    )
    grants: Grants = Field(
        "chosen", description="chosen: by agents, as is how much of a task leaves; full, "
        "proportional: home and helpers have the same share of it, and ask for all that is left, "
        "or in proportion to the task"
    )  # fmt: skip
    seed: Seed = Field(default=0, description="seed of the first reset without one")

    @model_validator(mode="after")
    def _foresees_by_a_predictor(self) -> Self:
        if self.actors_foresee and self.predictor is None:
            raise ValueError("predictor: expected a folder with actors_foresee, found none")
        return self


class CooperativeOffloadingEnv(SimulatorEnv):
    """Let each edge server decide who helps with its tasks, and how much of everything they take.

    This is the view of one episode of
    :class:`edge_marl.cooperative_offloading.simulator.CooperativeOffloadingSimulator`, which holds
    all of the physics of the CTO-TP paper.

    **Agents**: ``server_0`` to ``server_{M-1}``; all are there until the episode ends. A step is
    one decision, of the home of the task that has arrived; the others have nothing to decide.

    **Observation** of an agent, a dictionary:

    - ``observation``: float32 ``[F]``, each in [0, 1], zeros without a decision to make: see
      :class:`edge_marl.cooperative_offloading.records.Observation`.
    - ``action_mask``: int8 ``[A]``, all 1 for the agent that decides, all 0 for the others.

    **Action** ``Dict(target=Discrete(A), allocation=Box(0, 1, [3]))``: which of the others help, by
    its number among :attr:`CooperativeScenario.subsets`, and the shares
    :data:`edge_marl.cooperative_offloading.records.ALLOCATION`; where grants are not chosen, the
    target alone. Actions of those who have nothing to decide are ignored.

    **State** (``state()``): float32 ``[4 + 4 M + M^2]``, and ``9 M`` more with a predictor: see
    the same class.

    **Reward**: see :data:`edge_marl.cooperative_offloading.simulator.Reward`, to the home of each
    task.

    **End**: all agents terminate when all tasks are done.

    **Infos** are empty until the end, then hold the numbers of
    :data:`edge_marl.cooperative_offloading.simulator.METRICS` for every agent.

    **Seeds**: ``reset(seed=s)`` starts the episode of seed s. Resets without a seed continue with
    seeds drawn from the last one; a new environment starts with ``seed`` of the configuration.
    ``options`` of ``reset`` are ignored.

    Raises:
        InputError: from the constructor for bad options and traces, from ``step`` for an action
            that is missing or none of the space, or without an episode under way, from ``reset``
            for a negative seed.
    """

    metadata: ClassVar[dict[str, Any]] = {
        "name": "cooperative_offloading_v0",
        "render_modes": [],
        "is_parallelizable": True,
    }
    Config = CooperativeOffloadingConfig
    metrics = METRICS
    bounds = (0.0, 1.0)
    action_parts = ("target", "allocation")
    config: CooperativeOffloadingConfig

    @classmethod
    def simulator(
        cls, config: CooperativeOffloadingConfig, batch_size: int
    ) -> CooperativeOffloadingSimulator:
        """Make the simulator of ``batch_size`` episodes."""
        return CooperativeOffloadingSimulator(
            config.scenario, batch_size, reward=config.reward, features=config.features,
            predictor=config.predictor, actors_foresee=config.actors_foresee, grants=config.grants,
        )  # fmt: skip


parallel_env = CooperativeOffloadingEnv.make
batched_env = CooperativeOffloadingEnv.make_batch
