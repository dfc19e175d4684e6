"""FAuNO: clients learn alone, and share what the manager makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from ray.rllib.core import DEFAULT_MODULE_ID

from edge_marl.algorithms.fauno import FAuNOConfig
from edge_marl.algorithms.fauno.learner import FAuNOLearner
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.federation.updates import Outcome
from edge_marl.algorithms.mappo import MAPPOConfig
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC
from edge_marl.errors import InputError
from tests.graph_offloading.playing import graph

pytestmark = pytest.mark.usefixtures("local_ray")

SMALL = {
    "train_batch_size_per_learner": 80, "minibatch_size": 40, "num_epochs": 2,
    "network": {"hidden_sizes": [8, 8]},
}  # fmt: skip


def configured(config: Any, topology: str = "random_10", **options: Any) -> Any:
    env_config = {"scenario": {"topology": topology, "ticks": 200, "rate_per_s": 2.0},
                  "rewards": {"kind": "own"}}  # fmt: skip
    return in_env(config, "graph_offloading_v0", env_config, **options)


def in_env(config: Any, env: str, env_config: dict[str, Any], **options: Any) -> Any:
    config = config.environment(env, env_config=env_config)
    config = config.env_runners(num_envs_per_env_runner=2).debugging(seed=1)
    return config.training(**{**SMALL, **options})


@contextmanager
def training(topology: str = "random_10", **options: Any) -> Iterator[tuple[Any, FAuNOLearner]]:
    """A federation that trains, and its learner."""
    algorithm = configured(FAuNOConfig(), topology, **options).build_algo()
    try:
        yield algorithm, algorithm.learner_group._learner
    finally:
        algorithm.stop()


def outcomes(learner: FAuNOLearner, outcome: Outcome) -> list[int]:
    """How many updates of each client came to that end."""
    return [own[outcome] for own in learner.federation.manager.outcomes.values()]


def rows(learner: FAuNOLearner, name: str = CRITIC) -> torch.Tensor:
    return learner.block.weights[name].clone()


def test_all_clients_begin_with_the_same_critic_and_actors_of_their_own() -> None:
    with training() as (_, learner):
        critics, actors = rows(learner), rows(learner, ACTOR)
        assert torch.equal(critics, critics[:1].expand_as(critics))
        assert len(torch.unique(actors, dim=0)) == len(actors)


def test_with_all_clients_and_no_loss_it_is_federated_averaging() -> None:
    with training(participants=1.0) as (algorithm, learner):
        shared = rows(learner)[0]
        for version in range(3):
            algorithm.train()
            deltas = rows(learner) - shared
            n = len(deltas)
            # One local training each: all weigh alike.
            shared = shared + torch.from_numpy((np.float32(1 / n) * deltas.numpy()).sum(0))
            learner.federation._network.advance(learner.federation.tick + 2)
            manager = learner.federation.manager
            assert manager.version == version + 1
            assert manager.weights.tolist() == shared.tolist()


def test_a_train_batch_takes_as_long_as_its_steps_of_one_episode() -> None:
    with training(rollout_fragment_length=10) as (algorithm, learner):  # four times, of two
        algorithm.train()
        assert learner.federation.tick == 40


def test_clients_go_on_from_the_newest_version() -> None:
    with training() as (algorithm, learner):
        algorithm.train()
        learner.federation._network.advance(learner.federation.tick + 2)
        made = learner.federation.manager.weights
        algorithm.train()
        assert all(torch.equal(base, made) for base in learner.federation.base)
        assert learner.federation.versions.tolist() == [1] * len(learner.federation.versions)
        assert learner.federation.steps.tolist() == [1] * len(learner.federation.versions)


def test_without_any_update_arriving_it_is_independent_learning_to_the_bit() -> None:
    alone: dict[str, Any] = {
        name: FAuNOOptions.model_fields[name].default
        for name in ("critic", "parameter_sharing", "team_reward", "decisions_only", "gamma",
                     "independent_learners", "clip_param", "vf_clip_param", "vf_loss_coeff",
                     "entropy_coeff", "grad_clip", "value_normalisation")
    }  # fmt: skip
    network = {"hidden_sizes": [8, 8], "activation": "tanh"}
    with training(drop_rate=1.0, lr=1e-3, critic_lr=1e-3) as (algorithm, learner):
        begin = {name: rows(learner, name) for name in (ACTOR, CRITIC)}
        found = []
        for _ in range(3):
            algorithm.train()
            found.append({name: rows(learner, name) for name in begin})
        assert sum(outcomes(learner, Outcome.LOST)) == 30
    other = configured(MAPPOConfig(), lr=1e-3, **{**alone, "network": network}).build_algo()
    block = other.learner_group._learner.block
    for name, weights in begin.items():
        block.weights[name].copy_(weights)  # but for these, critics would begin differently
    other.sync_weights()
    for expected in found:
        other.train()
        for name, weights in expected.items():
            assert torch.equal(block.weights[name], weights), name
    other.stop()


@pytest.mark.parametrize("topology", ["ether_2", "random_15"])
def test_by_default_no_client_is_silenced(topology: str) -> None:
    with training(topology) as (algorithm, learner):
        for _ in range(6):
            result = algorithm.train()["learners"][DEFAULT_MODULE_ID]
        assert result["silent_clients"] == 0
        assert result["version"] == 5
        assert min(outcomes(learner, Outcome.USED)) >= 4
        assert result["updates_used"] == sum(outcomes(learner, Outcome.USED))


@pytest.mark.parametrize(("staleness", "heard"), [("exact", 0), ("polynomial", 2)])
def test_slow_clients_delay_no_version_and_are_heard_if_the_rule_allows(
    staleness: str, heard: int
) -> None:
    with training(stragglers=0.2, slowness=3, staleness=staleness) as (algorithm, learner):
        for _ in range(8):
            algorithm.train()
        slow = np.flatnonzero(learner.federation.is_slow)
        assert len(slow) == 2
        used = np.array(outcomes(learner, Outcome.USED))
        assert learner.federation.manager.version == 7
        assert used[slow].tolist() == [heard] * 2
        assert (np.delete(used, slow) == 7).all()


def test_slow_clients_train_as_often_as_they_can() -> None:
    with training(stragglers=1.0, slowness=3) as (algorithm, learner):
        changed = []
        for _ in range(7):
            before = rows(learner, ACTOR)
            algorithm.train()
            changed.append(not torch.equal(rows(learner, ACTOR), before))
        assert changed == [True, False, False, True, False, False, True]


def test_synchronous_clients_wait_for_the_version_of_their_round() -> None:
    with training(synchronous=True, participants=1.0, drop_rate=0.4) as (algorithm, learner):
        for _ in range(12):
            algorithm.train()
            ahead = learner.federation.steps.max()
            assert ahead <= 1, "nobody trains twice on one version"
        version = learner.federation.manager.version
        assert 2 <= version < 11, "rounds last until what was lost has been sent again"
        assert set(outcomes(learner, Outcome.USED)) == {version}
        assert sum(outcomes(learner, Outcome.STALE)) == 0


@pytest.mark.parametrize(
    ("federated", "same", "own"),
    [("critic", [CRITIC], [ACTOR]), ("actor", [ACTOR], [CRITIC]), ("both", [ACTOR, CRITIC], [])],
)
def test_what_is_federated_is_shared_and_the_rest_stays_local(
    federated: str, same: list[str], own: list[str]
) -> None:
    with training(federated=federated) as (algorithm, learner):
        algorithm.train()
        learner.federation.tick += 4  # versions are there
        learner.federation.before(4)
        for name in same:
            assert len(torch.unique(rows(learner, name), dim=0)) == 1
        for name in own:
            assert len(torch.unique(rows(learner, name), dim=0)) == len(learner.federation.versions)


def test_a_proximal_term_keeps_critics_near_the_version() -> None:
    distance = {}
    for proximal in (0.0, 5.0):
        with training(proximal=proximal) as (algorithm, learner):
            algorithm.train()
            distance[proximal] = float(
                (learner.federation.shared.rows - learner.federation.base).norm()
            )
    assert distance[5.0] < 0.9 * distance[0.0]


def test_privacy_is_accounted_for() -> None:
    private = {"noise_multiplier": 4.0, "clip_norm": 0.1, "coefficients": "equal"}
    with training(**private) as (algorithm, _):
        lost = [algorithm.train()["learners"][DEFAULT_MODULE_ID]["epsilon"] for _ in range(3)]
    assert lost[0] == 0.0
    assert 0.0 < lost[1] < lost[2]


@pytest.mark.parametrize(
    ("attack", "aggregation"),
    [("sign_flip", "median"), ("times_100", "trimmed_mean"), ("times_100", "krum")],
)
def test_robust_rules_keep_the_critic_where_honest_clients_would_have_it(
    attack: str, aggregation: str
) -> None:
    off = {}
    for rule in ("mean", aggregation):
        how = {"attackers": 0.2, "attack": attack, "aggregation": rule, "byzantine": 0.2}
        with training(participants=1.0, **how) as (algorithm, learner):
            shared = rows(learner)[0]
            algorithm.train()
            honest = (rows(learner) - shared)[~learner.federation.is_attacker].mean(0)
            learner.federation._network.advance(learner.federation.tick + 2)
            made = learner.federation.manager.weights - shared
            off[rule] = float((made - honest).norm() / honest.norm())
    assert off[aggregation] < off["mean"]
    if attack == "times_100":
        assert off[aggregation] < 2.0 < off["mean"]


def test_updates_that_are_no_numbers_are_refused_and_counted() -> None:
    with training(attackers=0.2, attack="nan") as (algorithm, learner):
        for _ in range(3):
            result = algorithm.train()["learners"][DEFAULT_MODULE_ID]
        assert result["updates_refused"] == 4, "those of the last batch are on their way"
        refused = np.array(outcomes(learner, Outcome.REFUSED))
        assert ((refused == 2) == learner.federation.is_attacker).all()
        assert torch.isfinite(learner.federation.shared.rows).all()
        assert result["version"] == 2


def test_updates_that_wait_for_others_are_replaced_by_newer_ones() -> None:
    with training(participants=1.0, stragglers=0.1, slowness=4) as (algorithm, learner):
        for _ in range(3):
            algorithm.train()
        assert learner.federation.manager.version == 0
        assert learner.federation.steps.max() == 3
        assert sum(outcomes(learner, Outcome.REPLACED)) > 0


def test_who_waits_needs_updates_of_all() -> None:
    with pytest.raises(ValidationError, match="participants: expected 1 with synchronous"):
        FAuNOOptions(synchronous=True)


# Slow with smaller blocks: every actor is a process.
@pytest.mark.parametrize(
    ("env", "size"),
    [("random_10", 6), ("tandem_v0", 1), pytest.param("random_10", 1, marks=pytest.mark.slow)],
)
def test_clients_in_ray_actors_learn_the_same_to_the_bit(
    env: str, size: int, tmp_path: Path
) -> None:
    found = []
    for clients_per_actor in (None, size):
        make = configured if env == "random_10" else partial(in_env, env=env, env_config={})
        config = make(
            FAuNOConfig(),
            clients_per_actor=clients_per_actor,
            proximal=0.01,
            late_ticks=3.0,
            observation_normalisation=True,
        ).learners(num_cpus_per_learner=0)
        algorithm = config.build_algo()
        for iteration in range(3):
            algorithm.train()
            if iteration == 0:
                algorithm.save_to_path(tmp_path)
        expected = algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
        algorithm.restore_from_path(str(tmp_path))
        algorithm.train()
        algorithm.train()
        found += [expected, algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]]
        algorithm.stop()
    for weights in found[1:]:
        for name, values in found[0].items():
            np.testing.assert_array_equal(weights[name], values, name)


def test_updates_that_share_links_with_tasks_take_as_long_as_they_did_there() -> None:
    scenario = {
        "topology": graph((0, 1), (1, 2), receives=(0, 1, 2)), "ticks": 200, "rate_per_s": 1.0,
        "load": "constant", "instructions": 1000.0, "size_mb": 3.0, "link_model": "topology",
        "contention": True,
    }  # fmt: skip
    env_config = {"scenario": scenario, "rewards": {"kind": "own"}}
    config = in_env(FAuNOConfig(), "graph_offloading_v0", env_config, shares_links=True)
    algorithm = config.build_algo()
    learner = algorithm.learner_group._learner
    alone = algorithm.env_runner.env.travel(algorithm._n_bytes).to_manager
    for _ in range(3):
        algorithm.train()
    measured = learner.federation._network._travel.to_manager
    assert (measured >= alone - 1e-9).all()
    assert measured.sum() > 1.01 * alone.sum()
    assert learner.federation.manager.version > 0
    algorithm.stop()


def test_updates_cannot_share_links_that_nobody_waits_for() -> None:
    with (
        pytest.raises(InputError, match="contention: expected true for messages that share links"),
        training(shares_links=True),
    ):
        pass
