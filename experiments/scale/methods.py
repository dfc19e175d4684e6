"""Declare the methods that are compared, and how each gets its policy (paper, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from edge_marl.experiments.scale.config import (
    ENV,
    ENVIRONMENT,
    Family,
    StudyConfig,
    trained_in,
)
from edge_marl.experiments.study.policies import Training
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe

SCALE, CROSS_ATTN, PPO, PPO_SRR, DQN, SAC = "SCALE", "CrossAttn", "PPO", "PPO+SRR", "DQN", "SAC"
POINTER, POINTER_SRR = "pointer", "pointer + SRR"

_ENVS, _STEPS = 64, 128
_REPLAYING_ENVS, _REPLAYING_STEPS = 16, 32
_VALIDATION_EPISODES = 16
_MLP = {"kind": "structured_mlp", "hidden_sizes": (64, 64)}
_LARGE = {"kind": "pointer", "hidden_sizes": (32, 32)}


@dataclass(frozen=True)
class Learner:
    """Describe a learned method."""

    family: Family
    algorithm: Literal["scale", "vdn", "sac"] = "scale"
    """Value decomposition of a single agent is DQN."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Of the algorithm."""

    @property
    def any_size(self) -> bool:
        """Return whether it can be tested at another N."""
        network = self.options.get("network", {"kind": "pointer"})
        return bool(network["kind"] == "pointer")


# The paper's width, blocks and heads; its rate and sizes of batches are lost. SRR's schedule is
# the paper's share of a training (iterations 10 to 60), which here has fewer iterations.
_PAPER = {"lr": 2e-3, "gamma": 0.99, "entropy_coeff": 0.005}
_SRR = {"srr_start_iteration": 5, "srr_warmup_iterations": 25}
# Rates, discount per second and entropy were chosen on validation episodes, one seed each.
_EVENT = {"network": _LARGE, "lr": 2e-3, "gamma": 0.7, "lambda_": 0.8, "entropy_coeff": 0.003}

LEARNERS: Mapping[str, Learner] = {
    SCALE: Learner("paper", options={**_PAPER, **_SRR, "srr": True}),
    CROSS_ATTN: Learner("paper", options={**_PAPER, "srr": False}),
    PPO: Learner("paper", options={**_PAPER, "srr": False, "network": _MLP}),
    PPO_SRR: Learner("paper", options={**_PAPER, **_SRR, "srr": True, "network": _MLP}),
    DQN: Learner("paper", "vdn", {"network": {**_MLP, "dueling": True}}),
    SAC: Learner("paper", "sac", {"network": _MLP}),
    POINTER: Learner("event", options={**_EVENT, "srr": False}),
    POINTER_SRR: Learner("event", options={**_EVENT, **_SRR, "srr": True}),
}


@cache
def training_of(config: StudyConfig, method: str, seed: int) -> Training:
    """Return the training of a method at N = 16."""
    learner = LEARNERS[method]
    point = trained_in(learner.family)
    replaying = learner.algorithm != "scale"
    length = config.length(learner.family, off_policy=replaying)
    if replaying:
        envs, steps = _REPLAYING_ENVS, _REPLAYING_STEPS
        iterations = length // (envs * steps)
    else:
        envs, steps, iterations = _ENVS, _STEPS, length
    options = {
        "num_envs_per_env_runner": envs,
        "rollout_fragment_length": steps,
        **_usual(learner, length, iterations * envs * steps),
        **learner.options,
    }
    recipe = Recipe(
        env=ENVIRONMENT,
        algorithm=learner.algorithm,
        options=options,
        env_config={"scenario": point.scenario.model_dump(), **ENV[learner.family]},
        seed=seed,
    )
    return Training(
        method,
        recipe,
        Limits(iterations=iterations),
        point.episodes(_VALIDATION_EPISODES, validation=True),
        metrics=("return", "length", "response_s"),
        further={"family": learner.family},
    )


def _usual(learner: Learner, length: int, env_steps: int) -> dict[str, Any]:
    """Return options that all learners of an algorithm share, by the length of the training."""
    if learner.algorithm == "vdn":
        epsilon = [(0, 1.0), (length // 2, 0.02)]
        return {"epsilon": epsilon, "observation_normalisation": False}
    if learner.algorithm == "sac":
        return {"target_entropy": 0.1}
    return {
        "train_batch_size_per_learner": _ENVS * _STEPS,
        "minibatch_size": 1024,
        "num_epochs": 4,
        "cosine_steps": env_steps,
    }
