"""Declare the learned methods of the FAuNO study, and how each gets its policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

from edge_marl.experiments.fauno.config import ENVIRONMENT, Cell, StudyConfig
from edge_marl.experiments.study.policies import Training
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.graph_offloading.scenario import GraphScenario
from edge_marl.limits import LARGEST

_ENVS, _STEPS = 32, 2048
_VALIDATION_EPISODES = 4
_EVALUATIONS = 5

_LR = (8e-4, 8e-5)
"""At the beginning and at the end."""

_ENTROPY_COEFF = (5e-2, 5e-4)
"""The same. With a tenth at the beginning, agents on Ether keep everything before they have seen
what the server does for the few tasks that are too large for them."""

_GAMMA = 0.998
_DELAY_TICKS = 300
"""An outcome counts for decisions up to so long before it."""

_AT_DEADLINE = 0.28
"""What an outcome is worth that is certain only at the earliest deadline."""

_NOTHING: Mapping[str, Any] = MappingProxyType({})

OWN: Mapping[str, Any] = MappingProxyType({"kind": "own", "delay_ticks": _DELAY_TICKS})
"""Own outcomes, credited to their decisions; their discount follows from the deadlines."""


@dataclass(frozen=True)
class Learner:
    """Describe a learned method, by what differs from IPPO as the study has it."""

    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Of the algorithm."""
    rewards: Mapping[str, Any] = field(default_factory=lambda: OWN)
    """Of the environment."""
    extended: bool = True
    """Whether agents see rates, capacities and ages, and instructions on a logarithmic scale."""

    def env(self, scenario: GraphScenario) -> dict[str, Any]:
        """Return the options of the environment, all but the scenario."""
        rewards = dict(self.rewards)
        if "delay_ticks" in rewards:
            rewards["gamma"] = _AT_DEADLINE ** (scenario.tick_s / scenario.deadline_s[0])
        return {"extended": self.extended, "rewards": rewards}


# Chosen on validation seeds, one training each.
_OPTIONS: dict[str, Any] = {
    "team_reward": "own",
    "decisions_only": True,
    "observation_normalisation": True,
    "gamma": _GAMMA,
    "lambda_": 0.95,
    "num_epochs": 2,
    "grad_clip": 0.5,
    "minibatch_size": 1024,
    # Values of agents that wait long between decisions are bootstrapped from one another: what is
    # not corrected because it is too far off goes on growing, and the advantages with it.
    "vf_clip_param": LARGEST,
    "num_envs_per_env_runner": _ENVS,
    "rollout_fragment_length": _STEPS,
    "train_batch_size_per_learner": _ENVS * _STEPS,
}

METHODS: Mapping[str, Learner] = {
    "IPPO": Learner({"critic": "local"}),
    "MAPPO": Learner({"critic": "central"}),
}

_LATER = {"kind": "own"}
VARIANTS: Mapping[str, Learner] = {
    "discount 0.9": Learner({"critic": "local", "gamma": 0.9}),
    "discount 0.99": Learner({"critic": "local", "gamma": 0.99}),
    "paid when known": Learner({"critic": "local"}, rewards=_LATER),
    "paid when known, lambda 0.995": Learner({"critic": "local", "lambda_": 0.995}, rewards=_LATER),
    "dense reward": Learner({"critic": "local"}, rewards={"kind": "dense"}),
    "sparse reward": Learner({"critic": "local"}, rewards={"kind": "sparse", "gamma": _GAMMA}),
    "observation of annex 10.2": Learner({"critic": "local"}, extended=False),
    "observations not standardised": Learner(
        {"critic": "local", "observation_normalisation": False}
    ),
    "all steps": Learner({"critic": "local", "decisions_only": False}),
}
"""IPPO with one choice changed, by label."""

LEARNERS: Mapping[str, Learner] = {**METHODS, **VARIANTS}


@cache
def training_of(config: StudyConfig, method: str, cell: Cell, seed: int) -> Training:
    """Return the training of a method in a cell."""
    learner, scenario = LEARNERS[method], cell.scenario(config.ticks)
    env = learner.env(scenario)
    env_steps = config.iterations * _OPTIONS["train_batch_size_per_learner"]
    recipe = Recipe(
        env=ENVIRONMENT,
        algorithm="mappo",
        options={
            **_OPTIONS,
            "lr": [[0, _LR[0]], [env_steps, _LR[1]]],
            "entropy_coeff": [[0, _ENTROPY_COEFF[0]], [env_steps, _ENTROPY_COEFF[1]]],
            **learner.options,
        },
        env_config={"scenario": scenario.model_dump(), **env},
        seed=seed,
    )
    return Training(
        method,
        recipe,
        Limits(iterations=config.iterations),
        config.validation(cell, env, _VALIDATION_EPISODES),
        metrics=("finished_ratio", "response_ticks"),
        evaluations=_EVALUATIONS,
        further={"topology": cell.topology, "rate": cell.rate},
    )
