"""SCALE: the regularisation by hand, and what it learns on a toy cluster."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from edge_marl.algorithms import SCALEConfig
from edge_marl.algorithms.actors import greedy
from edge_marl.algorithms.mappo.rows import AGENT, PENALTIES, penalties
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.scale import srr
from edge_marl.errors import InputError
from tests.algorithms.clusters import CLUSTER, placements, register_clusters

FEATURES = torch.tensor([[1.0, 2.0], [3.0, 1.0], [5.0, 6.0]])
# Means 3 and 3; deviations (-2, -1), (0, -2), (2, 3).
COVARIANCE = torch.tensor([[8.0, 8.0], [8.0, 14.0]]) / 2


def small(**training: Any) -> SCALEConfig:
    return (
        SCALEConfig()
        .environment(CLUSTER, env_config={"n": 4})
        .env_runners(num_envs_per_env_runner=8)
        .debugging(seed=5)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=4, **training)
    )


def share_of_best(actor: Actor, n: int) -> float:
    """How often the dominating one of n servers is chosen."""
    features, mask, best = placements(n, rows=200, seed=9)
    legal = torch.from_numpy(mask)
    with torch.no_grad():
        outputs, _ = actor.resized(n)(torch.from_numpy(features), legal)
    return float((greedy(outputs, legal)[:, 0].numpy() == best).mean())


# Regularisation -----------------------------------------------------------------------------


def test_covariance_and_its_off_diagonal() -> None:
    torch.testing.assert_close(srr.covariance(FEATURES), COVARIANCE)
    assert srr.decorrelation(FEATURES).item() == pytest.approx(4 + 4)
    assert srr.mean_off_diagonal(FEATURES).item() == pytest.approx(4)
    assert srr.decorrelation(FEATURES * torch.tensor([1.0, -1.0])).item() == pytest.approx(8)


def test_divergence_from_the_standard_normal() -> None:
    expected = ((9 + 4 - math.log(4) - 1) + (9 + 7 - math.log(7) - 1)) / 4
    assert srr.kl_to_standard_normal(FEATURES).item() == pytest.approx(expected)
    normal = torch.tensor([[-1.0], [1.0]]) / math.sqrt(2)  # mean 0, variance 1 with B - 1
    assert srr.kl_to_standard_normal(normal).item() == pytest.approx(0, abs=1e-6)


def test_features_that_never_change_have_finite_statistics() -> None:
    still = torch.ones(5, 3, requires_grad=True)
    total = sum(srr.batch_statistics(still), torch.zeros(()))
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(still.grad).all()
    assert [found.item() for found in srr.batch_statistics(FEATURES[:1])] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("iteration", "weight"), [(1, 0.0), (10, 0.0), (11, 0.02), (35, 0.5), (60, 1.0), (300, 1.0)]
)
def test_weights_warm_up_from_iteration_10_to_60(iteration: int, weight: float) -> None:
    assert srr.warm_up(iteration, 10, 50) == pytest.approx(weight)


def test_the_learning_rate_falls_as_a_cosine() -> None:
    config = SCALEConfig().training(lr=2e-3, cosine_steps=6400)
    steps, rates = zip(*config.annealed_lr, strict=True)
    assert (steps[0], steps[-1]) == (0, 6400)
    expected = [1e-3 * (1 + math.cos(math.pi * step / 6400)) for step in steps]
    np.testing.assert_allclose(rates, expected, atol=1e-12)
    assert SCALEConfig().training(lr=2e-3).annealed_lr == 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"srr_kl_coeff": -1}, "srr_kl_coeff: expected at least 0, found -1"),
        ({"srr_warmup_iterations": 0}, "srr_warmup_iterations: expected at least 1, found 0"),
        ({"cosine_steps": 3}, "cosine_steps: expected 0 or at least 64, found 3"),
        ({"cosine_steps": 900, "lr": [[0, 0.1], [9, 0.0]]}, "lr: expected a number with cosine"),
        ({"critic": "central"}, "critic: expected 'local', found 'central'"),
        ({"network": {"kind": "attention"}}, "network.kind: expected pointer, structured_mlp, mlp"),
        ({"network": {"kind": "mlp", "gru": 8}}, "network.kind: expected .* found mlp with gru 8"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**options).validate()


# In the learner -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(local_ray: None) -> None:
    register_clusters()


def learner_of(algorithm: Algorithm) -> Any:
    return algorithm.learner_group._learner


def minibatch(n_rows: int, n_choices: int) -> dict[str, Tensor]:
    """Rows of a cluster of four as the learner gets them, those with a choice first."""
    features, mask, best = placements(4, n_rows, seed=2)
    zeros = torch.zeros(n_rows)
    legal = torch.from_numpy(mask)[:, 0]
    legal[n_choices:] = torch.arange(5) == 0
    return {
        Fragment.FEATURES: torch.from_numpy(features)[:, 0],
        Fragment.ACTION_MASK: legal,
        AGENT: torch.zeros(n_rows, dtype=torch.long),
        PENALTIES: penalties(legal[:n_choices]),
        Columns.ACTIONS: torch.from_numpy(best)[:n_choices],
        Columns.ACTION_LOGP: zeros[:n_choices],
        Postprocessing.ADVANTAGES: zeros[:n_choices],
        Postprocessing.VALUE_TARGETS: zeros,
    }


@pytest.mark.usefixtures("toy")
def test_statistics_are_of_steps_with_a_choice_and_weighed_in() -> None:
    algorithm = small(srr_start_iteration=0, srr_warmup_iterations=4).build_algo()
    learner = learner_of(algorithm)
    batch = minibatch(8, n_choices=5)
    features, masks = batch[Fragment.FEATURES][:, None], batch[Fragment.ACTION_MASK][:, None]
    module = algorithm.get_module()
    seen = learner._own_module.attention_features(features, masks)[:5, 0]
    losses = []
    for iteration in (0, 1, 4):
        learner.before_gradient_based_update(timesteps={"training_iteration": iteration})
        losses.append(learner._loss_of(dict(batch)).item())
        assert learner._terms["srr_decorrelation"].item() == pytest.approx(
            srr.decorrelation(seen).item(), rel=1e-4
        )
    assert learner._terms["srr_kl"].item() == pytest.approx(
        srr.kl_to_standard_normal(seen).item(), rel=1e-4
    )
    full = 0.01 * srr.decorrelation(seen) + 0.001 * srr.kl_to_standard_normal(seen)
    assert losses[1] - losses[0] == pytest.approx(full.item() / 4, rel=1e-3, abs=1e-6)
    assert losses[2] - losses[0] == pytest.approx(full.item(), rel=1e-3, abs=1e-6)
    assert module.critic(seen[:, None], None).shape == (5, 1)
    algorithm.stop()


@pytest.mark.usefixtures("toy")
def test_a_minibatch_without_a_choice_teaches_the_values_alone() -> None:
    algorithm = small(use_kl_loss=True).build_algo()
    learner = learner_of(algorithm)
    batch = {**minibatch(8, n_choices=0), Columns.ACTION_DIST_INPUTS: torch.zeros(0, 5)}
    learner.before_gradient_based_update(timesteps={"training_iteration": 0})
    assert learner._loss_of(batch).isfinite()
    assert learner._terms["mean_kl_loss"] == 0.0
    algorithm.stop()


@pytest.mark.usefixtures("toy")
def test_iterations_warm_up_the_learner_and_end_the_cosine() -> None:
    config = small(srr_start_iteration=1, srr_warmup_iterations=2, cosine_steps=512)
    algorithm = config.build_algo()
    weights, rates = [], []
    for _ in range(3):
        found = algorithm.train()["learners"][DEFAULT_MODULE_ID]
        weights.append(learner_of(algorithm)._srr_weight)
        rates.append(found["default_optimizer_learning_rate"])
        assert found["off_diagonal_covariance"] > 0
    assert weights == [0.0, 0.5, 1.0]
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    algorithm.stop()


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("kind", ["pointer", "structured_mlp"])
def test_the_critic_trains_the_network_below_it(kind: str) -> None:
    algorithm = small(network={"kind": kind}, srr=False, entropy_coeff=0.0).build_algo()
    learner = learner_of(algorithm)
    learner.before_gradient_based_update(timesteps={"training_iteration": 100})
    module = learner._own_module
    batch = minibatch(8, n_choices=8)  # advantages of 0: only the values teach
    batch[Postprocessing.VALUE_TARGETS] = torch.ones(8)
    learner._loss_of(batch).backward()
    trunk = module.actor.pointer.embed_server if kind == "pointer" else module.actor.body.of_servers
    assert all(parameter.grad.abs().sum() > 0 for parameter in trunk.parameters())
    algorithm.stop()


# What is learnt -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(toy: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Algorithm, Path]:
    """SCALE after 12 iterations on clusters of four, and a checkpoint of it."""
    algorithm = small(lr=3e-3, srr_start_iteration=2, srr_warmup_iterations=5).build_algo()
    for _ in range(12):
        algorithm.train()
    folder = tmp_path_factory.mktemp("scale")
    algorithm.save_to_path(folder)
    return algorithm, folder


def test_it_places_on_the_dominating_server_at_four_times_the_size_too(
    trained: tuple[Algorithm, Path],
) -> None:
    actor = trained[0].actor()
    assert share_of_best(actor, 4) > 0.97
    assert share_of_best(actor, 16) > 0.95


def test_a_checkpoint_brings_it_back(trained: tuple[Algorithm, Path]) -> None:
    algorithm, folder = trained
    restored = Algorithm.from_checkpoint(folder)
    assert isinstance(restored.config, SCALEConfig)
    expected, found = (one.get_module().state_dict() for one in (algorithm, restored))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert learner_of(restored)._own_module.critic is not None
    restored.train()
    assert learner_of(restored)._srr_weight == 1.0  # iterations count on
    restored.stop()
    algorithm.stop()


@pytest.mark.usefixtures("toy")
def test_the_plain_policy_with_srr_learns_too() -> None:
    network = {"kind": "structured_mlp", "hidden_sizes": (32, 32)}
    algorithm = small(network=network, lr=3e-3).build_algo()
    before = share_of_best(algorithm.actor(), 4)
    for _ in range(10):
        algorithm.train()
    assert share_of_best(algorithm.actor(), 4) > max(0.5, before)
    algorithm.stop()


@pytest.mark.usefixtures("toy")
def test_a_network_that_does_not_fit_is_one_line() -> None:
    config = SCALEConfig().environment("tandem_v0")
    with pytest.raises(InputError, match=r"^network.kind: pointer expects a task and N servers"):
        config.build_algo()
