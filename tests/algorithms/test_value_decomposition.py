"""Mixers and losses of value decomposition against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge_marl.algorithms.actors import chosen_values, greedy
from edge_marl.algorithms.value_decomposition.losses import (
    mean_errors,
    td_loss,
    td_targets,
)
from edge_marl.algorithms.value_decomposition.mixers import QMixer, SumMixer

N, S = 3, 4


def q_mixer(seed: int = 0, scale: float = 1.0) -> QMixer:
    torch.manual_seed(seed)
    mixer = QMixer(N, S, embedding=8, hypernet=16)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.mul_(scale)
    return mixer


def test_sum_mixer_counts_present_agents_only() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    present = torch.tensor([[True, True, True], [True, False, True]])
    assert SumMixer()(values, present, torch.zeros(2, S)).tolist() == [7.0, 5.0]


def test_q_mixer_by_hand() -> None:
    mixer = QMixer(n_agents=2, state_size=1, embedding=1, hypernet=1)
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter.zero_()
        # In the state [2]: hidden units of W1, w2 and V are 2, 4 and 6, b1 is -3.
        mixer.first.weight.copy_(torch.tensor([[1.0], [2.0], [3.0], [-1.5]]))
        mixer.weight_1.weight.copy_(torch.tensor([[-1.0], [0.5]]))  # -2 and 1: weights 2 and 1
        mixer.weight_2.weight.copy_(torch.tensor([[-0.5]]))  # -2: weight 2
        mixer.bias_2.weight.copy_(torch.tensor([[0.5]]))  # V = 3
    state, both = torch.tensor([[2.0]]), torch.tensor([[True, True]])
    positive = mixer(torch.tensor([[3.0, 1.0]]), both, state)  # 2 ELU(6 + 1 - 3) + 3
    assert positive.item() == pytest.approx(11.0)
    negative = mixer(torch.tensor([[0.0, 2.0]]), both, state)  # 2 ELU(0 + 2 - 3) + 3
    assert negative.item() == pytest.approx(2 * (np.exp(-1) - 1) + 3)
    alone = mixer(torch.tensor([[3.0, 1.0]]), torch.tensor([[True, False]]), state)
    assert alone.item() == pytest.approx(9.0)  # 2 ELU(6 - 3) + 3


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(0.1, 10.0),
    raised=st.integers(0, N - 1),
    by=st.floats(0.0, 10.0),
)
def test_q_mixer_is_monotonic(seed: int, scale: float, raised: int, by: float) -> None:
    mixer = q_mixer(seed, scale)
    values, state = 5 * torch.randn(16, N), 3 * torch.randn(16, S)
    present = torch.rand(16, N) < 0.8
    higher = values.clone()
    higher[:, raised] += by
    with torch.no_grad():
        before, after = mixer(values, present, state), mixer(higher, present, state)
    assert (after >= before - 1e-3 * before.abs().clamp(min=1e-3)).all()


def test_q_mixer_ignores_agents_that_have_left() -> None:
    mixer, values, state = q_mixer(), torch.randn(5, N), torch.randn(5, S)
    present = torch.tensor([True, False, True]).expand(5, N)
    other = values.clone()
    other[:, 1] = 1e6
    values.requires_grad_()
    mixed = mixer(values, present, state)
    torch.testing.assert_close(mixed, mixer(other, present, state))
    mixed.sum().backward()
    assert values.grad is not None
    assert (values.grad[:, 1] == 0).all()
    assert (values.grad[:, [0, 2]] > 0).all()


def test_mixers_take_any_leading_dimensions() -> None:
    values, state, present = torch.randn(2, 5, N), torch.randn(2, 5, S), torch.ones(2, 5, N) > 0
    mixer = q_mixer()
    both = mixer(values, present, state)
    assert both.shape == (2, 5)
    torch.testing.assert_close(both[1], mixer(values[1], present[1], state[1]))
    assert SumMixer()(values, present, state).shape == (2, 5)


def test_greedy_actions_are_legal() -> None:
    values = torch.tensor([[5.0, 1.0, 3.0], [-5.0, -1.0, -3.0]])
    legal = torch.tensor([[False, True, True], [True, False, True]])
    assert greedy(values, legal).tolist() == [2, 2]
    assert chosen_values(values, torch.tensor([2, 0])).tolist() == [3.0, -5.0]


def test_double_q_targets_by_hand() -> None:
    # Two rows of one step, two agents, three actions; the values of the next observation.
    online = torch.tensor([[[[1.0, 9.0, 2.0], [4.0, 3.0, 0.0]]]]).expand(2, 1, 2, 3)
    target = torch.tensor([[[[10.0, 20.0, 30.0], [1.0, 2.0, 3.0]]]]).expand(2, 1, 2, 3)
    legal = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    legal = legal.clone()
    legal[1, 0, 0, 1] = False  # agent 0's favourite is forbidden in the second row
    values = chosen_values(target, greedy(online, legal))
    assert values.tolist() == [[[20.0, 1.0]], [[30.0, 1.0]]]  # chosen online, valued by the target
    mixed = SumMixer()(values, torch.ones(2, 1, 2, dtype=torch.bool), torch.zeros(2, 1, S))
    returns, discounts = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5], [0.0]])
    y = td_targets(returns, discounts, torch.zeros(2, 1, dtype=torch.int64), mixed)
    assert y.tolist() == [[1.0 + 0.5 * 21.0], [2.0]]


def test_targets_of_sequences_look_up_their_observation() -> None:
    mixed = torch.tensor([[10.0, 20.0, 30.0]])
    bootstrap = torch.tensor([[1, 1, 2]])  # two steps on, and one at the end
    returns, discounts = torch.zeros(1, 3), torch.tensor([[0.25, 0.5, 0.5]])
    assert td_targets(returns, discounts, bootstrap, mixed).tolist() == [[5.0, 10.0, 15.0]]


@pytest.mark.parametrize(("huber", "each"), [(False, [0.5, 4.5, 2.0]), (True, [0.5, 2.5, 1.5])])
def test_td_loss_by_hand(huber: bool, each: list[float]) -> None:
    predicted = torch.tensor([[1.0, 3.0], [2.0, 7.0]], requires_grad=True)
    weights = torch.tensor([[1.0, 0.5], [1.0, 0.0]])  # the last was not played
    loss = td_loss(predicted - torch.zeros(2, 2), weights, 3.0, huber=huber)
    assert loss.item() == pytest.approx((each[0] + 0.5 * each[1] + each[2]) / 3)
    loss.backward()
    gradient: Tensor | None = predicted.grad
    assert gradient is not None
    assert gradient[1, 1] == 0
    assert mean_errors(predicted.detach(), weights).tolist() == [2.0, 2.0]
