"""Several learners do what one does with all of their rows, whoever has which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.result import TRAINING_ITERATION

from edge_marl.algorithms import (
    DiscreteSACConfig,
    MAPPOConfig,
    O2OConfig,
    QMIXConfig,
    SCALEConfig,
    VDNConfig,
)
from edge_marl.algorithms.core.spaces import JointObservation
from edge_marl.algorithms.replay.columns import AgentTransition, JointTransition
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.envs.actions import ActionSpec

B, T, N, SERVERS, F = 5, 6, 2, 3, 3
A, S = SERVERS + 1, 7
M = 4  # rows of an update of one learner
OBSERVED = (1 + SERVERS, F)

Arrays = dict[str, NDArray[Any]]
Part = tuple[int, ...]
"""Rows that one learner has."""


def seen(rng: np.random.Generator, *shape: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Features and masks; one row in three has a single legal action."""
    mask = rng.random((*shape, A)) < 0.6
    mask[rng.random(shape) < 0.3] = False
    mask[..., 0] = True
    return rng.normal(size=(*shape, (1 + SERVERS) * F)) + 3, mask


def fragments() -> Arrays:
    """In which an agent leaves, and a fragment ends early."""
    rng = np.random.default_rng(1)
    features, mask = seen(rng, B, T + 1, N)
    active = np.ones((B, T + 1, N), np.bool_)
    active[1, 3:, 0] = False
    terminated = np.zeros((B, T, N), np.bool_)
    terminated[1, 2, 0] = True
    valid = np.ones((B, T), np.bool_)
    valid[4, 3] = False
    return {
        Fragment.FEATURES: features,
        Fragment.ACTION_MASK: mask,
        Fragment.STATE: rng.normal(size=(B, T + 1, S)) + np.arange(B)[:, None, None],
        Fragment.ACTIVE: active,
        Fragment.FIRST: np.zeros((B, T + 1), np.bool_),
        Fragment.ACTIONS: np.zeros((B, T, N), np.int64),
        Fragment.REWARDS: rng.normal(size=(B, T, N)) + np.arange(B)[:, None, None],
        Fragment.TERMINATED: terminated,
        Fragment.TRUNCATED: np.zeros((B, T, N), np.bool_),
        Fragment.VALID: valid,
        Fragment.ACTION_LOGP: -rng.random((B, T, N)),
        Fragment.HIDDEN: rng.normal(size=(B, N, 4)),
        Columns.ACTION_DIST_INPUTS: np.where(mask, rng.normal(size=mask.shape), -1e9)[:, :T],
    }


def transitions(n_rows: int) -> Arrays:
    """As a replay gives them, one agent missing in a few."""
    rng = np.random.default_rng(2)
    features, mask = seen(rng, n_rows, 2, N)
    present = np.ones((n_rows, 1, N), np.bool_)
    present[::3, :, 1] = False
    return {
        JointTransition.FEATURES: features,
        JointTransition.ACTION_MASK: mask,
        JointTransition.STATE: rng.normal(size=(n_rows, 2, S)) + np.arange(n_rows)[:, None, None],
        JointTransition.ACTIONS: np.zeros((n_rows, 1, N), np.int64),
        JointTransition.PRESENT: present,
        JointTransition.RETURNS: rng.normal(size=(n_rows, 1)),
        JointTransition.DISCOUNTS: np.full((n_rows, 1), 0.9),
        JointTransition.BOOTSTRAP: np.zeros((n_rows, 1), np.int64),
        JointTransition.REMAINING: present,
        JointTransition.WEIGHTS: (rng.random((n_rows, 1)) < 0.8).astype(float),
    }


def logged(n_rows: int) -> Arrays:
    """Steps of single nodes from a log."""
    rng = np.random.default_rng(3)
    (features, mask), (following, following_mask) = seen(rng, n_rows), seen(rng, n_rows)
    return {
        AgentTransition.FEATURES: features,
        AgentTransition.ACTION_MASK: mask,
        AgentTransition.NODE: rng.integers(N, size=n_rows),
        AgentTransition.ACTIONS: np.zeros(n_rows, np.int64),
        AgentTransition.REWARDS: rng.normal(size=n_rows),
        AgentTransition.TERMINATED: rng.random(n_rows) < 0.2,
        AgentTransition.NEXT_FEATURES: following,
        AgentTransition.NEXT_ACTION_MASK: following_mask,
    }


SMALL = {"network": {"hidden_sizes": (8,)}, "lr": 0.01}
ON_POLICY: dict[str, Callable[[], Any]] = {
    "mappo": lambda: MAPPOConfig().training(**SMALL, observation_normalisation=True),
    "mappo-own": lambda: MAPPOConfig().training(
        **SMALL, team_reward="own", parameter_sharing="independent", use_kl_loss=True
    ),
    "ippo": lambda: MAPPOConfig().training(**SMALL, critic="local", vf_clip_param=0.5),
    "ippo-independent": lambda: MAPPOConfig().training(
        **SMALL, critic="local", parameter_sharing="independent", observation_normalisation=True
    ),
    "mappo-gru": lambda: MAPPOConfig().training(
        **SMALL | {"network": {"hidden_sizes": (8,), "gru": 4}}
    ),
    "warm-up": lambda: MAPPOConfig().training(**SMALL, critic_warmup_steps=10**6),
    "scale": lambda: SCALEConfig().training(
        network={"hidden_sizes": (8,)}, lr=0.01, srr_kl_coeff=0.1
    ),
    "scale-warm-up": lambda: SCALEConfig().training(
        network={"hidden_sizes": (8,)}, lr=0.01, critic_warmup_steps=10**6
    ),
    "o2o-online": lambda: O2OConfig().training(**SMALL),
}  # fmt: skip
OFF_POLICY: dict[str, tuple[Callable[[], Any], Callable[[int], Arrays]]] = {
    "vdn": (lambda: VDNConfig().training(**SMALL, target_update_interval=2), transitions),
    "qmix": (lambda: QMIXConfig().training(**SMALL, loss="mse", tau=0.1), transitions),
    "sac": (lambda: DiscreteSACConfig().training(**SMALL, target_entropy=0.5), transitions),
    **{
        method: (
            lambda method=method: O2OConfig().training(**SMALL, log="-", offline_method=method),
            logged,
        )
        for method in ("cql", "iql", "bc")
    },
}


