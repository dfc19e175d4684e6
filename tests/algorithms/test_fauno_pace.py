"""FAuNO by the clock on the wall: clients in Ray actors train at their own pace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from pydantic import ValidationError
from ray.rllib.core import DEFAULT_MODULE_ID

from edge_marl.algorithms.fauno import FAuNOConfig
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.manager import replay
from edge_marl.algorithms.mappo.blocks import ACTOR, CRITIC

pytestmark = pytest.mark.usefixtures("local_ray")

N = 10


@contextmanager
def training(**options: Any) -> Iterator[tuple[Any, Any]]:
    """A training in two actors of five clients each, and its learner."""
    config = (
        FAuNOConfig()
        .environment(
            "graph_offloading_v0",
            env_config={"scenario": {"topology": "random_10", "ticks": 200, "rate_per_s": 2.0},
                        "rewards": {"kind": "own"}},
        )
        .env_runners(num_envs_per_env_runner=2)
        .learners(num_cpus_per_learner=0)
        .debugging(seed=1)
        .training(
            **{"clock": "wall", "clients_per_actor": 5, "participants": 0.5,
               "train_batch_size_per_learner": 80, "minibatch_size": 40, "num_epochs": 2,
               "network": {"hidden_sizes": [8, 8]}, **options}
        )
    )  # fmt: skip
    algorithm = config.build_algo()
    try:
        yield algorithm, algorithm.learner_group._learner
    finally:
        algorithm.stop()


def critics(learner: Any) -> torch.Tensor:
    found: torch.Tensor = learner.block.weights[CRITIC].clone()
    return found


def test_the_log_of_a_training_makes_its_versions_again(tmp_path: Path) -> None:
    with training() as (algorithm, learner):
        folder = Path(algorithm.logdir)
        begin = {name: weights.clone() for name, weights in learner.block.weights.items()}
        assert torch.equal(begin[CRITIC], begin[CRITIC][:1].expand(N, -1))
        for _ in range(5):
            result = algorithm.train()["learners"][DEFAULT_MODULE_ID]
        assert result["updates_refused"] == result["updates_duplicate"] == 0
        algorithm.save_to_path(tmp_path / "checkpoint")  # waits for all that are at work
        number, weights = ray.get(learner.federation.manager.newest.remote(0))
        assert number > 1
        made = replay(
            folder / "federation" / "messages.jsonl",
            FedBuff(begin[CRITIC][0], N, learner.options),
        )
        assert len(made) == number
        assert made[-1].tolist() == weights.tolist()
        for name, weights in begin.items():
            changed = (learner.block.weights[name] != weights).any(1)
            assert changed.sum() > N / 2, name  # some have little to decide
        actors = learner.block.weights[ACTOR]
        assert len(torch.unique(actors, dim=0)) == N, "they are each client's own"

        before = critics(learner)
        for _ in range(2):
            algorithm.train()
        assert not torch.equal(critics(learner), before)
        algorithm.restore_from_path(tmp_path / "checkpoint")  # while some are at work
        assert torch.equal(critics(learner), before)
        state = ray.get(learner.federation.manager.get_state.remote())
        assert state["version"] == number
        assert ray.get(learner.federation.manager.newest.remote(number)) is None
        for _ in range(3):
            algorithm.train()
        learner.settle()
        last, weights = ray.get(learner.federation.manager.newest.remote(number))
        fedbuff = FedBuff(begin[CRITIC][0], N, learner.options)
        fedbuff.set_state(state)
        made = replay(folder / "federation" / "messages.jsonl", fedbuff)
        assert len(made) == last - number
        assert made[-1].tolist() == weights.tolist()
        assert (folder / "federation" / "messages-1.jsonl").exists()
    assert not folder.exists()


# Slow: every actor is a process; that slow clients delay no version is tested in simulated time.
@pytest.mark.slow
def test_slow_clients_keep_nobody_waiting() -> None:
    with training(stragglers=0.1, slowness=1000, staleness="exact") as (algorithm, learner):
        for k in range(6):
            result = algorithm.train()["learners"][DEFAULT_MODULE_ID]
            if k:
                assert result["busy_actors"] == 1
        assert result["version"] >= 2
        before = critics(learner)
        algorithm.train()
        learned = (critics(learner) != before).any(1)
        assert learned.sum() == 5, "the other five are still at their first train batch"


@pytest.mark.parametrize(
    ("options", "named"),
    [({}, "clients_per_actor: expected a number with clock \"wall\""),
     ({"clients_per_actor": 1, "federated": "both"}, "federated: expected \"critic\" with clock"),
     ({"clients_per_actor": 1, "drop_rate": 0.1}, "drop_rate: expected 0.0 with clock"),
     ({"clients_per_actor": 1, "synchronous": True, "participants": 1.0}, "synchronous: expected"),
     ({"clients_per_actor": 1, "attackers": 0.1}, "attackers: expected 0.0 with clock")],
)  # fmt: skip
def test_what_happens_in_simulated_time_alone_is_refused(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        FAuNOOptions(clock="wall", **options)
