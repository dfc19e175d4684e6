"""MADQN, MADDPG and CTO find answers that are known."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.registry import register_env

from edge_marl.algorithms import CTOConfig, MADDPGConfig, MADQNConfig
from edge_marl.algorithms.playing import play_batch
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from tests.algorithms import conformance
from tests.algorithms.matrix_games import CLIMBING, CORNER, MatrixGame, TwoStepGame

pytestmark = pytest.mark.usefixtures("local_ray")

GAMES = {
    "corner_game": partial(MatrixGame, CORNER),
    "climbing_game": partial(MatrixGame, CLIMBING),
    "two_step_game": TwoStepGame,
}


class QuadraticGame(ParallelEnv[str, Any, Any]):
    """Two agents choose a number each, in one step of which both know all there is to know.

    ``one`` is paid ``-(x - 0.2 - y / 2)²`` and ``two`` ``-(y - 0.6 + x / 2)²``: where nobody gains
    by moving alone, ``x = y = 0.4``. Paid together, they do best there, too, as both are paid 0.
    """

    metadata = {"name": "quadratic_game"}  # noqa: RUF012
    box = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.possible_agents = ["one", "two"]

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Box(0, 1, (1,), np.float32)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self.box

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = [*self.possible_agents]
        return self._seen(), {}

    def step(self, actions: dict[str, Any]) -> Any:
        x, y = float(actions["one"][0]), float(actions["two"][0])
        rewards = {"one": -((x - 0.2 - y / 2) ** 2), "two": -((y - 0.6 + x / 2) ** 2)}
        self.agents = []
        over = dict.fromkeys(rewards, True)
        return self._seen(), rewards, over, dict.fromkeys(rewards, False), {}

    def _seen(self) -> dict[str, Any]:
        return {agent: np.ones(1, np.float32) for agent in self.possible_agents}


@pytest.fixture(scope="module", autouse=True)
def _registered(local_ray: None) -> None:
    register_env("quadratic_game", lambda config: QuadraticGame())
    for name, make in GAMES.items():
        register_env(name, lambda _, make=make: make())


def on(config: AlgorithmConfig, env: str, env_config: Any = None, **options: Any) -> Any:
    """Return an algorithm on an environment, with many updates of small networks."""
    defaults: dict[str, Any] = {
        "train_batch_size_per_learner": 512, "num_steps_sampled_before_learning_starts": 500,
        "updates_per_batch": 100, "minibatch_size": 64, "lr": 1e-3, "gamma": 0.0, "tau": 0.05,
        "n_step": 1, "loss": "mse", "reward_scaling": False,
    }  # fmt: skip
    config.environment(env, env_config=env_config or {}).debugging(seed=1)
    config.env_runners(num_envs_per_env_runner=16)
    return config.training(**(defaults | options)).build_algo()


def trained(algorithm: Any, iterations: int) -> Any:
    """Train, and return the actor."""
    for _ in range(iterations):
        algorithm.train()
    actor = algorithm.actor()
    algorithm.stop()
    return actor


def test_maddpg_is_within_one_percent_of_the_optimum_of_a_quadratic_game() -> None:
    algorithm = on(
        MADDPGConfig(), "quadratic_game", noise="gaussian", noise_scale=[(0, 0.3), (4000, 0.05)],
        lr=[(0, 1e-3), (6000, 1e-3), (9000, 5e-5)], critic_lr=3e-3,
    )  # fmt: skip
    actor = trained(algorithm, 20)
    features = np.ones((1, 2, 1), np.float32)
    shares = _vectors(actor, features)[0, :, 0]
    width = 2.0  # of the box, from -1 on
    np.testing.assert_allclose(width * shares - 1.0, 0.4, atol=0.01 * width)


def _vectors(actor: Any, features: np.ndarray, choice: int = 0) -> np.ndarray:
    import torch

    with torch.no_grad():
        seen = torch.from_numpy(features)
        choices = torch.full(seen.shape[:2], choice)
        found: np.ndarray = actor.allocations(seen, choices).numpy()
    return found


@pytest.mark.parametrize(
    ("game", "best"), [("corner_game", 8.0), ("two_step_game", 7.0), ("climbing_game", 0.0)]
)
def test_madqn_finds_what_independent_learners_can_find(game: str, best: float) -> None:
    """Against partners that try everything, each settles for the best mean (climbing: 0, not 8)."""
    algorithm = on(MADQNConfig(), game, epsilon=1.0, gamma=0.99, team_reward="shared")
    actor = trained(algorithm, 10)
    env = make_batched(game, {}, 1)
    played = play_batch(actor, env, np.array([0]), sampled=False)
    assert played.returns[0] / 2 == best  # both are paid it


def test_maddpg_learns_choices_by_a_relaxation() -> None:
    algorithm = on(MADDPGConfig(), "corner_game", team_reward="shared")
    actor = trained(algorithm, 10)
    played = play_batch(actor, make_batched("corner_game", {}, 1), np.array([0]), sampled=False)
    assert played.returns[0] / 2 == 8.0


COOPERATIVE = "cooperative_offloading_v0"


def test_cto_finds_the_best_split_of_a_single_task() -> None:
    """Home and helper end together, all that is left is asked for."""
    scenario = {
        "servers": 2, "tasks": 1, "latency_weight": 1.0, "home_weights": (1.0, 1e-6),
        "load": {"sigma": 0.0},
    }  # fmt: skip
    of = CooperativeScenario.model_validate(scenario)
    speed, rate = 0.9 * 20.0, 0.9 * 125.0
    at_home_s = of.mean_gcycles / speed
    helper_s = at_home_s + of.mean_input_mb * (1.0 + of.output_share) / rate
    share = (at_home_s - 2 * 0.002) / (at_home_s + helper_s)
    best_s = (1.0 - share) * at_home_s
    algorithm = on(
        CTOConfig(), COOPERATIVE, {"scenario": scenario}, epsilon=0.3, minibatch_size=256,
        parameter_sharing="shared", replay_capacity=3000,
        noise="gaussian", noise_scale=[(0, 0.3), (8000, 0.1)],
        lr=[(0, 1e-3), (8000, 1e-3), (15000, 3e-5)],
        critic_lr=[(0, 3e-3), (8000, 3e-3), (15000, 1e-4)],
    )  # fmt: skip
    actor = trained(algorithm, 30)
    env = make_batched(COOPERATIVE, {"scenario": scenario}, 8)
    play_batch(actor, env, np.arange(8), sampled=False)
    found = env.metrics(np.ones(8, bool))
    assert found["alone"].mean() == 0.0
    np.testing.assert_allclose(found["offloaded"].mean(), share, atol=0.02)
    np.testing.assert_allclose(found["latency_s"].mean(), best_s, rtol=0.02)


def test_with_one_server_cto_executes_at_home_and_is_no_worse_than_the_rules() -> None:
    from edge_marl.cooperative_offloading import HEURISTICS
    from edge_marl.cooperative_offloading.simulator import CooperativeOffloadingSimulator
    from edge_marl.simulation import run

    scenario = {"servers": 1, "tasks": 40}
    algorithm = on(
        CTOConfig(), COOPERATIVE, {"scenario": scenario}, gamma=0.9, reward_scaling=True,
        noise_scale=[(0, 0.3), (15000, 0.05)],
    )  # fmt: skip
    actor = trained(algorithm, 25)
    env, seeds = make_batched(COOPERATIVE, {"scenario": scenario}, 64), np.arange(64)
    play_batch(actor, env, seeds, sampled=False)
    found = env.metrics(np.ones(64, bool))
    assert (found["alone"] == 1.0).all()
    make = partial(CooperativeOffloadingSimulator, CooperativeScenario.model_validate(scenario))
    for name in ("local_full", "local_proportional"):
        assert found["cost"].mean() < run(HEURISTICS[name](), make, seeds).cost.mean()


@pytest.mark.parametrize("config_class", [CTOConfig, MADDPGConfig])
def test_training_goes_on_to_the_bit_in_the_environment_of_the_paper(
    config_class: type, tmp_path: Path
) -> None:
    conformance.check_is_exact(
        lambda: config_class().env_runners(num_envs_per_env_runner=4).training(
            train_batch_size_per_learner=128, minibatch_size=8, updates_per_batch=4,
            num_steps_sampled_before_learning_starts=64, n_step=2, sync_interval=3,
            global_share=0.25,
        ), COOPERATIVE, tmp_path,
    )  # fmt: skip


def test_cto_refuses_choices_alone() -> None:
    with pytest.raises(InputError, match="env: expected actions with numbers in a box"):
        on(CTOConfig(), "corner_game")
