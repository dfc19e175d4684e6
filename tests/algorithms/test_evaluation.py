"""What RLlib's own evaluation says of a policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.metrics.stats import MeanStats

from edge_marl.algorithms import MAPPOConfig, QMIXConfig, SCALEConfig
from edge_marl.algorithms.actors import is_stochastic
from edge_marl.algorithms.sampling.episodes import EpisodeLog
from edge_marl.algorithms.sampling.means import EPISODE_MEAN, EpisodeMeanStats
from tests.algorithms.clusters import CLUSTER, register_clusters


@pytest.fixture(scope="module", autouse=True)
def clusters(local_ray: None) -> None:
    register_clusters()


def configured(config: Any, **evaluation: Any) -> Any:
    if not isinstance(config, QMIXConfig):
        config.training(minibatch_size=40)
    return (
        config.environment(CLUSTER)
        .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=10)
        .training(train_batch_size_per_learner=80)
        .evaluation(**evaluation)
        .debugging(seed=1)
    )


def test_means_are_over_episodes_and_not_over_runners() -> None:
    lookup = {EPISODE_MEAN: EpisodeMeanStats, "mean": MeanStats}
    root = MetricsLogger(root=True, stats_cls_lookup=lookup)
    runners = [MetricsLogger(root=False, stats_cls_lookup=lookup) for _ in range(3)]
    for runner, pair in zip(runners, [(10.0, 3), (2.0, 1), (float("nan"), 0)], strict=True):
        runner.log_value(("a", "b"), pair, reduce=EPISODE_MEAN, window=1)
    root.aggregate([runner.reduce() for runner in runners], key="all")
    assert root.peek(("all", "a", "b")) == 8.0
    assert root.peek(("all", "a", "b"), latest_merged_only=True) == 8.0
    assert root.reduce(compile=True)["all"]["a"]["b"] == 8.0


def test_several_runners_give_the_mean_over_all_episodes() -> None:
    alone = configured(MAPPOConfig(), evaluation_duration=7).build_algo()
    together = configured(
        MAPPOConfig().env_runners(num_cpus_per_env_runner=0),
        evaluation_duration=7, evaluation_num_env_runners=2, evaluation_config={"explore": False},
    ).build_algo()  # fmt: skip
    expected = alone.evaluate()["env_runners"]
    found = together.evaluate()["env_runners"]
    assert found["num_episodes"] == expected["num_episodes"] == 7
    assert found["episode_return_mean"] == pytest.approx(expected["episode_return_mean"])
    for algorithm in (alone, together):
        algorithm.stop()


def test_an_evaluation_as_long_as_a_training_iteration() -> None:
    algorithm = configured(
        MAPPOConfig().env_runners(num_cpus_per_env_runner=0).reporting(min_time_s_per_iteration=2),
        evaluation_interval=1, evaluation_duration="auto", evaluation_parallel_to_training=True,
        evaluation_num_env_runners=1, evaluation_duration_unit="timesteps",
    ).build_algo()  # fmt: skip
    for _ in range(2):
        result = algorithm.train()
    assert result["evaluation"]["env_runners"]["num_env_steps_sampled"] > 0
    algorithm.stop()


def test_values_are_evaluated_without_random_actions() -> None:
    algorithm = configured(
        QMIXConfig().training(epsilon=1.0).env_runners(num_cpus_per_env_runner=0),
        evaluation_duration=4, evaluation_num_env_runners=1,
    ).build_algo()  # fmt: skip
    first, second = (algorithm.evaluate()["env_runners"]["episode_return_mean"] for _ in range(2))
    assert first == second
    algorithm.stop()


def test_whether_a_pointer_network_waits_is_drawn_alike_in_every_evaluation() -> None:
    algorithm = configured(SCALEConfig(), evaluation_duration=16).build_algo()
    assert is_stochastic(algorithm.actor(), sampled=False)
    first, second = (algorithm.evaluate()["env_runners"]["episode_return_mean"] for _ in range(2))
    assert first == second
    algorithm.stop()


def test_training_keeps_its_window_through_several_evaluations() -> None:
    log = EpisodeLog(("one",), batch_size=1, window=10)
    log._finished.extend({"returns": np.ones(1), "length": 1, "metrics": {}} for _ in range(3))
    log.forget()
    log.forget()
    assert len(log._finished) == 0
    lookup = MAPPOConfig().stats_cls_lookup
    log.report(MetricsLogger(root=False, stats_cls_lookup=lookup))
    assert len(log._finished) == 3
