"""Discrete soft actor-critic online, and value learning by duels, on a toy cluster."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from edge_marl.algorithms import DiscreteSACConfig, VDNConfig
from edge_marl.algorithms.actors import greedy
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sac.learner import transitions
from edge_marl.algorithms.sac.losses import temperature_loss
from edge_marl.errors import InputError
from tests.algorithms.clusters import CLUSTER, placements, register_clusters

STRUCTURED = {"kind": "structured_mlp", "hidden_sizes": (32, 32)}
POINTER = {"kind": "pointer", "hidden_sizes": (16,)}


def share_of_best(actor: Actor, n: int) -> float:
    """How often the dominating one of n servers is chosen."""
    features, mask, best = placements(n, rows=200, seed=9)
    legal = torch.from_numpy(mask)
    with torch.no_grad():
        outputs, _ = actor.resized(n)(torch.from_numpy(features), legal)
    return float((greedy(outputs, legal)[:, 0].numpy() == best).mean())


def on_cluster(config: Any, **training: Any) -> Any:
    return (
        config.environment(CLUSTER, env_config={"n": 4})
        .env_runners(num_envs_per_env_runner=8, rollout_fragment_length=36)
        .debugging(seed=5)
        .training(
            num_steps_sampled_before_learning_starts=256,
            train_batch_size_per_learner=64,
            training_intensity=16.0,
            gamma=0.5,
            **training,
        )
    )


def test_rows_are_the_steps_of_agents_that_played() -> None:
    drawn = {
        "features": torch.arange(2 * 2 * 2 * 3).view(2, 2, 2, 3).float(),
        "action_mask": torch.ones(2, 2, 2, 4, dtype=torch.bool),
        "present": torch.tensor([[[True, True]], [[False, True]]]),
        "actions": torch.tensor([[[0, 1]], [[2, 3]]]),
        "returns": torch.tensor([[5.0], [7.0]]),
        "discounts": torch.tensor([[0.5], [0.25]]),
        "remaining": torch.tensor([[[True, False]], [[False, True]]]),
    }
    rows = transitions(drawn)
    assert rows[AgentTransition.NODE].tolist() == [0, 1, 1]
    assert rows[AgentTransition.ACTIONS].tolist() == [0, 1, 3]
    assert rows[AgentTransition.REWARDS].tolist() == [5.0, 5.0, 7.0]
    assert rows["discounts"].tolist() == [0.5, 0.5, 0.25]
    assert rows[AgentTransition.TERMINATED].tolist() == [False, True, False]
    assert rows[AgentTransition.FEATURES][:, 0].tolist() == [0.0, 3.0, 15.0]
    assert rows[AgentTransition.NEXT_FEATURES][:, 0].tolist() == [6.0, 9.0, 21.0]


def test_the_temperature_falls_where_the_policy_is_too_random() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    entropy = torch.tensor([math.log(2), 0.0, 0.0])  # uniform, certain, without a choice
    log_alpha = torch.tensor(-1.0, requires_grad=True)
    temperature_loss(log_alpha, entropy, mask, 0.25).backward()
    surplus = [0.75 * math.log(2), -0.25 * math.log(3)]
    assert log_alpha.grad.item() == pytest.approx(sum(surplus) / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha: expected at least 1e-12, found 0.0"),
        ({"target_entropy": 1.5}, "target_entropy: expected below 1, found 1.5"),
        ({"tau": 0.0}, "tau: expected above 0, found 0.0"),
        ({"parameter_sharing": "independent"}, "parameter_sharing: expected 'shared'"),
        ({"observation_normalisation": True}, "observation_normalisation: expected False"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        on_cluster(DiscreteSACConfig(), **options).validate()


@pytest.fixture(scope="module")
def toy(local_ray: None) -> None:
    register_clusters()


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("config", "training"),
    [
        (DiscreteSACConfig, {"network": POINTER, "lr": 3e-3, "tau": 0.02}),
        (
            DiscreteSACConfig,
            {"network": STRUCTURED, "lr": 3e-3, "tau": 0.02, "target_entropy": 0.2},
        ),
        (
            VDNConfig,
            {
                "network": {**STRUCTURED, "dueling": True},
                "lr": 3e-3,
                "epsilon": [(0, 1.0), (1500, 0.1)],
                "target_update_interval": 50,
            },
        ),
    ],
    ids=["sac-pointer", "sac-tuned", "dueling-dqn"],
)
def test_it_learns_to_place_on_the_dominating_server(config: Any, training: dict[str, Any]) -> None:
    algorithm = on_cluster(config(), **training).build_algo()
    alphas = []
    for _ in range(7):
        learnt = algorithm.train()["learners"].get(DEFAULT_MODULE_ID, {})
        alphas.append(learnt.get("alpha"))
    actor = algorithm.actor()
    assert share_of_best(actor, 4) > 0.8
    if actor.kind.fits_any_size:
        assert share_of_best(actor, 16) > 0.8
    if "target_entropy" in training:
        assert alphas[-1] != alphas[1]
    algorithm.stop()


@pytest.mark.usefixtures("toy")
def test_targets_follow_the_twins() -> None:
    algorithm = on_cluster(DiscreteSACConfig(), network=POINTER, tau=1.0).build_algo()
    for _ in range(2):
        algorithm.train()
    module = algorithm.learner_group._learner._own_module
    for twin, target in zip(
        module.twins.parameters(), module.target_twins.parameters(), strict=True
    ):
        assert torch.equal(twin, target)
    algorithm.stop()
