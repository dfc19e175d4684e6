"""VDN and QMIX trained on games whose answers are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune.registry import register_env

from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.value_decomposition import (
    QMIXConfig,
    ValueDecompositionConfig,
    VDNConfig,
)
from edge_marl.errors import InputError
from tests.algorithms.matrix_games import (
    CLIMBING,
    CORNER,
    LeavingGame,
    MatrixGame,
    MemoryGame,
    TwoAgentGame,
    TwoStepGame,
)

pytestmark = pytest.mark.usefixtures("local_ray")

GAMES: dict[str, Callable[[], TwoAgentGame | LeavingGame]] = {
    "climbing": partial(MatrixGame, CLIMBING),
    "corner": partial(MatrixGame, CORNER),
    "two_step": TwoStepGame,
    "memory": MemoryGame,
    "leaving": LeavingGame,
    "cut_off": partial(LeavingGame, truncate=True),
}


@pytest.fixture(scope="module", autouse=True)
def _registered(local_ray: None) -> None:
    for name, make in GAMES.items():
        register_env(name, lambda _, make=make: make())


def on(config: ValueDecompositionConfig, game: str, **training: Any) -> Any:
    """``config`` for a game: uniform exploration, small networks, many updates."""
    config.environment(game)
    config.env_runners(num_envs_per_env_runner=32, rollout_fragment_length=16)
    config.debugging(seed=1)
    options: dict[str, Any] = {
        "team_reward": "shared",
        "epsilon": 1.0,
        "loss": "mse",
        "lr": [[0, 3e-3], [1500, 3e-3], [2500, 2e-4]],
        "target_update_interval": 50,
        "training_intensity": 32.0,
        "num_steps_sampled_before_learning_starts": 100,
        "train_batch_size_per_learner": 128,
        "network": {"hidden_sizes": (32,)},
    }
    return config.training(**(options | training))


def trained(config: ValueDecompositionConfig, game: str, iterations: int, **training: Any) -> Any:
    algo = on(config, game, **training).build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


def learnt_module(algo: Any) -> Any:
    return algo.learner_group._learner.module[DEFAULT_MODULE_ID].unwrapped()


def joint_values(algo: Any, stage: int = 0) -> NDArray[np.float32]:
    """``[A, A]`` values of all joint actions of a two-agent game in a stage."""
    module, game = learnt_module(algo), GAMES[algo.config.env]()
    assert isinstance(game, TwoAgentGame)
    A = int(game.action_space("one").n)  # type: ignore[attr-defined]
    seen = torch.eye(game.n_stages)[stage]
    with torch.no_grad():
        own, _ = module.actor(seen.expand(1, 2, -1), torch.ones(1, 2, A, dtype=torch.bool))
        pairs = [own[0, range(2), pair] for pair in itertools.product(range(A), repeat=2)]
        shown = seen[: module.observation_space.state_size]  # VDN is shown none
        state = module.state_normaliser.normalise(shown).expand(A * A, -1)
        mixed = module.mixer(torch.stack(pairs), torch.ones(A * A, 2, dtype=torch.bool), state)
    return mixed.view(A, A).numpy()


def greedy_return(algo: Any, episodes: int = 1) -> float:
    """What the agents earn in an episode without exploration, on average."""
    game, module, total = GAMES[algo.config.env](), learnt_module(algo), 0.0
    assert isinstance(game, TwoAgentGame)
    legal = torch.ones(1, 2, int(game.action_space("one").n), dtype=torch.bool)  # type: ignore[attr-defined]
    for _ in range(episodes):
        seen, _ = game.reset()
        batch: dict[str, Any] = {}
        if module.actor.is_recurrent:
            batch["state_in"] = module.actor.initial_hidden(1)
        while game.agents:
            features = torch.from_numpy(np.stack([seen["one"], seen["two"]]))[None]
            batch["obs"] = {Fragment.FEATURES: features, Fragment.ACTION_MASK: legal}
            outputs = module.forward_inference(batch)
            batch["state_in"] = outputs.get("state_out")
            one, two = outputs["actions"][0].tolist()
            seen, rewards, *_ = game.step({"one": one, "two": two})
            total += rewards["one"]
    return total / episodes


def test_two_step_game_is_worth_7_to_vdn_and_8_to_qmix() -> None:
    """Table 2 and figure 3 of the QMIX paper."""
    vdn = trained(VDNConfig(), "two_step", 8, gamma=0.99)
    qmix = trained(QMIXConfig(), "two_step", 10, gamma=0.99)
    assert greedy_return(vdn) == 7
    assert greedy_return(qmix) == 8
    # The paper's table 2b, which is nearly exact; VDN's fit of 2B is additive (table 2a).
    np.testing.assert_allclose(joint_values(qmix, 1), 7.0, atol=0.15)
    np.testing.assert_allclose(joint_values(qmix, 2), CORNER, atol=0.15)
    np.testing.assert_allclose(joint_values(qmix)[1], 0.99 * 8.0, atol=0.15)
    np.testing.assert_allclose(joint_values(vdn, 2), [[-1.5, 2.5], [2.5, 6.5]], atol=0.4)


def test_monotonic_payoffs_fit_qmix_but_not_vdn() -> None:
    np.testing.assert_allclose(joint_values(trained(QMIXConfig(), "corner", 8)), CORNER, atol=0.05)
    additive = [[-1.5, 2.5], [2.5, 6.5]]  # least squares: row mean + column mean - mean
    np.testing.assert_allclose(joint_values(trained(VDNConfig(), "corner", 8)), additive, atol=0.4)


def test_the_monotonic_limit_shows_in_the_climbing_game() -> None:
    """Known from QTRAN (Son et al., 2019, table 1): both miss the optimum of 8."""
    vdn = trained(VDNConfig(), "climbing", 8)
    rows = CLIMBING.mean(1)
    additive = rows[:, None] + rows[None] - CLIMBING.mean()
    np.testing.assert_allclose(joint_values(vdn), additive, atol=1.0)
    assert greedy_return(vdn) == 0
    qmix = trained(QMIXConfig(), "climbing", 8)
    # The best monotonic fit: the mean of 8 and four times -12 where an agent plays its first.
    monotonic = np.where(CLIMBING == 0, 0.0, -8.0)
    np.testing.assert_allclose(joint_values(qmix), monotonic, atol=1.0)
    assert greedy_return(qmix) == 0


@pytest.mark.parametrize("config", [VDNConfig, QMIXConfig])
def test_agents_that_leave_and_forbidden_actions(config: Any) -> None:
    """Values of what is left of the episode, by hand: agents leave one after the other.

    The game asserts by itself that forbidden actions are not played, and that only agents that
    are there play. Present are 3, 2, 1 agents; each earns 1 for action 0 or 2.
    """
    algo = trained(
        config(),
        "leaving",
        10,
        team_reward="sum",
        gamma=0.5,
        num_steps_sampled_before_learning_starts=1,
    )
    module = learnt_module(algo)
    for t, n_present in ((0, 3), (1, 2), (2, 1)):
        features = torch.full((1, 3, 1), float(t))
        legal = torch.tensor([True, True, t % 2 == 0, False]).expand(1, 3, 4)
        with torch.no_grad():
            values, _ = module.actor(features, legal)
            best = values.masked_fill(~legal, -torch.inf).amax(-1)
            present = torch.arange(3)[None] >= 3 - n_present
            state = module.state_normaliser.normalise(_state_of(algo, t))
            mixed = module.mixer(best, present, state)
        worth = {0: 3 + 0.5 * (2 + 0.5 * 1), 1: 2 + 0.5 * 1, 2: 1}[t]
        assert mixed.item() == pytest.approx(worth, abs=0.25)


def _state_of(algo: Any, t: int) -> torch.Tensor:
    """State ``[1, S]`` in step t, from the replay."""
    ring = algo.replay.get_state()["ring"]
    present = ring["present"].sum(-1)
    row, step = np.argwhere(present == 3 - t)[0]
    return torch.from_numpy(ring["state"][row, step])[None]


def test_a_memory_is_learnt_and_used() -> None:
    def learnt(gru: int, iterations: int) -> Any:
        network = {"gru": gru, "hidden_sizes": (16,)}
        return trained(QMIXConfig(), "memory", iterations, gamma=0.9, network=network)

    assert greedy_return(learnt(gru=16, iterations=4), episodes=20) == 1.0
    assert greedy_return(learnt(gru=0, iterations=2), episodes=200) == pytest.approx(0.5, abs=0.15)


def test_truncation_bootstraps_and_termination_does_not() -> None:
    def remaining(game: str) -> set[int]:
        algo = trained(VDNConfig(), game, 1)
        drawn = algo.replay.sample(4, 64, gamma=0.5, n_step=1)
        last = drawn["present"].sum((1, 2)) == 1
        return set(np.unique(drawn["discounts"][last]).tolist())

    assert remaining("leaving") == {0.0}
    assert remaining("cut_off") == {0.5}


@pytest.mark.parametrize(
    ("config", "training"),
    [
        (QMIXConfig, {"replay_alpha": 0.6, "n_step": 3, "tau": 0.01, "target_update_interval": 1}),
        (QMIXConfig, {"network": {"gru": 16, "hidden_sizes": (16,)}, "n_step": 2}),
        (VDNConfig, {"double_q": False, "reward_scaling": True, "observation_normalisation": True}),
    ],
    ids=["prioritised", "gru", "normalised"],
)
def test_a_restored_run_goes_on_with_the_same_losses(
    config: Any, training: dict[str, Any], tmp_path: Path
) -> None:
    settings = on(config(), "tandem_v0", team_reward="sum", **training)
    settings.training(training_intensity=1.0, epsilon=[(0, 1.0), (1000, 0.1)])
    one = settings.build_algo()
    for _ in range(3):
        one.train()
    one.save_to_path(tmp_path / "checkpoint")
    expected = [_losses(one.train()) for _ in range(3)]
    other = type(one).from_checkpoint(tmp_path / "checkpoint")
    assert [_losses(other.train()) for _ in range(3)] == expected
    assert len({losses["td_loss"] for losses in expected}) == 3


def _losses(result: dict[str, Any]) -> dict[str, float]:
    learner = result["learners"][DEFAULT_MODULE_ID]
    return {name: learner[name] for name in ("td_loss", "td_error", "q_mean", "gradient_norm")}


def test_a_checkpoint_without_the_replay_starts_to_fill_it_again(tmp_path: Path) -> None:
    algo = trained(VDNConfig(), "two_step", 2, store_buffer_in_checkpoints=False)
    algo.save_to_path(tmp_path / "checkpoint")
    other = type(algo).from_checkpoint(tmp_path / "checkpoint")
    assert other.replay.n_steps == 0
    other.train()
    assert 0 < other.replay.n_steps < algo.replay.n_steps


@pytest.mark.slow
def test_several_learners_stay_alike() -> None:
    config = on(QMIXConfig(), "corner", replay_alpha=0.6, training_intensity=8.0)
    algo = config.learners(num_learners=2).build_algo()
    for _ in range(3):
        algo.train()
    found = algo.learner_group.foreach_learner(
        lambda learner: (learner._n_updates, learner._weights.detach().clone())
    )
    (n_updates, weights), (as_many, same) = [result.get() for result in found]
    assert n_updates == as_many > 0
    torch.testing.assert_close(weights, same, rtol=0, atol=0)
    algo.stop()


def test_targets_follow_when_due() -> None:
    config = on(QMIXConfig(), "corner", target_update_interval=50)
    algo = config.training(num_steps_sampled_before_learning_starts=1).build_algo()
    learner = algo.learner_group._learner

    module = learnt_module(algo)

    def distance() -> float:
        pairs = module.get_target_network_pairs()
        own = [parameter for network, _ in pairs for parameter in network.parameters()]
        followed = [parameter for _, network in pairs for parameter in network.parameters()]
        return max((a - b).detach().abs().max().item() for a, b in zip(own, followed, strict=True))

    assert distance() == 0
    algo.train()
    assert learner._n_updates == 64  # as many steps were played: every second only shows the end
    apart = distance()
    assert apart > 0
    learner._follow(0.25)
    assert distance() == pytest.approx(0.75 * apart, rel=1e-3)
    learner._follow(1.0)
    assert distance() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixer": "max"}, r"mixer: expected 'sum' or 'qmix', found 'max'"),
        ({"n_step": 0}, r"n_step: expected at least 1, found 0"),
        ({"tau": 1.5}, r"tau: expected at most 1, found 1.5"),
        ({"epsilon": [(5, 1.0), (9, 0.1)]}, r"epsilon: .* must be 0"),
        ({"replay_alpha": -1}, r"replay_alpha: expected at least 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        on(QMIXConfig(), "corner", **options).validate()


def test_exploration_follows_the_schedule_over_legal_actions() -> None:
    algo = on(QMIXConfig(), "leaving", epsilon=[(0, 1.0), (100, 0.0)]).build_algo()
    module = algo.env_runner.module[DEFAULT_MODULE_ID]
    legal = torch.tensor([True, False, True, True]).expand(2000, 3, 4)
    batch = {"obs": {Fragment.FEATURES: torch.zeros(2000, 3, 1), Fragment.ACTION_MASK: legal}}
    greedy = module.forward_inference(batch)["actions"]
    for t, epsilon in ((0, 1.0), (50, 0.5), (100, 0.0), (1000, 0.0)):
        actions = module.forward_exploration(batch, t=t)["actions"]
        shares = torch.bincount(actions.flatten(), minlength=4) / actions.numel()
        assert shares[1] == 0
        strayed = (actions != greedy).float().mean().item()
        assert strayed == pytest.approx(epsilon * 2 / 3, abs=0.03)
