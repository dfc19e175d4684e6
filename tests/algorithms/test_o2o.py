"""O2O-DRL as a whole: phases and the hand-over between them, checkpoints, the guard."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.tune import register_env

from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.o2o import O2OConfig
from edge_marl.algorithms.o2o.guard import significantly_worse
from edge_marl.algorithms.o2o.rewards import RewardNormaliser
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.errors import InputError
from edge_marl.peer_offloading import OffloadingScenario
from edge_marl.peer_offloading.collect import collect
from edge_marl.peer_offloading.heuristics import heuristic
from tests.algorithms import conformance
from tests.algorithms.conformance import Leavers
from tests.algorithms.logged import Rows, random_log
from tests.algorithms.matrix_games import CORNER, MatrixGame

NETWORK = {"hidden_sizes": (16,)}


@pytest.fixture(scope="module")
def games(local_ray: None) -> None:
    """The environments by name, for as long as this Ray runs."""
    register_env("o2o_corner", lambda config: MatrixGame(CORNER))


def config(env: str, **options: Any) -> O2OConfig:
    built: O2OConfig = (
        O2OConfig()
        .environment(env)
        .env_runners(num_envs_per_env_runner=16)
        .training(**{"train_batch_size_per_learner": 128, "minibatch_size": 64,
                     "network": NETWORK, "lr": 3e-3, "reward_normalisation": "scale",
                     **options})
        .debugging(seed=1)
    )  # fmt: skip
    return built


def corner_log() -> Rows:
    return random_log(lambda _: MatrixGame(CORNER))


def weights(algorithm: Algorithm) -> dict[str, torch.Tensor]:
    """The learner's, without the twins."""
    module = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]
    return {
        name: value.clone() for name, value in module.state_dict().items() if "twins" not in name
    }


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)


def test_online_begins_with_actor_and_critic_as_they_are(games: None) -> None:
    algorithm = config(
        "o2o_corner", log=corner_log(), offline_updates=50, offline_updates_per_iteration=30
    ).build_algo()
    results = [algorithm.train() for _ in range(2)]
    assert [result["phase"] for result in results] == ["offline", "offline"]
    assert [result["offline_updates"] for result in results] == [30, 50]
    assert [result["env_runners"]["num_env_steps_sampled_lifetime"] for result in results] == [0, 0]
    learnt = results[1]["learners"][DEFAULT_MODULE_ID]
    assert {"q_loss", "q_mean", "cql_gap", "critic_loss", "actor_loss", "entropy"} <= set(learnt)

    handed_over, scale = weights(algorithm), algorithm.rewards.moments.scale
    seen: list[dict[str, torch.Tensor]] = []
    sample = algorithm.sample_fragments
    algorithm.sample_fragments = lambda: (seen.append(weights(algorithm)), sample())[1]
    result = algorithm.train()
    assert result["phase"] == "online"
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] > 0
    assert_same(seen[0], handed_over)
    assert algorithm.rewards.moments.scale == scale
    assert not torch.equal(
        weights(algorithm)["actor.head.weight"], handed_over["actor.head.weight"]
    )
    algorithm.stop()


def test_runners_play_the_actor_that_was_learned_offline(games: None) -> None:
    algorithm = config(
        "o2o_corner", log=corner_log(), offline_updates=9, offline_updates_per_iteration=9
    ).build_algo()
    algorithm.train()
    actor = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].actor.state_dict()
    for name, value in algorithm.get_module().actor.state_dict().items():
        torch.testing.assert_close(value, actor[name], rtol=0, atol=0)
    algorithm.stop()


def test_the_twins_rest_while_online(games: None) -> None:
    algorithm = config(
        "o2o_corner", log=corner_log(), offline_updates=9, offline_updates_per_iteration=9
    ).build_algo()
    algorithm.train()
    twins = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID].twins
    before = copy.deepcopy(twins.state_dict())
    algorithm.train()
    for name, value in twins.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    algorithm.stop()


def test_learns_offline_what_pays(games: None) -> None:
    """By independent learning from random play the second action pays 4.5, the first 0.5."""
    algorithm = config("o2o_corner", log=corner_log(), offline_updates=200, tau=0.1).build_algo()
    algorithm.train()
    assert algorithm.evaluate()["env_runners"]["episode_return_mean"] == 16.0
    algorithm.stop()


@pytest.mark.parametrize("normalisation", ["standardise", "scale", "none"])
def test_online_only_solves_a_game(games: None, normalisation: str) -> None:
    algorithm = config("o2o_corner", reward_normalisation=normalisation).build_algo()
    for _ in range(15):
        result = algorithm.train()
    assert result["phase"] == "online"
    assert algorithm.evaluate()["env_runners"]["episode_return_mean"] == 16.0
    algorithm.stop()


@pytest.mark.parametrize("env", conformance.ENVS)
@pytest.mark.parametrize("network", [NETWORK, {**NETWORK, "agent_id": True}])
def test_checkpoints_are_exact_in_either_phase(
    games: None, env: str, network: dict[str, Any], tmp_path: Path
) -> None:
    made = (lambda _: Leavers()) if env == conformance.OUTSIDE_ENV else env
    log = random_log(made)

    def recipe() -> O2OConfig:
        return config(
            env,
            log=log,
            network=network,
            offline_updates=30,
            offline_updates_per_iteration=10,
            guard_interval=1,
            guard_episodes=3,
        )

    conformance.check_is_exact(recipe, env, tmp_path / "offline")
    algorithm = conformance.build(recipe, env)
    for _ in range(4):
        algorithm.train()
    algorithm.save_to_path(tmp_path / "online")
    expected = conformance.outcome(algorithm.train())
    restored = Algorithm.from_checkpoint(tmp_path / "online")
    assert conformance.outcome(restored.train()) == expected
    algorithm.stop()
    restored.stop()


