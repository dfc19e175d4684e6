"""Every algorithm's first iterations are what they were, and so are what its actors choose."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_marl.envs.batched import make_batched
from edge_marl.experiments.evaluate.episodes import play
from edge_marl.experiments.training.logs import flat_numbers
from edge_marl.experiments.training.recipe import ALGORITHMS, Recipe
from edge_marl.peer_offloading import OffloadingScenario
from edge_marl.peer_offloading.collect import collect
from edge_marl.peer_offloading.heuristics import heuristic
from tests import snapshots

pytestmark = pytest.mark.usefixtures("local_ray")

SMALL: Mapping[str, Any] = {"num_envs_per_env_runner": 8, "rollout_fragment_length": 16}
NETWORK: Mapping[str, Any] = {"network.hidden_sizes": [16, 16]}
PPO: Mapping[str, Any] = {
    "train_batch_size_per_learner": 128, "minibatch_size": 64, "num_epochs": 2,
}  # fmt: skip
REPLAY: Mapping[str, Any] = {
    "train_batch_size_per_learner": 32,
    "num_steps_sampled_before_learning_starts": 100,
    "training_intensity": 2.0,
    "replay_capacity": 1000,
}
DECISIONS: Mapping[str, Any] = {
    "train_batch_size_per_learner": 128, "minibatch_size": 16, "updates_per_batch": 4,
    "num_steps_sampled_before_learning_starts": 100,
}  # fmt: skip
OFFLOADING: Mapping[str, Any] = {"scenario": {"nodes": 5, "slots": 30}}
GRAPH: Mapping[str, Any] = {"scenario": {"topology": "random_10", "ticks": 60, "rate_per_s": 2.0}}
PLACEMENT: Mapping[str, Any] = {"scenario": {"servers": 6, "horizon_s": 6.0}}

RUNS: Mapping[str, tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = {
    "vdn": ("tandem_v0", "vdn", {}, REPLAY | NETWORK),
    "qmix": ("peer_offloading_v0", "qmix", OFFLOADING, REPLAY | NETWORK | {"n_step": 3}),
    "qmix-queues": (
        "tandem_v0", "qmix", {"decisions": "events"},
        {**REPLAY, **NETWORK, "network.kind": "queue_mlp", "replay_alpha": 0.6},
    ),
    "mappo": ("peer_offloading_v0", "mappo", OFFLOADING, PPO | NETWORK),
    "mappo-recurrent": (
        "tandem_v0", "mappo", {}, {**PPO, **NETWORK, "network.gru": 8, "use_kl_loss": True},
    ),
    "ippo": (
        "tandem_v0", "ippo", {"decisions": "events"},
        {**PPO, **NETWORK, "parameter_sharing": "independent", "observation_normalisation": True},
    ),
    "mappo-vectors": (
        "cooperative_offloading_v0", "mappo", {"scenario": {"tasks": 20}},
        {**PPO, **NETWORK, "decisions_only": True, "use_kl_loss": True},
    ),
    "o2o": (
        "peer_offloading_v0", "o2o", OFFLOADING | {"reward": "own"},
        {**PPO, **NETWORK, "offline_updates": 8, "offline_updates_per_iteration": 8,
         "offline_batch_size": 32},
    ),
    "fauno": (
        "graph_offloading_v0", "fauno", GRAPH,
        {**PPO, **NETWORK, "late_ticks": 3.0, "drop_rate": 0.1, "staleness": "polynomial"},
    ),
    "scof": (
        "graph_offloading_v0", "scof", GRAPH,
        {**NETWORK, "train_batch_size_per_learner": 128, "minibatch_size": 8,
         "updates_per_batch": 4, "proximal": 0.01},
    ),
    "madqn": (
        "graph_offloading_v0", "madqn", GRAPH,
        {**NETWORK, **DECISIONS, "parameter_sharing": "shared", "double_q": False},
    ),
    "maddpg": (
        "cooperative_offloading_v0", "maddpg", {"scenario": {"tasks": 20}},
        {**NETWORK, **DECISIONS, "twin_critics": True, "policy_delay": 2, "noise": "gaussian"},
    ),
    "cto": (
        "cooperative_offloading_v0", "cto", {"scenario": {"tasks": 20}},
        {**NETWORK, **DECISIONS, "n_step": 2, "global_share": 0.25, "sync_interval": 3},
    ),
    "scale": ("dag_placement_v0", "scale", PLACEMENT, PPO | {"srr_start_iteration": 0}),
    "sac": (
        "dag_placement_v0", "sac", PLACEMENT,
        {**REPLAY, **NETWORK, "network.kind": "structured_mlp", "target_entropy": 0.2},
    ),
}  # fmt: skip


def test_every_algorithm_has_a_run() -> None:
    assert {algorithm for _, algorithm, _, _ in RUNS.values()} == {*ALGORITHMS}


@pytest.mark.parametrize("name", RUNS)
def test_first_iterations_are_as_they_were(name: str, tmp_path: Path) -> None:
    env, algorithm, env_config, options = RUNS[name]
    if algorithm == "o2o":
        log = tmp_path / "log.sqlite"
        collect(heuristic("rda"), OffloadingScenario(**env_config["scenario"]), range(20), log)
        options = {**options, "log": str(log)}
    recipe = Recipe(
        env=env, algorithm=algorithm, env_config=dict(env_config), options={**SMALL, **options},
        seed=5,
    )  # fmt: skip
    trained = recipe.config().build_algo()
    try:
        iterations = []
        for _ in range(3):
            result = trained.train()
            numbers = {part: result.get(part, {}) for part in ("env_runners", "learners")}
            iterations.append(
                {key: value for key, value in flat_numbers(numbers) if is_reproducible(key)}
            )
        actor = trained.actor()
        played = play(
            actor, make_batched(env, env_config, 4, state=False), np.arange(4),
            sampled=recipe.acts_by_sampling,
        )  # fmt: skip
    finally:
        trained.stop()
    weights = {key: float(value.double().abs().sum()) for key, value in actor.state_dict().items()}
    found = {
        "iterations": iterations,
        "actor": weights,
        "episodes": {key: values.tolist() for key, values in played.items()},
    }
    snapshots.check(f"training-{name}", found, rel=2e-3)


def is_reproducible(key: str) -> bool:
    """Whether a number says nothing of the machine's speed."""
    return not any(
        word in key for word in ("time", "throughput", "per_second", "_s", "weights_seq")
    )
