"""Offline learning on a small decision process whose solution is computed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from edge_marl.algorithms.core.spaces import JointObservation
from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.o2o import O2OConfig
from edge_marl.algorithms.o2o.learner import O2OLearner
from edge_marl.algorithms.replay.columns import AgentTransition
from edge_marl.algorithms.sac.losses import masked_policy
from edge_marl.envs.actions import ActionSpec
from tests.algorithms.logged import Rows

S, A, GAMMA = 4, 3, 0.8
FOLLOWS = np.array([[1, 2, 0], [2, 3, 1], [3, 0, 2], [0, 1, 3]])
REWARD = np.array([[0.0, 1.0, 0.5], [0.3, -1.0, 0.0], [3.0, 0.0, 0.1], [0.0, 0.2, -0.5]])
ENDS = np.zeros((S, A), dtype=np.bool_)
ENDS[2, 0] = True
"""The step that earns most ends the episode."""
LEGAL = np.ones((S, A), dtype=np.bool_)
LEGAL[0, 2] = LEGAL[3, 0] = LEGAL[3, 2] = False
ONE_HOT = np.eye(S, dtype=np.float32)


def log_of(behaviour: NDArray[np.float64], n_rows: int = 20_000) -> Rows:
    """What a policy ``[S, A]`` leaves behind, states visited alike."""
    rng = np.random.default_rng(0)
    states = rng.integers(S, size=n_rows)
    cumulative = behaviour.cumsum(1)[states]
    actions = (cumulative <= rng.random((n_rows, 1)) * cumulative[:, -1:]).sum(1)
    following = FOLLOWS[states, actions]
    return Rows(
        **{
            AgentTransition.FEATURES: ONE_HOT[states],
            AgentTransition.ACTION_MASK: LEGAL[states],
            AgentTransition.ACTIONS: actions,
            AgentTransition.REWARDS: REWARD[states, actions].astype(np.float32),
            AgentTransition.NEXT_FEATURES: ONE_HOT[following],
            AgentTransition.NEXT_ACTION_MASK: LEGAL[following],
            AgentTransition.TERMINATED: ENDS[states, actions],
            AgentTransition.NODE: np.zeros(n_rows, dtype=np.int16),
        }
    )


UNIFORM = LEGAL / LEGAL.sum(1, keepdims=True)
SKEWED = np.array([[0.8, 0.2, 0.0], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])


def learner(**options: Any) -> O2OLearner:
    """A learner for one node that sees the state."""
    own = (JointObservation(("node",), (S,), ActionSpec(A), S), spaces.MultiDiscrete([A]))
    config = (
        O2OConfig()
        .debugging(seed=0)
        .training(
            **{"network": {"hidden_sizes": (32,)}, "lr": 5e-3, "tau": 0.1, "gamma": GAMMA,
               **options}
        )
    )  # fmt: skip
    torch.manual_seed(0)
    built: O2OLearner = config.build_learner(spaces={DEFAULT_MODULE_ID: own})
    built.build()
    return built


def taught(log: Rows, n_updates: int, **options: Any) -> O2OLearner:
    """A learner after some gradient steps on a log."""
    built, rng = learner(**options), np.random.default_rng(1)
    for _ in range(n_updates // 50):
        rows = SampleBatch(log.draw(50 * 128, rng))
        built.update(batch=MultiAgentBatch({DEFAULT_MODULE_ID: rows}, 1), minibatch_size=128)
    return built


@torch.no_grad()
def found(built: O2OLearner) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Policy ``[S, A]``, action values ``[2, S, A]`` and values ``[S]`` of all states."""
    seen = AgentRows(torch.from_numpy(ONE_HOT), torch.from_numpy(LEGAL), torch.zeros(S).long())
    module = built._own_module
    policy = masked_policy(module.logits(seen), seen.action_mask).probabilities
    return (
        policy.numpy(),
        module.q_values(seen).transpose(0, 1).numpy(),
        module.values(seen).numpy(),
    )


def soft_solution(alpha: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Action values and policy by soft dynamic programming."""
    q_values = np.zeros((S, A))
    for _ in range(200):
        scores = np.where(LEGAL, q_values / alpha, -np.inf)
        values = alpha * np.logaddexp.reduce(scores, axis=1)
        q_values = REWARD + GAMMA * ~ENDS * values[FOLLOWS]
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return q_values, weights / weights.sum(1, keepdims=True)


def divergence(behaviour: NDArray[Any], policy: NDArray[Any]) -> float:
    """The largest Kullback-Leibler divergence of the states."""
    ratio = np.log(behaviour, where=LEGAL, out=np.zeros((S, A))) - np.log(
        policy, where=LEGAL, out=np.zeros((S, A))
    )
    return float((behaviour * ratio).sum(1).max())


def test_without_regulariser_the_twins_match_soft_dynamic_programming() -> None:
    alpha = 0.1
    expected, best = soft_solution(alpha)
    policy, q_values, values = found(taught(log_of(UNIFORM), 1000, lambda_c=0.0, alpha=alpha))
    for twin in q_values:
        np.testing.assert_allclose(twin[LEGAL], expected[LEGAL], atol=0.05)
    assert (policy[~LEGAL] == 0.0).all()
    np.testing.assert_allclose(policy, best, atol=0.1)
    # Equation 12: what the log's actions are worth in the mean.
    np.testing.assert_allclose(values, (UNIFORM * expected).sum(1), atol=0.1)


def test_a_large_regulariser_leads_to_the_policy_of_the_log() -> None:
    built = taught(log_of(SKEWED), 700, lambda_c=100.0, alpha=1.0)
    assert divergence(SKEWED, found(built)[0]) < 0.02


def test_behaviour_cloning_recovers_the_policy_of_the_log_and_its_value() -> None:
    policy, _, values = found(taught(log_of(SKEWED), 700, offline_method="bc"))
    assert divergence(SKEWED, policy) < 0.01
    assert (policy[~LEGAL] == 0.0).all()
    expected = np.zeros(S)
    for _ in range(200):
        expected = (SKEWED * (REWARD + GAMMA * ~ENDS * expected[FOLLOWS])).sum(1)
    np.testing.assert_allclose(values, expected, atol=0.1)


def test_implicit_q_learning_finds_the_best_actions() -> None:
    built = taught(log_of(UNIFORM), 800, offline_method="iql", iql_expectile=0.9, iql_beta=5.0)
    best = np.where(LEGAL, soft_solution(1e-3)[0], -np.inf).argmax(1)
    assert found(built)[0].argmax(1).tolist() == best.tolist()


def test_the_methods_leave_what_is_not_theirs() -> None:
    """Cloning needs no twins; targets follow slowly."""
    built = learner(offline_method="bc")
    before = found(built)[1]
    assert (found(taught(log_of(UNIFORM), 50, offline_method="bc"))[1] == before).all()


@pytest.mark.parametrize("method", ["cql", "bc", "iql"])
def test_what_follows_a_termination_does_not_matter(method: str) -> None:
    log = log_of(UNIFORM, 500)
    log.columns[AgentTransition.TERMINATED][:] = True
    other = Rows(**log.columns)
    other.columns[AgentTransition.NEXT_FEATURES] = log.columns[AgentTransition.NEXT_FEATURES] + 5.0
    other.columns[AgentTransition.NEXT_ACTION_MASK] = np.zeros((500, A), dtype=np.bool_)
    for one, same in zip(
        found(taught(log, 50, offline_method=method)),
        found(taught(other, 50, offline_method=method)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, same)
