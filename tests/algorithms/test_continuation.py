"""A training that is continued, however, is the one that was never left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune.schedulers import PopulationBasedTraining

from edge_marl.algorithms import (
    DiscreteSACConfig,
    FAuNOConfig,
    MAPPOConfig,
    QMIXConfig,
    SCOFConfig,
)
from edge_marl.algorithms.sampling import BatchedEnvRunner
from edge_marl.errors import InputError
from tests.algorithms.clusters import CLUSTER, register_clusters

PPO = {
    "train_batch_size_per_learner": 80,
    "minibatch_size": 40,
    "num_epochs": 2,
    "lr": [[0, 1e-2], [800, 1e-3]],
    "entropy_coeff": [[0, 0.5], [800, 0.0]],
    "use_kl_loss": True,
    "kl_target": 1e-4,  # the coefficient grows in every iteration
    "reward_scaling": True,
    "observation_normalisation": True,
}
REPLAY = {
    "num_steps_sampled_before_learning_starts": 0,
    "train_batch_size_per_learner": 32,
    "replay_capacity": 400,
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "mappo": lambda: MAPPOConfig().training(**PPO, network={"gru": 4}),
    "alone": lambda: MAPPOConfig().training(
        **PPO | {"use_kl_loss": False},
        critic="local",
        team_reward="own",
        decisions_only=True,
        parameter_sharing="independent",
        independent_learners=True,
    ),
    "fauno": lambda: FAuNOConfig().training(
        **{name: PPO[name] for name in ("train_batch_size_per_learner", "minibatch_size", "lr")},
        late_ticks=9.0,
        drop_rate=0.1,
        staleness="polynomial",
        server_optimiser="adam",
        proximal=0.01,
        stragglers=0.3,
        slowness=2,
    ),
    "scof": lambda: SCOFConfig().training(
        train_batch_size_per_learner=PPO["train_batch_size_per_learner"],
        minibatch_size=4,
        updates_per_batch=3,
        replay_capacity=50,
        late_ticks=9.0,
        proximal=0.01,
        epsilon=[(0, 1), (800, 0)],
    ),
    "qmix": lambda: QMIXConfig().training(**REPLAY, replay_alpha=0.6, epsilon=[(0, 1), (800, 0)]),
    "sac": lambda: DiscreteSACConfig().training(**REPLAY, target_entropy=0.5),
}


@pytest.fixture(scope="module", autouse=True)
def clusters(local_ray: None) -> None:
    register_clusters()


def configured(name: str, runners: int = 0, learners: int = 0, seed: int = 1) -> Any:
    return (
        CONFIGS[name]()
        .environment(CLUSTER)
        .env_runners(
            num_env_runners=runners, num_envs_per_env_runner=7, rollout_fragment_length=5
        )
        .env_runners(num_cpus_per_env_runner=0)  # more processes than processors
        .learners(num_learners=learners, num_cpus_per_learner=0)
        .debugging(seed=seed)
        .experimental(_validate_config=False)  # RLlib wants batches to be whole rounds
    )  # fmt: skip


def iterations(algorithm: Algorithm, n: int) -> list[Any]:
    """Of each: what the episodes earned, and all weights of the learner."""
    found = []
    for _ in range(n):
        returns = algorithm.train()["env_runners"].get("episode_return_mean")
        weights = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
        found.append((returns, {name: np.array(weight) for name, weight in weights.items()}))
    return found


def assert_alike(found: list[Any], expected: list[Any]) -> None:
    for (returns, weights), (same_returns, same) in zip(found, expected, strict=True):
        assert returns == same_returns
        for name, weight in same.items():
            np.testing.assert_array_equal(weights[name], weight, err_msg=name)


@pytest.mark.parametrize(
    ("name", "runners", "learners", "ways"),
    [
        ("mappo", 0, 0, {"restore", "exploit"}),
        ("alone", 0, 0, {"exploit"}),
        ("fauno", 0, 0, {"restore"}),
        ("scof", 0, 0, {"exploit"}),
        # Processes take seconds to start: new ones, and the other algorithms with any, are slow.
        # One runner plays 35 fragments, which two learners cannot share alike.
        ("mappo", 1, 2, set()),
        pytest.param("mappo", 2, 2, {"restore"}, marks=pytest.mark.slow),
        pytest.param("qmix", 2, 0, {"exploit"}, marks=pytest.mark.slow),
        pytest.param("sac", 0, 2, {"exploit"}, marks=pytest.mark.slow),
    ],
)
def test_the_next_three_iterations_are_those_of_the_uninterrupted_run(
    name: str, runners: int, learners: int, ways: set[str], tmp_path: Path
) -> None:
    algorithm = configured(name, runners, learners).build_algo()
    iterations(algorithm, 2)
    algorithm.save_to_path(tmp_path)
    expected = iterations(algorithm, 3)
    algorithm.restore_from_path(str(tmp_path))  # back to where it was
    assert_alike(iterations(algorithm, 3), expected)
    first, *others = algorithm.learner_group.foreach_learner(
        lambda learner: learner.module[DEFAULT_MODULE_ID].state_dict()
    )
    for other in others:
        torch.testing.assert_close(other.get(), first.get(), rtol=0, atol=0)
    algorithm.stop()
    if "restore" in ways:
        restored = Algorithm.from_checkpoint(tmp_path)
        assert_alike(iterations(restored, 3), expected)
        restored.stop()
    if "exploit" in ways:
        exploiting = configured(name, runners, learners, seed=2).build_algo()  # a member of PBT
        iterations(exploiting, 3)
        exploiting.restore_from_path(str(tmp_path))
        assert_alike(iterations(exploiting, 3), expected)
        exploiting.stop()


class LeftError(Exception):
    """Who trains wants to stop."""


# Slow: processes.
@pytest.mark.parametrize("n_runners", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_remote_runners_had_played_when_it_was_left_is_not_lost(
    n_runners: int, tmp_path: Path
) -> None:
    left = configured("mappo", n_runners).build_algo()
    iterations(left, 1)
    left.save_to_path(tmp_path / "first")
    expected = iterations(left, 2)
    left.restore_from_path(str(tmp_path / "first"))

    def leave() -> None:
        raise LeftError

    left.watch(leave)
    with pytest.raises(LeftError):
        left.training_step()
    left.save_to_path(tmp_path / "left")
    left.stop()
    restored = Algorithm.from_checkpoint(tmp_path / "left")
    assert_alike(iterations(restored, 2), expected)
    restored.stop()


def episodes(runners: list[BatchedEnvRunner] | Algorithm) -> set[int]:
    """Seeds of the episodes that begin next."""

    def drawn(runner: Any) -> list[int]:
        seeds: list[int] = runner._draw_seeds().tolist()
        return seeds

    if isinstance(runners, Algorithm):
        found = runners.env_runner_group.foreach_env_runner(drawn, local_env_runner=False)
    else:
        found = list(map(drawn, runners))
    return {seed for seeds in found for seed in seeds}


# Slow: processes; with fewer runners a state is given to the wrong one, with more one is missing.
@pytest.mark.parametrize("n_runners", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_with_other_runners_no_episode_is_played_twice(n_runners: int, tmp_path: Path) -> None:
    first = episodes([BatchedEnvRunner(config=configured("mappo"), worker_index=k) for k in (1, 2)])
    algorithm = configured("mappo", 2).build_algo()
    algorithm.train()
    algorithm.save_to_path(tmp_path)
    going_on = episodes(algorithm)
    algorithm.stop()
    other = configured("mappo", n_runners).build_algo()
    assert episodes(other) & first  # it would begin alike
    other.restore_from_path(str(tmp_path))
    assert not episodes(other) & (first | going_on)
    other.stop()


def test_a_runner_in_the_place_of_a_lost_one_has_other_episodes() -> None:
    first, later = (BatchedEnvRunner(config=configured("mappo"), worker_index=1) for _ in "ab")
    later.set_state({"num_env_steps_sampled_lifetime": 640})
    assert not episodes([first]) & episodes([later])


# With other options ------------------------------------------------------------------------


def restored(name: str, folder: Path, **options: Any) -> Algorithm:
    algorithm = configured(name).training(**options).build_algo()
    algorithm.restore_from_path(str(folder))
    return algorithm


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name in CONFIGS:
        algorithm = configured(name).build_algo()
        iterations(algorithm, 3)
        folders[name] = tmp_path_factory.mktemp(name)
        algorithm.save_to_path(folders[name])
        algorithm.stop()
    return folders


def test_changed_options_take_effect_at_once(checkpoints: dict[str, Path]) -> None:
    algorithm = restored("mappo", checkpoints["mappo"], lr=0.125, entropy_coeff=0.25, kl_coeff=7.0)
    learner = algorithm.learner_group._learner
    assert float(learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]) == 7.0
    result = algorithm.train()["learners"][DEFAULT_MODULE_ID]
    assert result["default_optimizer_learning_rate"] == 0.125
    assert learner._optimiser.param_groups[0]["lr"] == 0.125
    assert result["curr_entropy_coeff"] == 0.25
    algorithm.stop()

    algorithm = restored("sac", checkpoints["sac"], alpha=0.5, target_entropy=None)
    assert algorithm.train()["learners"][DEFAULT_MODULE_ID]["alpha"] == pytest.approx(0.5)
    algorithm.stop()


def test_the_learning_rate_of_an_update_is_that_of_its_steps() -> None:
    algorithm = configured("mappo").training(lr=[[0, 1.0], [1000, 0.0]]).build_algo()
    used = []
    learner = algorithm.learner_group._learner
    step = learner.gradient_step

    def note(*how: Any, **more: Any) -> Any:
        used.append(learner._optimiser.param_groups[0]["lr"])
        return step(*how, **more)

    learner.gradient_step = note
    algorithm.train()
    assert used == [pytest.approx(1 - algorithm.env_steps_sampled / 1000)] * len(used)
    algorithm.stop()


@pytest.mark.parametrize("capacity", [40, 120, 4000])
def test_a_replay_of_another_capacity_keeps_the_latest(
    checkpoints: dict[str, Path], capacity: int
) -> None:
    held = restored("qmix", checkpoints["qmix"])
    algorithm = restored("qmix", checkpoints["qmix"], replay_capacity=capacity)
    before, after = held.replay, algorithm.replay
    n = min(before._size, capacity // 5)
    assert after._size == n
    for name, column in after._ring.items():
        np.testing.assert_array_equal(
            column[:n], before._ring[name][before._size - n : before._size]
        )
    algorithm.train()
    for one in (held, algorithm):
        one.stop()


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("mappo", {"critic": "local"}, "critic: expected 'central', as in the checkpoint, found"),
        ("mappo", {"network": {"gru": 8}}, "network: expected .* as in the checkpoint, found"),
        ("mappo", {"value_normalisation": False}, "value_normalisation: expected True, as in"),
        ("qmix", {"mixer": "sum"}, "mixer: expected 'qmix', as in the checkpoint, found 'sum'"),
        ("qmix", {"mixer_embedding": 8}, "mixer_embedding: expected 32, as in the checkpoint"),
    ],
)
def test_what_cannot_change_is_refused_by_name(
    checkpoints: dict[str, Path], name: str, options: dict[str, Any], line: str
) -> None:
    algorithm = configured(name).training(**options).build_algo()
    with pytest.raises(InputError, match=f"^{line}"):
        algorithm.restore_from_path(str(checkpoints[name]))
    algorithm.stop()


# Slow: processes of trials. That a checkpoint is taken over with other options is tested above.
@pytest.mark.slow
def test_population_based_training_through_ray_tune(tmp_path: Path) -> None:
    """A trial that takes over another's checkpoint learns at its own rate from then on."""
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="env_runners/episode_return_mean",
        mode="max",
        perturbation_interval=2,
        quantile_fraction=0.5,
        resample_probability=1.0,
        hyperparam_mutations={"lr": tune.loguniform(1e-4, 1e-2)},
        synch=True,
    )
    config = configured("mappo").training(lr=tune.loguniform(1e-4, 1e-2), entropy_coeff=0.0)
    results = tune.Tuner(
        config.algo_class,
        param_space=config.env_runners(num_env_runners=0).resources(num_cpus_for_main_process=1),
        tune_config=tune.TuneConfig(scheduler=scheduler, num_samples=2),
        run_config=tune.RunConfig(
            stop={"training_iteration": 6}, storage_path=str(tmp_path), verbose=0
        ),
    ).fit()
    assert not results.errors
    assert scheduler._num_perturbations > 0
    used = f"learners/{DEFAULT_MODULE_ID}/default_optimizer_learning_rate"
    for result in results:
        rows = result.metrics_dataframe
        assert rows is not None
        np.testing.assert_allclose(rows[used], rows["config/lr"])
        assert result.metrics is not None
        assert result.metrics["training_iteration"] == 6
