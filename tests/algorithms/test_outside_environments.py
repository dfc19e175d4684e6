"""What environments of others ask of the algorithms: agents that come and go, pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune import register_env

from edge_marl import memory
from edge_marl.algorithms import DiscreteSACConfig, MAPPOConfig, QMIXConfig, VDNConfig
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.errors import InputError
from tests.envs.foreign import Pictures, StateIsAPicture

pytestmark = pytest.mark.usefixtures("local_ray")

N_SYMBOLS, N_ACTIONS = 7, 3


class Visitor(ParallelEnv[str, Any, int]):
    """A host plays two steps; a visitor joins for the second, is shown a symbol, and acts once.

    The symbol says which of three actions earns 1; nothing else does.
    """

    metadata = {"name": "visitor"}  # noqa: RUF012

    def __init__(self) -> None:
        self.possible_agents = ["host", "visitor"]

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(N_SYMBOLS)

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return spaces.Discrete(N_ACTIONS)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.symbol = int(np.random.default_rng(seed).integers(N_SYMBOLS))
        self.agents = ["host"]
        return {"host": 0}, {}

    def step(self, actions: dict[str, int]) -> Any:
        right = actions.get("visitor") == self.symbol % N_ACTIONS
        seen = {"host": 0, "visitor": self.symbol}
        over = "visitor" in actions
        self.agents = [] if over else ["host", "visitor"]
        flags = dict.fromkeys(seen, over)
        return seen, {"visitor": float(right)}, flags, dict.fromkeys(seen, False), {}


def replayed(config_class: type, **options: Any) -> AlgorithmConfig:
    return (
        config_class()
        .env_runners(num_envs_per_env_runner=64, rollout_fragment_length=6)
        .training(
            num_steps_sampled_before_learning_starts=256,
            train_batch_size_per_learner=128,
            training_intensity=8.0,
            lr=5e-3,
            **options,
        )
    )


def mappo(**options: Any) -> AlgorithmConfig:
    return MAPPOConfig().training(
        train_batch_size_per_learner=512, minibatch_size=128, num_epochs=8, lr=5e-3, **options
    )


LEARNERS: dict[str, Callable[[], AlgorithmConfig]] = {
    "mappo": mappo,
    "ippo": lambda: mappo(critic="local", team_reward="own"),
    "mappo, gru": lambda: mappo(network={"gru": 16}),
    "vdn": lambda: replayed(VDNConfig, epsilon=0.5, target_update_interval=20),
    "qmix": lambda: replayed(QMIXConfig, epsilon=0.5, target_update_interval=20),
    "sac": lambda: replayed(DiscreteSACConfig),
}


def build(config: AlgorithmConfig, env: type) -> Algorithm:
    register_env(env.__name__, lambda config: env())
    return config.environment(env.__name__).debugging(seed=0).build_algo()


@pytest.mark.parametrize("recipe", LEARNERS.values(), ids=LEARNERS)
def test_who_joins_for_a_single_step_learns_it(recipe: Callable[[], AlgorithmConfig]) -> None:
    algorithm = build(recipe(), Visitor)
    symbols = np.arange(N_SYMBOLS)
    for _ in range(40):
        algorithm.train()
        actor = algorithm.actor()
        seen = torch.zeros(N_SYMBOLS, 2, N_SYMBOLS)
        seen[symbols, 1, symbols] = 1.0
        mask = torch.ones(N_SYMBOLS, 2, N_ACTIONS, dtype=torch.bool)
        hidden = actor.initial_hidden(N_SYMBOLS) if actor.is_recurrent else None
        with torch.no_grad():
            found = actor(seen, mask, hidden)[0][:, 1].argmax(-1).tolist()
        if found == (symbols % N_ACTIONS).tolist():
            break
    algorithm.stop()
    assert found == (symbols % N_ACTIONS).tolist()


PICTURES = 2 * 48  # bytes that two agents see
MASKS = 2 * 2


def small(config_class: type, **options: Any) -> AlgorithmConfig:
    config = replayed(config_class, replay_capacity=256, **options)
    return config.env_runners(num_envs_per_env_runner=4)


@pytest.mark.parametrize(
    ("config_class", "env", "expected"),
    [
        (VDNConfig, Pictures, PICTURES + MASKS),
        (QMIXConfig, Pictures, 2 * PICTURES + MASKS),  # the state is what all see
        (VDNConfig, StateIsAPicture, 4 * 4 + MASKS),
        (QMIXConfig, StateIsAPicture, 192 + 4 * 4 + MASKS),
        (DiscreteSACConfig, StateIsAPicture, 4 * 4 + MASKS),
    ],
)
def test_a_replay_holds_what_is_looked_at_and_pictures_as_they_are(
    config_class: type, env: type, expected: int
) -> None:
    algorithm = build(small(config_class), env)
    algorithm.train()
    assert algorithm.replay.step_bytes == expected
    algorithm.stop()


@pytest.mark.parametrize(
    ("config", "n_bytes", "what"),
    [
        (small(QMIXConfig), 256 * 214, r"a replay of 256 steps \(replay_capacity\)"),
        (small(VDNConfig), 256 * 22, r"a replay of 256 steps \(replay_capacity\)"),
        (
            mappo(),
            2 * 512 * 214,
            r"512 steps \(train_batch_size_per_learner, rollout_fragment_length\)",
        ),
        (
            mappo(critic="local"),
            2 * 512 * 22,
            r"512 steps \(train_batch_size_per_learner, rollout_fragment_length\)",
        ),
    ],
)
def test_what_would_not_fit_is_refused_before_it_is_taken(
    config: AlgorithmConfig, n_bytes: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: n_bytes - 1.0)
    with pytest.raises(InputError, match=f"^{what}: expected to fit into"):
        build(config.copy(), StateIsAPicture)
    monkeypatch.setattr(memory, "memory_limit", lambda: float(n_bytes))
    build(config.copy(), StateIsAPicture).stop()


@pytest.mark.parametrize("options", [{"observation_normalisation": True}, {"critic": "local"}])
def test_pictures_are_learnt_from_as_the_same_floats(options: dict[str, Any]) -> None:
    class InFloats(Pictures):
        seen = spaces.Box(0, 255, (4, 4, 3), np.float32)

        def show(self, agent: Any, number: int) -> Any:
            return super().show(agent, number).astype(np.float32)

    found = []
    for env in (Pictures, InFloats):
        algorithm = build(mappo(**options).env_runners(num_envs_per_env_runner=8), env)
        algorithm.train()
        learner = algorithm.learner_group._learner
        found.append(learner.module[DEFAULT_MODULE_ID].state_dict())
        algorithm.stop()
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-6)


def test_moments_of_pictures_are_those_of_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.randint(256, (50, 2, 3), dtype=torch.uint8)
    present = torch.rand(50) < 0.5
    one, other = RunningMoments((2, 3)), RunningMoments((2, 3))
    one.update(pictures.float(), present)
    monkeypatch.setattr("edge_marl.algorithms.networks.normalisation._AT_ONCE", 42)
    other.update(pictures, present)  # in parts
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)
