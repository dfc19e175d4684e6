"""Actions that are, or have, a vector in a box: their distribution, and learning by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.tune import register_env
from torch.distributions import Beta, Categorical, kl_divergence

from edge_marl.algorithms import (
    CTOConfig,
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
from edge_marl.algorithms.networks.vectors import ABSENT, BetaVectors
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.envs.batched import make_batched
from edge_marl.errors import InputError
from edge_marl.simulation import Hybrid
from tests.algorithms.archery import Archery

ARCHERY = "archery"
BOXES = (((0.0, 0.0), (0.0, 0.0)), ((-3.0, 5.0), (0.0, 10.0)), ((0.0, 10.0), (0.0, 0.0)))


@pytest.fixture(autouse=True)
def archery() -> None:
    register_env(ARCHERY, lambda config: Archery())


# The distribution ----------------------------------------------------------------------------


def distributions() -> tuple[torch.Tensor, BetaVectors]:
    outputs = torch.randn(7, 6, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    return outputs, BetaVectors.of_outputs(3.0 * outputs)


def test_a_number_has_the_beta_distribution_that_the_outputs_say() -> None:
    outputs, found = distributions()
    alpha = 1.0 + np.log1p(np.exp(3.0 * outputs[:, :3].numpy()))
    beta = 1.0 + np.log1p(np.exp(3.0 * outputs[:, 3:].numpy()))
    vectors = np.random.default_rng(0).uniform(0.01, 0.99, alpha.shape)
    expected = scipy.stats.beta(alpha, beta)
    for ours, theirs in (
        (found.mean, expected.mean()),
        (found.log_probabilities(torch.from_numpy(vectors)), expected.logpdf(vectors).sum(-1)),
        (found.entropies(torch.from_numpy(vectors)), expected.entropy().sum(-1)),
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-9)


def test_divergences_are_those_of_torch() -> None:
    _, one = distributions()
    other = BetaVectors(one.alpha.flip(0), one.beta.flip(0))
    expected = kl_divergence(Beta(*one), Beta(*other)).sum(-1)
    torch.testing.assert_close(one.divergences(other, torch.zeros(7, 3)), expected)


def test_numbers_that_are_not_there_count_for_nothing() -> None:
    _, found = distributions()
    vectors = torch.full((7, 3), 0.3, dtype=torch.double)
    vectors[:, 1] = ABSENT
    others = BetaVectors(found.alpha[:, ::2], found.beta[:, ::2])
    there = vectors[:, ::2]
    torch.testing.assert_close(found.log_probabilities(vectors), others.log_probabilities(there))
    torch.testing.assert_close(found.entropies(vectors), others.entropies(there))
    flipped, others_flipped = (BetaVectors(b.beta, b.alpha) for b in (found, others))
    torch.testing.assert_close(
        found.divergences(flipped, vectors), others.divergences(others_flipped, there)
    )


def test_draws_are_inside_the_bounds_with_the_mean_of_the_distribution() -> None:
    torch.manual_seed(0)
    sharp = BetaVectors(torch.tensor([1.0, 1e6, 3.0]), torch.tensor([1e6, 1.0, 1.0]))
    drawn = torch.stack([sharp.sample() for _ in range(2000)])
    assert ((drawn > 0.0) & (drawn < 1.0)).all()
    assert torch.isfinite(sharp.log_probabilities(drawn)).all()
    torch.testing.assert_close(drawn.mean(0), sharp.mean, atol=0.02, rtol=0.0)


# Environments --------------------------------------------------------------------------------


def test_an_environment_is_described_and_played_between_its_bounds() -> None:
    env = make_batched(ARCHERY, {}, 2)
    assert env.action_spec.n == 3
    assert env.action_spec.boxes == BOXES
    observation = env.reset(np.arange(2))
    assert observation.action_mask[0].tolist() == [
        [True, True, True], [True, False, False], [True, True, False]
    ]  # fmt: skip
    goals = observation.features[:, 0]
    vectors = np.zeros((2, 3, 2))
    vectors[:, 1] = goals[:, :2]
    vectors[:, 2, 0] = goals[:, 2]
    choices = np.stack([np.rint(2 * goals[:, 0]), [0, 0], np.rint(goals[:, 1])], axis=1)
    transition = env.step(Hybrid(choices.astype(np.int64), vectors))
    np.testing.assert_allclose(transition.reward, 0.0, atol=1e-6)
    assert not transition.observation.action_mask[:, 2].any()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.MultiDiscrete([2, 2]), "expected Discrete, Box or one of each, found MultiDisc"),
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Discrete(2)),
            "expected Discrete, Box or one of each, found Dict",
        ),
        (spaces.Box(-np.inf, 1, (2,)), "expected a Box of bounded floats, found Box"),
        (spaces.Box(0, 9, (2,), np.int32), "expected a Box of bounded floats, found Box"),
    ],
)
def test_other_actions_are_refused(space: spaces.Space[Any], message: str) -> None:
    class Other(Archery):
        action_spaces = Archery.action_spaces | {"archer": space}

    with pytest.raises(InputError, match=f"action space of archer: {message}"):
        make_batched(lambda config: Other(), {}, 1)


# Learning ------------------------------------------------------------------------------------


def mappo(**options: Any) -> AlgorithmConfig:
    return MAPPOConfig().training(
        train_batch_size_per_learner=1024, minibatch_size=256, num_epochs=8, lr=3e-3,
        team_reward="own", **options,
    )  # fmt: skip


def replayed(config_class: type, **options: Any) -> AlgorithmConfig:
    found: AlgorithmConfig = config_class().training(
        train_batch_size_per_learner=1024, num_steps_sampled_before_learning_starts=1000,
        updates_per_batch=60, minibatch_size=256, gamma=0.0, lr=1e-3, critic_lr=3e-3, **options,
    )  # fmt: skip
    return found


INDEPENDENT = {
    "critic": "local",
    "parameter_sharing": "independent",
    "decisions_only": True,
    "independent_learners": True,
}
LEARNERS: dict[str, Callable[[], AlgorithmConfig]] = {
    "mappo": lambda: mappo(decisions_only=True, use_kl_loss=True),
    "mappo, gru": lambda: mappo(network={"gru": 32}),
    "ippo": lambda: mappo(critic="local"),
    "independent": lambda: mappo(**INDEPENDENT),
    "maddpg": lambda: replayed(MADDPGConfig),
    "cto": lambda: replayed(CTOConfig, epsilon=0.3),
    "cto, td3": lambda: replayed(
        CTOConfig, epsilon=0.3, twin_critics=True, policy_delay=2, noise="gaussian",
        parameter_sharing={"picker": "a", "archer": "b", "both": "b"},
    ),
}  # fmt: skip


def build(config: AlgorithmConfig) -> Algorithm:
    return config.environment(ARCHERY).debugging(seed=0).build_algo()


def errors(algorithm: Algorithm) -> np.ndarray:
    """How far off each agent is on average in the first step, without exploring."""
    from edge_marl.algorithms.actors import decide

    actor, env = algorithm.actor(), make_batched(ARCHERY, {}, 128)
    seen = env.reset(np.arange(128))
    features, mask = torch.from_numpy(seen.features), torch.from_numpy(seen.action_mask)
    hidden = actor.initial_hidden(128) if actor.is_recurrent else None
    with torch.no_grad():
        outputs, _ = actor(features, mask, hidden)
        played = decide(actor, features, outputs, mask).played
    return -env.step(played).reward.mean(0)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("recipe", LEARNERS.values(), ids=LEARNERS)
def test_agents_learn_to_aim(recipe: Callable[[], AlgorithmConfig]) -> None:
    algorithm = build(recipe())
    before = errors(algorithm)
    for _ in range(40):
        algorithm.train()
        after = errors(algorithm)
        if (after < 0.15).all():
            break
    algorithm.stop()
    assert (before > 0.3).all()
    assert (after < 0.15).all()


@pytest.mark.usefixtures("local_ray")
def test_what_is_recorded_is_what_was_drawn_and_how_probable_it_was() -> None:
    algorithm = build(mappo(use_kl_loss=True))
    (sampled,) = algorithm.env_runner.sample()
    algorithm.stop()
    batch = {name: torch.from_numpy(c) for name, c in sampled[DEFAULT_MODULE_ID].items()}
    vectors, outputs = batch[Fragment.VECTORS], batch[Columns.ACTION_DIST_INPUTS]
    decides = batch[Fragment.ACTION_MASK][:, :-1].any(-1)
    absent = torch.tensor([[True, True], [False, False], [False, True]])
    assert decides[..., :2].all()
    assert 0 < decides[..., 2].float().mean() < 1
    assert ((vectors == ABSENT) == (absent | ~decides[..., None])).all()
    choice = Categorical(logits=outputs[..., :3]).log_prob(batch[Columns.ACTIONS])
    alpha, beta = (1.0 + torch.nn.functional.softplus(outputs[..., 3:])).chunk(2, dim=-1)
    inside = torch.where(vectors == ABSENT, 0.5, vectors)
    numbers = torch.where(vectors == ABSENT, 0.0, Beta(alpha, beta).log_prob(inside)).sum(-1)
    expected = (choice + numbers)[decides]
    torch.testing.assert_close(batch[Columns.ACTION_LOGP][decides], expected)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "config_class",
    [VDNConfig, QMIXConfig, DiscreteSACConfig, MADQNConfig, O2OConfig, SCOFConfig, SCALEConfig],
)
def test_who_learns_choices_alone_says_so(config_class: type) -> None:
    with pytest.raises(InputError, match="env: expected discrete actions, found actions in a box"):
        build(config_class())


@pytest.mark.usefixtures("local_ray")
def test_fauno_learns_with_vectors() -> None:
    algorithm = build(FAuNOConfig().training(train_batch_size_per_learner=1024, lr=3e-3))
    before = errors(algorithm)
    for _ in range(8):
        algorithm.train()
    after = errors(algorithm)
    algorithm.stop()
    assert after.sum() < 0.75 * before.sum()
