"""Every algorithm keeps to what :mod:`tests.algorithms.conformance` asks of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from edge_marl.algorithms import (
    DiscreteSACConfig,
    FAuNOConfig,
    MADDPGConfig,
    MADQNConfig,
    MAPPOConfig,
    O2OConfig,
    QMIXConfig,
    SCALEConfig,
    SCOFConfig,
    VDNConfig,
)
from tests.algorithms import conformance
from tests.algorithms.conformance import OUTSIDE_ENV, Recipe

SMALL = {"num_envs_per_env_runner": 4}
NETWORK = {"hidden_sizes": (16,)}


def replayed(config_class: type, **options: Any) -> AlgorithmConfig:
    return (
        config_class()
        .env_runners(rollout_fragment_length=32, **SMALL)
        .training(
            num_steps_sampled_before_learning_starts=64,
            train_batch_size_per_learner=16,
            training_intensity=1.0,
            **{"network": NETWORK, **options},
        )
    )


def mappo(config_class: type = MAPPOConfig, **options: Any) -> AlgorithmConfig:
    return (
        config_class()
        .env_runners(**SMALL)
        .training(
            train_batch_size_per_learner=128,
            minibatch_size=64,
            num_epochs=2,
            **{"network": NETWORK, **options},
        )
    )


def decisions(config_class: type, **options: Any) -> AlgorithmConfig:
    return (
        config_class()
        .env_runners(**SMALL)
        .training(
            train_batch_size_per_learner=128,
            minibatch_size=8,
            updates_per_batch=4,
            num_steps_sampled_before_learning_starts=64,
            network=NETWORK,
            **options,
        )
    )


RECIPES: dict[str, Recipe] = {
    "vdn": lambda: replayed(VDNConfig, target_update_interval=2),
    "qmix": lambda: replayed(QMIXConfig, target_update_interval=2),
    "dueling": lambda: replayed(VDNConfig, network={**NETWORK, "dueling": True}),
    "sac": lambda: replayed(DiscreteSACConfig, target_entropy=0.5),
    "mappo": lambda: mappo(observation_normalisation=True, reward_scaling=True),
    "ippo": lambda: mappo(critic="local", team_reward="own"),
    "alone": lambda: mappo(
        critic="local",
        team_reward="own",
        decisions_only=True,
        parameter_sharing="independent",
        independent_learners=True,
    ),
    "fauno": lambda: mappo(FAuNOConfig),
    "scof": lambda: (
        SCOFConfig()
        .env_runners(**SMALL)
        .training(
            train_batch_size_per_learner=128, minibatch_size=8, updates_per_batch=4, network=NETWORK
        )
    ),
    "madqn": lambda: decisions(MADQNConfig, parameter_sharing="shared"),
    "maddpg": lambda: decisions(MADDPGConfig, n_step=2, twin_critics=True, policy_delay=2),
    "o2o": lambda: mappo(O2OConfig, guard_interval=1, guard_episodes=4),
    # Of tandem's queues and of agents unlike each other no network for servers can be made.
    "scale": lambda: mappo(
        SCALEConfig,
        network={**NETWORK, "kind": "mlp"},
        srr_start_iteration=0,
        srr_warmup_iterations=3,
        cosine_steps=2048,
    ),
}
pytestmark = pytest.mark.usefixtures("local_ray")
each_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


@each_recipe
@pytest.mark.parametrize("env", conformance.ENVS)
def test_trains(recipe: Recipe, env: str) -> None:
    conformance.check_trains(recipe, env)


@each_recipe
@pytest.mark.parametrize("env", conformance.ENVS)
def test_is_exact(recipe: Recipe, env: str, tmp_path: Path) -> None:
    conformance.check_is_exact(recipe, env, tmp_path)


@each_recipe
def test_evaluates(recipe: Recipe) -> None:
    conformance.check_evaluates(recipe, OUTSIDE_ENV)


# Slow: starting processes takes its time.
@pytest.mark.parametrize("name", ["mappo", pytest.param("qmix", marks=pytest.mark.slow)])
def test_remote_runners(name: str) -> None:
    conformance.check_remote_runners(RECIPES[name], "tandem_v0")


@each_recipe
def test_actor_export(recipe: Recipe, tmp_path: Path) -> None:
    conformance.check_actor_export(recipe, OUTSIDE_ENV, tmp_path)


@each_recipe
def test_config(recipe: Recipe) -> None:
    conformance.check_config(recipe)


@pytest.mark.parametrize("name", ["ippo", pytest.param("vdn", marks=pytest.mark.slow)])
def test_tunes(name: str, tmp_path: Path) -> None:
    conformance.check_tunes(RECIPES[name], "tandem_v0", tmp_path)


@pytest.mark.parametrize("name", ["vdn", "ippo"])
def test_leaves_nothing(name: str, tmp_path: Path) -> None:
    conformance.check_leaves_nothing(RECIPES[name], OUTSIDE_ENV, tmp_path)
