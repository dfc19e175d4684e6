"""Declare how the learned methods of the study get their policies."""

from __future__ import annotations

from functools import cache

from edge_marl.experiments.cto_tp.config import (
    ENVIRONMENT,
    Method,
    Setting,
    StudyConfig,
    episodes_of,
)
from edge_marl.experiments.study.policies import Training
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe

METRICS = ("cost", "latency_s", "latency_p95_s", "energy_j", "offloaded", "waiting_s")
"""Of episodes, that are reported."""

_VALIDATION_EPISODES = 64
_BATCH = 16_384
_SECONDS_PER_DECISION = 5e-5
"""Of a core, roughly, with learning."""

# Chosen on validation episodes of the default setting.
_OPTIONS = {
    "num_envs_per_env_runner": 64,
    "train_batch_size_per_learner": _BATCH,
    "minibatch_size": 4096,
    "num_epochs": 5,
    "decisions_only": True,
    # Of a second. What a decision costs is charged with it, so that little is gained by looking
    # further ahead.
    "gamma": 0.9,
    "lambda_": 0.9,
    "observation_normalisation": True,
    # Some tasks cost a hundred times as much as others.
    "vf_clip_param": 1e6,
    "entropy_coeff": 0.001,
}


@cache
def training_of(config: StudyConfig, method: Method, setting: Setting, seed: int) -> Training:
    """Return the training of a method in a setting."""
    decisions = config.iterations * _BATCH
    options = {**_OPTIONS, "lr": [(0, 1e-3), (decisions, 1e-4)]}
    if method == "IPPO":
        options["critic"] = "local"
    recipe = Recipe(
        env=ENVIRONMENT,
        algorithm="mappo",
        options=options,
        env_config=dict(episodes_of(setting, 1).env_config),
        seed=seed,
    )
    return Training(
        method,
        recipe,
        Limits(iterations=config.iterations),
        episodes_of(setting, _VALIDATION_EPISODES, validation=True),
        metrics=METRICS,
        further={"setting": setting},
        seconds=decisions * _SECONDS_PER_DECISION,
    )
