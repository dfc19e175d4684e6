"""The losses of offline training, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edge_marl.algorithms.o2o.losses import (
    cloning_loss,
    critic_loss,
    expectile_loss,
    weighted_cloning_loss,
)
from edge_marl.algorithms.sac.losses import (
    Policy,
    chosen,
    cql_gaps,
    entropies,
    masked_policy,
    q_loss,
    soft_values,
    td_targets,
)

MASK = torch.tensor([[True, True, False]])
HUGE = 1e30


def halves() -> Policy:
    """Both legal actions of :data:`MASK` with probability one half."""
    return masked_policy(torch.tensor([[2.0, 2.0, HUGE]]), MASK)


def test_forbidden_actions_have_probability_exactly_zero() -> None:
    policy = halves()
    assert policy.probabilities.tolist() == [[0.5, 0.5, 0.0]]
    assert torch.isfinite(policy.logarithms).all()


def test_a_single_legal_action_is_certain_and_teaches_nothing() -> None:
    logits = torch.tensor([[-7.0, 3.0, 9.0]], requires_grad=True)
    policy = masked_policy(logits, torch.tensor([[True, False, False]]))
    assert policy.probabilities.tolist() == [[1.0, 0.0, 0.0]]
    value = soft_values(policy, torch.tensor([[[4.0, HUGE, 1.0], [5.0, 1.0, HUGE]]]), 0.5)
    assert value.item() == 4.0
    value.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_entropy_counts_legal_actions_only() -> None:
    assert entropies(halves()).item() == pytest.approx(math.log(2))


def test_soft_values() -> None:
    """(1 + 3) / 2 of the smaller twin each, and 0.1 times the entropy ln 2."""
    q_values = torch.tensor([[[1.0, 4.0, HUGE], [2.0, 3.0, -HUGE]]])
    value = soft_values(halves(), q_values, alpha=0.1)
    assert value.item() == pytest.approx(2.0 + 0.1 * math.log(2))


def test_soft_values_teach_legal_actions_only() -> None:
    logits = torch.tensor([[0.0, 0.0, 5.0]], requires_grad=True)
    q_values = torch.tensor([[[1.0, 3.0, HUGE], [1.0, 3.0, HUGE]]])
    soft_values(masked_policy(logits, MASK), q_values, alpha=0.0).sum().backward()
    assert logits.grad is not None
    # d/dlogit_k = p_k (Q_k - V) with V = 2
    assert logits.grad.tolist() == [[-0.5, 0.5, 0.0]]


def test_targets_end_with_a_termination() -> None:
    targets = td_targets(
        torch.tensor([1.0, 1.0]), torch.tensor([False, True]), torch.tensor([10.0, 10.0]), 0.9
    )
    assert targets.tolist() == [10.0, 1.0]


def test_cql_gap_is_over_legal_actions() -> None:
    """log(e^0 + e^0) - 0, and nothing to choose from in the other row."""
    q_values = torch.tensor([[[0.0, 0.0, HUGE]] * 2, [[HUGE, 7.0, -HUGE]] * 2])
    mask = torch.tensor([[True, True, False], [False, True, False]])
    gaps = cql_gaps(q_values, mask, torch.tensor([0, 1]))
    assert gaps[0].tolist() == pytest.approx([math.log(2)] * 2)
    assert gaps[1].tolist() == [0.0, 0.0]


def test_q_loss() -> None:
    """Errors 1 and 2 of the twins: 1 + 4; gaps of ln 2 each, weighted by 3."""
    q_values = torch.tensor([[[1.0, 1.0, HUGE], [2.0, 2.0, HUGE]]], requires_grad=True)
    loss, terms = q_loss(q_values, MASK, torch.tensor([0]), torch.tensor([0.0]), lambda_c=3.0)
    assert loss.item() == pytest.approx(5.0 + 3.0 * 2 * math.log(2))
    assert terms["q_loss"].item() == pytest.approx(5.0)
    loss.backward()
    assert q_values.grad is not None
    assert q_values.grad[0, :, 2].tolist() == [0.0, 0.0]
    # 2 * error + 3 * (1/2 - 1) for the action taken, 3 / 2 for the other
    assert q_values.grad[0, 0].tolist() == pytest.approx([0.5, 1.5, 0.0])


def test_critic_loss() -> None:
    assert critic_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).item() == 2.5


def test_cloning_loss() -> None:
    assert cloning_loss(halves(), torch.tensor([1])).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize(("difference", "loss"), [(2.0, 0.7 * 4), (-2.0, 0.3 * 4)])
def test_expectile_loss(difference: float, loss: float) -> None:
    assert expectile_loss(torch.tensor([difference]), 0.7).item() == pytest.approx(loss)


@pytest.mark.parametrize(("advantage", "weight"), [(0.0, 1.0), (0.5, math.e), (99.0, 100.0)])
def test_weighted_cloning_loss(advantage: float, weight: float) -> None:
    advantages: Tensor = torch.tensor([advantage])
    loss = weighted_cloning_loss(halves(), torch.tensor([0]), advantages, beta=2.0)
    assert loss.item() == pytest.approx(weight * math.log(2))


def test_chosen() -> None:
    values = torch.arange(12.0).view(2, 2, 3)
    assert chosen(values, torch.tensor([0, 2])).tolist() == [[0.0, 3.0], [8.0, 11.0]]