def learnt(config: Any, columns: Arrays, **how: Any) -> tuple[Arrays, dict[str, float]]:
    """Weights and what is reported, after two calls of a new learner."""
    own = (JointObservation(("a", "b"), OBSERVED, ActionSpec(A), S), spaces.MultiDiscrete([A] * N))
    learner = config.debugging(seed=3).build_learner(spaces={DEFAULT_MODULE_ID: own})
    learner.build()
    for _ in range(2):
        results = learner.update(
            batch=MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, 1),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 100, TRAINING_ITERATION: 100},
            **how,
        )[DEFAULT_MODULE_ID]
    weights = learner.module[DEFAULT_MODULE_ID].state_dict()
    names = (
        "vf_explained_var",
        "policy_loss",
        "vf_loss",
        "entropy",
        "total_loss",
        "srr_kl",
        "td_loss",
        "q_loss",
    )
    reported = {name: results[name].peek() for name in names if name in results}
    return {name: weight.numpy().copy() for name, weight in weights.items()}, reported


def learnt_together(
    place: str, rank: int, n: int, make: Any, columns: Arrays, how: Any
) -> tuple[Arrays, dict[str, float]]:
    """What one of n learners learns that find each other at a file."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{place}", rank=rank, world_size=n
    )
    try:
        return learnt(make().learners(num_learners=n), columns, **how)
    finally:
        torch.distributed.destroy_process_group()


@ray.remote(num_cpus=0)
class Process:
    """A process of one learner."""

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)  # where rounding does not change what Adam does

    def learn(self, *arguments: Any) -> Any:
        return learnt_together(*arguments)


@pytest.fixture(scope="module")
def processes(local_ray: None) -> Iterator[list[Any]]:
    """Of all learners but the first, which is in this process."""
    actors = [Process.remote() for _ in range(2)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield actors
    torch.set_default_dtype(before)
    for actor in actors:
        ray.kill(actor)


def compare(
    processes: list[Any], place: Path, make: Any, whole: Arrays, parts: list[Part], size: int,
    **how: Any,
) -> None:  # fmt: skip
    """Learners with these rows of ``whole`` end like one with all of them."""
    n = len(parts)
    expected, reported = learnt(make(), whole, minibatch_size=size * n, **how)
    first, *others = (
        (
            str(place / "meeting"), rank, n, make,
            {name: column[list(part)] for name, column in whole.items()},
            {"minibatch_size": size, **how},
        )
        for rank, part in enumerate(parts)
    )  # fmt: skip
    pending = [
        process.learn.remote(*arguments)
        for process, arguments in zip(processes, others, strict=False)
    ]
    found = [learnt_together(*first), *ray.get(pending)]
    for weights, metrics in found:
        assert metrics == pytest.approx(reported, rel=1e-6, abs=1e-9)
        for name, weight in expected.items():
            np.testing.assert_array_equal(weights[name], found[0][0][name], err_msg=name)
            np.testing.assert_allclose(weights[name], weight, 1e-6, 1e-9, err_msg=name)


@pytest.mark.parametrize("name", ON_POLICY)
@pytest.mark.parametrize(
    "parts", [[(0, 1, 2), (3, 4)], [(0, 1), (2, 3), (4,)]], ids=["two", "three"]
)
def test_fragments(processes: list[Any], tmp_path: Path, name: str, parts: list[Part]) -> None:
    compare(processes, tmp_path, ON_POLICY[name], fragments(), parts, size=2 * T, num_epochs=3)


@pytest.mark.parametrize("parts", [[(0, 1, 2, 3, 4), ()], [(), (0, 1), (2, 3, 4)]])
def test_a_learner_without_any_fragment(
    processes: list[Any], tmp_path: Path, parts: list[Part]
) -> None:
    for name in ("mappo", "scale"):
        (tmp_path / name).mkdir()
        compare(processes, tmp_path / name, ON_POLICY[name], fragments(), parts, size=4)


@pytest.mark.parametrize("name", OFF_POLICY)
@pytest.mark.parametrize("n", [2, 3])
def test_updates(processes: list[Any], tmp_path: Path, name: str, n: int) -> None:
    make, data = OFF_POLICY[name]
    rows = np.arange(3 * n * M).reshape(3, n, M)  # of every update, of every learner
    parts = [tuple(rows[:, k].ravel().tolist()) for k in range(n)]
    compare(processes, tmp_path, make, data(rows.size), parts, size=M)


def test_only_the_critic_learns_while_it_warms_up(processes: list[Any]) -> None:
    for name in ("warm-up", "scale-warm-up"):
        first, _ = learnt(ON_POLICY[name]().training(lr=0.0), fragments(), minibatch_size=8)
        last, _ = learnt(ON_POLICY[name](), fragments(), minibatch_size=8)
        moved = {part for part in first if not np.array_equal(first[part], last[part])}
        assert moved
        assert all(part.startswith(("critic", "value_moments")) for part in moved)
