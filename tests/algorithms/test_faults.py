"""Faults on the real runtime: a lost env runner, losses that are not finite."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune import register_env

from edge_marl.algorithms.core.learner import DivergenceError
from edge_marl.algorithms.mappo import MAPPOConfig
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.value_decomposition import QMIXConfig
from edge_marl.errors import InputError
from tests.algorithms.conformance import Leavers, losses


class Deadly(Leavers):
    """Kills the first process that steps it while the file ``trap`` exists."""

    def __init__(self, trap: str) -> None:
        super().__init__()
        self.trap = Path(trap)

    def step(self, actions: dict[str, int]) -> Any:
        if self.t == 3 and self.trap.exists():
            try:
                self.trap.unlink()
            except FileNotFoundError:
                pass  # another process was first
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().step(actions)


class Poisoned(Leavers):
    """Rewards that are no numbers, from when ``poison`` is set."""

    poison = False

    def step(self, actions: dict[str, int]) -> Any:
        observations, rewards, *rest = super().step(actions)
        if self.poison:
            rewards = dict.fromkeys(rewards, float("nan"))
        return observations, rewards, *rest


def homely(home: int, config: Any) -> Leavers:
    if os.getpid() != home:
        raise InputError("homely: expected its own process, found another")
    return Leavers()


@pytest.fixture(scope="module", autouse=True)
def registered(local_ray: None) -> None:
    register_env("deadly", lambda config: Deadly(config["trap"]))
    register_env("poisoned", lambda config: Poisoned())
    register_env("homely", partial(homely, os.getpid()))


def mappo() -> AlgorithmConfig:
    return MAPPOConfig().training(
        train_batch_size_per_learner=256, minibatch_size=128, num_epochs=2
    )


def qmix() -> AlgorithmConfig:
    return (
        QMIXConfig()
        .env_runners(rollout_fragment_length=32)
        .training(num_steps_sampled_before_learning_starts=64, training_intensity=1.0)
    )


# Slow: processes; whoever learns, runners are replaced in one place.
@pytest.mark.parametrize("recipe", [mappo, pytest.param(qmix, marks=pytest.mark.slow)])
def test_a_runner_killed_in_mid_iteration(
    recipe: Callable[[], AlgorithmConfig], tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    algorithm = (
        recipe()
        .environment("deadly", env_config={"trap": str(trap)})
        .env_runners(num_env_runners=2, num_envs_per_env_runner=4)
        .build_algo()
    )
    delivered = count_delivered(algorithm)
    pids = runner_pids(algorithm)
    for iteration in range(4):
        if iteration == 1:
            trap.touch()
        result = algorithm.train()
        assert all(np.isfinite(list(losses(result).values())))
        counted = result["env_runners"]["num_env_steps_sampled_lifetime"]
        assert counted == sum(delivered)
    assert not trap.exists()
    assert len(set(pids) & set(runner_pids(algorithm))) == 1, "one survived, one was replaced"
    algorithm.stop()


def count_delivered(algorithm: Algorithm) -> list[int]:
    """The played steps of every batch of fragments that the algorithm receives from now on."""
    delivered: list[int] = []
    sample = algorithm.sample_fragments

    def counting(*args: Any, **kwargs: Any) -> Any:
        fragments = sample(*args, **kwargs)
        if fragments is not None:
            delivered.append(int(fragments[Fragment.VALID].sum()))
        return fragments

    algorithm.sample_fragments = counting
    return delivered


def runner_pids(algorithm: Algorithm) -> list[int]:
    pids: list[int] = algorithm.env_runner_group.foreach_env_runner(
        lambda _: os.getpid(), local_env_runner=False
    )
    return pids


def own_module(algorithm: Algorithm) -> torch.nn.Module:
    module: torch.nn.Module = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]
    return module


@pytest.fixture
def algorithm(request: pytest.FixtureRequest) -> Iterator[Algorithm]:
    """Trained for two iterations."""
    config = request.param().environment("poisoned").env_runners(num_envs_per_env_runner=4)
    built = config.debugging(seed=1).build_algo()
    for _ in range(2):
        built.train()
    yield built
    built.stop()


@pytest.mark.parametrize("algorithm", [mappo, qmix], indirect=True)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rewards_that_are_no_numbers(algorithm: Algorithm, value: float) -> None:
    sample = algorithm.sample_fragments

    def poisoned() -> Any:
        fragments = sample()
        fragments[Fragment.REWARDS][:] = value
        return fragments

    algorithm.sample_fragments = poisoned
    message = "loss term .* is not finite; so is the input (rewards|returns)"
    with pytest.raises(DivergenceError, match=message):
        algorithm.train()
    for weights in own_module(algorithm).state_dict().values():
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("algorithm", [mappo, qmix], indirect=True)
def test_an_environment_that_gives_rewards_that_are_no_numbers(
    algorithm: Algorithm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm.save_to_path(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Poisoned, "poison", True)
        message = r"leavers: reward of \w+ in step \d: expected finite numbers, found nan"
        with pytest.raises(InputError, match=message):
            algorithm.train()
    for value in own_module(algorithm).state_dict().values():
        assert torch.isfinite(value).all()

    restored = Algorithm.from_checkpoint(tmp_path)
    assert all(np.isfinite(list(losses(restored.train()).values())))
    restored.stop()


@pytest.mark.parametrize("algorithm", [mappo], indirect=True)
@pytest.mark.parametrize(
    ("part", "term"), [("actor.", "policy_loss, entropy"), ("critic.", "value_targets")]
)
def test_weights_that_are_no_numbers(algorithm: Algorithm, part: str, term: str) -> None:
    weights = dict(own_module(algorithm).named_parameters())
    last = [name for name in weights if name.startswith(part)][-1]
    with torch.no_grad():
        weights[last][:] = torch.nan
    before = {name: weight.clone() for name, weight in weights.items()}
    with pytest.raises(DivergenceError, match=f"loss term {term} is not finite"):
        algorithm.train()
    for name, weight in own_module(algorithm).named_parameters():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0, equal_nan=True)


def test_what_keeps_runners_from_being_made_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    config = mappo().environment("homely").env_runners(num_env_runners=1)
    with pytest.raises(InputError, match=r"^homely: expected its own process, found another$"):
        config.build_algo()
    assert "homely" not in capfd.readouterr().err