def test_rewards_are_normalised_by_the_log_for_good() -> None:
    rewards = RewardNormaliser("standardise")
    rewards.update(np.array([1.0, 3.0], np.float32))
    rewards.fixed = True
    rewards.update(np.array([100.0], np.float32))
    assert rewards.normalise(np.array([2.0, 4.0], np.float32)).tolist() == [0.0, 2.0]
    rewards.kind = "scale"
    assert rewards.normalise(np.array([2.0, 4.0], np.float32)).tolist() == [2.0, 4.0]


def test_significantly_worse() -> None:
    before = np.array([1.0, 2.0, 3.0, 4.0])
    assert significantly_worse(before - [1.0, 1.1, 0.9, 1.0], before)
    assert not significantly_worse(before + 1.0, before)
    assert not significantly_worse(before - [5.0, -5.0, 4.0, -4.0], before)
    assert not significantly_worse(before, before)


def test_a_spoilt_update_is_not_deployed(games: None) -> None:
    algorithm = config("o2o_corner", guard_interval=1, guard_episodes=8).build_algo()
    for _ in range(12):
        result = algorithm.train()
    assert result["guard_rejections"] == 0
    deployed, learner = weights(algorithm), algorithm.learner_group._learner
    learn = learner.learn

    def spoil(*args: Any, **kwargs: Any) -> Any:
        history = learn(*args, **kwargs)
        with torch.no_grad():
            learner.module[DEFAULT_MODULE_ID].actor.head.bias.copy_(torch.tensor([[50.0, -50.0]]))
        return history

    learner.learn = spoil
    assert algorithm.train()["guard_rejections"] == 1
    assert_same(weights(algorithm), deployed)
    played = algorithm.get_module().actor.state_dict()["head.bias"]
    torch.testing.assert_close(played, deployed["actor.head.bias"], rtol=0, atol=0)
    learner.learn = learn
    assert algorithm.train()["guard_rejections"] == 1
    algorithm.stop()


def test_an_iteration_that_is_left_in_its_check_goes_on_there(games: None, tmp_path: Path) -> None:
    class Leave(Exception):  # noqa: N818
        pass

    def check() -> None:
        if left._check_due:
            raise Leave

    options = {"guard_interval": 1, "guard_episodes": 8}
    whole = config("o2o_corner", **options).build_algo()
    for _ in range(2):
        whole.train()
    left = config("o2o_corner", **options).build_algo()
    left.train()
    left.watch(check)
    with pytest.raises(Leave):
        left.train()
    left.save_to_path(tmp_path)
    restored = Algorithm.from_checkpoint(tmp_path)
    restored.train()
    assert restored.env_steps_sampled == whole.env_steps_sampled
    assert_same(weights(restored), weights(whole))
    assert restored._n_online == whole._n_online
    for algorithm in (whole, left, restored):
        algorithm.stop()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"offline_method": "sac"}, "offline_method: expected 'cql', 'bc' or 'iql', found 'sac'"),
        ({"critic": "central"}, "critic: expected 'local', found 'central'"),
        ({"guard_episodes": 1}, "guard_episodes: expected at least 2, found 1"),
        (
            {"log": "a.sqlite", "parameter_sharing": "independent"},
            "parameter_sharing: expected 'shared' with a log, found 'independent'",
        ),
        ({"log": "a.sqlite", "network": {"gru": 8}}, "network.gru: expected 0 with a log, found 8"),
        ({"lamda_c": 0.1}, "lamda_c: unknown option; did you mean lambda_c?"),
    ],
)
def test_bad_options(options: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line.replace('?', '[?]')}$"):
        O2OConfig().training(**options).validate()


def test_rows_of_a_log_are_those_of_the_agents(games: None) -> None:
    """The actor says the same of a row as of the whole team's observation."""
    for network in ({"agent_id": True}, {"agent_id": False}):
        algorithm = config("tandem_v0", network={**NETWORK, **network}).build_algo()
        module = algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]
        rows = random_log("tandem_v0", n_steps=5).draw(6, np.random.default_rng(0))
        features = torch.from_numpy(rows[AgentTransition.FEATURES])
        mask = torch.from_numpy(rows[AgentTransition.ACTION_MASK])
        nodes = torch.from_numpy(rows[AgentTransition.NODE]).long()
        N = len(module.actor.spec.agents)
        whole = {
            Fragment.FEATURES: features[:, None].expand(-1, N, -1),
            Fragment.ACTION_MASK: mask[:, None].expand(-1, N, -1),
        }
        with torch.no_grad():
            outputs, _ = module.actor(*whole.values())
            values = module.critic(whole)
            seen = AgentRows(features, mask, nodes)
            found = module.logits(seen), module.values(seen)
        torch.testing.assert_close(found[0], outputs[torch.arange(6), nodes])
        torch.testing.assert_close(found[1], values[torch.arange(6), nodes])
        algorithm.stop()


def test_a_log_of_another_network_is_refused(tmp_path: Path) -> None:
    scenario = {"nodes": 3, "slots": 6}
    log = str(tmp_path / "log.sqlite")
    logged = OffloadingScenario.model_validate({**scenario, "network_seed": 1})
    collect(heuristic("random"), logged, range(3), log)
    for network, refused in ((1, False), (2, True)):
        algorithm = (
            config("peer_offloading_v0", log=log, offline_updates=2)
            .environment(env_config={"scenario": {**scenario, "network_seed": network}})
            .build_algo()
        )
        if refused:
            with pytest.raises(InputError, match="expected network_seed = 2, found 1"):
                algorithm.train()
        else:
            assert algorithm.train()["phase"] == "offline"
        algorithm.stop()
