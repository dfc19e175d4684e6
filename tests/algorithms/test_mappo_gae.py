"""Advantages: numbers computed by hand, and a plain loop over the episodes of one agent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from edge_marl.algorithms.mappo.gae import (
    episode_ends,
    generalised_advantages,
    standardised,
    team_ends,
)
from edge_marl.algorithms.mappo.rows import learning_targets
from edge_marl.algorithms.sampling.columns import Fragment

GAMMA, LAMBDA = 0.5, 0.8


def one_agent(
    rewards: list[float], values: list[float], terminated: list[int], over: list[int]
) -> list[float]:
    """The advantages of one agent in one environment."""
    advantages = generalised_advantages(
        torch.tensor(rewards)[None, :, None],
        torch.tensor(values)[None, :, None],
        torch.tensor(terminated, dtype=torch.bool)[None, :, None],
        torch.tensor(over, dtype=torch.bool)[None, :, None],
        gamma=GAMMA,
        lambda_=LAMBDA,
    )
    return [float(x) for x in advantages[0, :, 0]]


def test_fragment_end_bootstraps() -> None:
    # delta_1 = 2 + 0.5 * 8 - 4 = 2; delta_0 = 1 + 0.5 * 4 - 2 = 1; A_0 = 1 + 0.4 * 2.
    assert one_agent([1, 2], [2, 4, 8], [0, 0], [0, 0]) == pytest.approx([1.8, 2.0])


def test_termination_stops_bootstrapping() -> None:
    # delta_1 = 2 - 4 = -2: the 8 is not part of the return; A_0 = 1 + 0.4 * -2.
    assert one_agent([1, 2], [2, 4, 8], [0, 1], [0, 1]) == pytest.approx([0.2, -2.0])


def test_truncation_bootstraps_but_ends_the_sum() -> None:
    # Step 1 is truncated: delta_1 = 2 + 0.5 * 8 - 4 = 2, and nothing of step 2 comes back.
    assert one_agent([1, 2, 100], [2, 4, 8, 16], [0, 0, 0], [0, 1, 0]) == pytest.approx(
        [1.8, 2.0, 100.0]
    )


def test_row_of_a_final_observation_changes_nothing() -> None:
    # Step 0 ends an episode, row 1 only shows its last observation, row 2 is a new episode.
    # delta_0 = 1 + 0.5 * 4 - 2 = 1; A_2 = 3 + 0.5 * 6 - 1 = 5.
    for shown in (0.0, 1e6):
        advantages = one_agent([1, shown, 3], [2, 4, 1, 6], [0, 0, 0], [1, 0, 0])
        assert advantages[0] == pytest.approx(1.0)
        assert advantages[2] == pytest.approx(5.0)


def test_agents_that_leave_are_over_also_without_a_flag() -> None:
    terminated = torch.tensor([[[1, 0], [0, 0]]], dtype=torch.bool)
    truncated = torch.zeros_like(terminated)
    active = torch.tensor([[[1, 1], [0, 1], [0, 0]]], dtype=torch.bool)
    over = episode_ends(terminated, truncated, active)
    assert over.tolist() == [[[True, False], [True, True]]]


def test_the_team_plays_on_when_an_agent_leaves() -> None:
    # Agent 0 terminates in step 0, agent 1 in step 2.
    terminated = torch.tensor([[[1, 0], [0, 0], [0, 1]]], dtype=torch.bool)
    truncated = torch.zeros_like(terminated)
    active = torch.tensor([[[1, 1], [0, 1], [0, 1], [0, 0]]], dtype=torch.bool)
    ended, over = team_ends(terminated, truncated, active)
    assert over.flatten().tolist() == [False, False, True]
    assert ended.flatten().tolist() == [False, False, True]


def test_a_team_is_truncated_if_one_of_its_last_agents_is() -> None:
    terminated = torch.tensor([[[1, 0]]], dtype=torch.bool)
    truncated = torch.tensor([[[0, 1]]], dtype=torch.bool)
    active = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.bool)
    ended, over = team_ends(terminated, truncated, active)
    assert over.item()
    assert not ended.item()


def test_steps_that_take_no_time_are_not_discounted() -> None:
    # Step 0 takes no time, step 1 twice that of a discount.
    # delta_1 = 3 + 0.25 * 8 - 4 = 1; A_0 = 1 + 4 - 2 + 1; targets are advantages + values.
    flags = torch.zeros(1, 2, 1, dtype=torch.bool)
    targets = learning_targets(
        {
            Fragment.REWARDS: torch.tensor([[[1.0], [3.0]]]),
            Fragment.ELAPSED: torch.tensor([[0.0, 2.0]]),
            Fragment.TERMINATED: flags,
            Fragment.TRUNCATED: flags,
            Fragment.ACTIVE: torch.ones(1, 3, 1, dtype=torch.bool),
            Fragment.VALID: torch.ones(1, 2, dtype=torch.bool),
        },
        torch.tensor([[[2.0], [4.0], [8.0]]]),
        gamma=GAMMA,
        lambda_=LAMBDA,
        team_reward="own",
        shared_end=False,
    )
    assert targets[Postprocessing.VALUE_TARGETS].flatten().tolist() == [6.0, 5.0]


def test_between_decisions_rewards_are_credited_to_the_last_one() -> None:
    # Choices at steps 0 and 2 only; what the critic says of other observations does not matter.
    # The sum of step 2 ends with the fragment: 4 + 8 / 2 + V_2 / 4 = 9, an advantage of 5.
    # Step 0 earns 1 + 2 / 2, then a quarter of V_2 + 5 / 2 = 6.5: 3.625.
    wild = 1e6
    mask = torch.tensor([[1, 1], [1, 0], [1, 1], [1, 0], [1, 0]], dtype=torch.bool)
    flags = torch.zeros(1, 4, 1, dtype=torch.bool)
    targets = learning_targets(
        {
            Fragment.REWARDS: torch.tensor([[[1.0], [2.0], [4.0], [8.0]]]),
            Fragment.ACTION_MASK: mask[None, :, None],
            Fragment.TERMINATED: flags,
            Fragment.TRUNCATED: flags,
            Fragment.ACTIVE: torch.ones(1, 5, 1, dtype=torch.bool),
            Fragment.VALID: torch.ones(1, 4, dtype=torch.bool),
        },
        torch.tensor([[[2.0], [wild], [4.0], [wild], [wild]]]),
        gamma=0.5,
        lambda_=0.5,
        team_reward="own",
        shared_end=False,
        decisions=True,
    )
    assert targets[Columns.LOSS_MASK].flatten().tolist() == [True, False, True, False]
    found = targets[Postprocessing.VALUE_TARGETS].flatten()
    assert [found[0].item(), found[2].item()] == [3.625, 9.0]
    assert targets[Postprocessing.ADVANTAGES].flatten()[[0, 2]].tolist() == [-1.0, 1.0]


def test_standardised_over_the_mask_alone() -> None:
    advantages = torch.tensor([[1.0, 1e9], [3.0, 5.0]])
    mask = torch.tensor([[True, False], [True, True]])
    result = standardised(advantages, mask)[mask]
    assert result.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert result.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)


def test_equal_advantages_stay_finite() -> None:
    result = standardised(torch.full((3, 2), 4.0), torch.ones(3, 2, dtype=torch.bool))
    assert result.abs().max().item() == 0.0


def loop_over_episodes(
    rewards: NDArray[np.float64],
    values: NDArray[np.float64],
    terminated: NDArray[np.bool_],
    over: NDArray[np.bool_],
    gamma: float,
    lambda_: float,
) -> NDArray[np.float64]:
    """Equation 16 as it is written: a sum of discounted deltas to the end of each episode."""
    T = len(rewards)
    advantages = np.zeros(T)
    for t in range(T):
        for later in range(t, T):
            following = 0.0 if terminated[later] else values[later + 1]
            delta = rewards[later] + gamma * following - values[later]
            advantages[t] += (gamma * lambda_) ** (later - t) * delta
            if over[later]:
                break
    return advantages


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 3)),
    gamma=st.floats(0, 1),
    lambda_=st.floats(0, 1),
    ends=st.floats(0, 1),
)
def test_equals_a_plain_loop(
    seed: int, shape: tuple[int, int, int], gamma: float, lambda_: float, ends: float
) -> None:
    B, T, N = shape
    rng = np.random.default_rng(seed)
    rewards = rng.normal(size=shape)
    values = rng.normal(size=(B, T + 1, N))
    over = rng.random(shape) < ends
    terminated = over & (rng.random(shape) < 0.5)
    advantages = generalised_advantages(
        torch.from_numpy(rewards),
        torch.from_numpy(values),
        torch.from_numpy(terminated),
        torch.from_numpy(over),
        gamma=gamma,
        lambda_=lambda_,
    ).numpy()
    for b in range(B):
        for n in range(N):
            expected = loop_over_episodes(
                rewards[b, :, n], values[b, :, n], terminated[b, :, n], over[b, :, n],
                gamma, lambda_,
            )  # fmt: skip
            np.testing.assert_allclose(advantages[b, :, n], expected, atol=1e-9)
