"""The replay of fragments against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_marl.algorithms.replay.buffer import (
    FragmentBuffer,
    JointTransition,
    n_step_returns,
    team_rewards,
)
from edge_marl.algorithms.replay.sum_tree import SumTree
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.errors import InputError

B, T, N, F, A, S, H = 3, 6, 2, 4, 3, 5, 2
GAMMA = 0.5


def fragments(first_id: int = 0, rows: int = B) -> dict[str, Any]:
    """Fragments whose features say where they are from: row id, step.

    Row 0: six steps of one episode, cut by the end of the fragment. Row 1: an episode terminates
    after step 1, step 2 only shows its end, another runs from step 3 on. Row 2: agent 1 terminates
    in step 1, agent 0 is truncated in step 3, step 4 only shows the end.
    """
    ids = first_id + np.arange(rows)
    where = np.stack(np.broadcast_arrays(ids[:, None], np.arange(T + 1)), -1).astype(np.float32)
    columns: dict[str, Any] = {
        Fragment.FEATURES: np.zeros((rows, T + 1, N, F), np.float32),
        Fragment.ACTION_MASK: np.ones((rows, T + 1, N, A), bool),
        Fragment.STATE: np.zeros((rows, T + 1, S), np.float32),
        Fragment.ACTIVE: np.ones((rows, T + 1, N), bool),
        Fragment.FIRST: np.zeros((rows, T + 1), bool),
        Fragment.ACTIONS: np.tile(np.arange(T)[:, None] % A, (rows, 1, N)).astype(np.int64),
        Fragment.REWARDS: np.tile(np.array([[1.0, 10.0]], np.float32), (rows, T, 1)),
        Fragment.TERMINATED: np.zeros((rows, T, N), bool),
        Fragment.TRUNCATED: np.zeros((rows, T, N), bool),
        Fragment.VALID: np.ones((rows, T), bool),
        Fragment.HIDDEN: ids[:, None, None] * np.ones((rows, N, H), np.float32),
    }
    columns[Fragment.FEATURES][..., :2] = where[:, :, None]
    columns[Fragment.STATE][..., :2] = where
    if rows > 1:
        columns[Fragment.TERMINATED][1, 1] = True
        columns[Fragment.VALID][1, 2] = False
        columns[Fragment.FIRST][1, 3] = True
    if rows > 2:
        columns[Fragment.TERMINATED][2, 1, 1] = True
        columns[Fragment.ACTIVE][2, 2:5, 1] = False
        columns[Fragment.REWARDS][2, 2:4, 1] = 0.0
        columns[Fragment.TRUNCATED][2, 3, 0] = True
        columns[Fragment.VALID][2, 4] = False
        columns[Fragment.FIRST][2, 5] = True
    return columns


def filled(**options: Any) -> FragmentBuffer:
    replay = FragmentBuffer(10 * T, seed=0, **options)
    replay.add(fragments())
    return replay


def by_place(drawn: dict[str, Any]) -> dict[tuple[int, int], int]:
    """Row of ``drawn`` of each (fragment, step) in it."""
    where = drawn[JointTransition.FEATURES][:, 0, 0, :2].astype(int)
    return {(int(row), int(step)): k for k, (row, step) in enumerate(where)}


def test_the_team_gets_the_sum_or_what_all_are_given() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, 3.0], [3.0, 9.0], [4.0, 5.0]], np.float32)
    present = np.array([[True, True], [True, True], [True, False], [False, False]])
    np.testing.assert_array_equal(team_rewards(rewards, present, "sum"), [3.0, 6.0, 3.0, 0.0])
    np.testing.assert_array_equal(team_rewards(rewards, present, "shared"), [1.5, 3.0, 3.0, 0.0])


def test_n_step_returns_stop_at_ends() -> None:
    rewards = np.array([[1.0, 2.0, 4.0, 8.0]], np.float32)
    ends = np.array([[False, True, False, True]])
    once, rows, steps = np.ones_like(rewards), np.zeros(4, int), np.arange(4)
    returns, last, discounts = n_step_returns(
        rewards, once, ends, rows, steps, gamma=GAMMA, n_step=3
    )
    np.testing.assert_array_equal(returns, [2.0, 2.0, 8.0, 8.0])  # 1 + 2/2, 2, 4 + 8/2, 8
    np.testing.assert_array_equal(last, [1, 1, 3, 3])
    np.testing.assert_array_equal(discounts, [0.25, 0.5, 0.25, 0.5])
    returns, last, discounts = n_step_returns(
        rewards, once, ends, rows, steps, gamma=GAMMA, n_step=1
    )
    np.testing.assert_array_equal(returns, rewards[0])
    np.testing.assert_array_equal(last, steps)
    np.testing.assert_array_equal(discounts, 0.5)


def test_steps_are_discounted_by_the_time_they_take() -> None:
    rewards = np.array([[1.0, 2.0, 4.0]], np.float32)
    elapsed = np.array([[0.0, 2.0, 1.0]], np.float32)
    ends = np.array([[False, False, True]])
    returns, _, discounts = n_step_returns(
        rewards, elapsed, ends, np.zeros(3, int), np.arange(3), gamma=GAMMA, n_step=2
    )
    np.testing.assert_array_equal(returns, [3.0, 3.0, 4.0])  # 1 + 2, 2 + 4/4, 4
    np.testing.assert_array_equal(discounts, [0.25, 0.125, 0.5])
    replay = FragmentBuffer(capacity=100, seed=0)
    replay.add({**fragments(rows=1), Fragment.ELAPSED: np.full((1, T), 3.0, np.float32)})
    drawn = replay.sample(1, 8, gamma=GAMMA, n_step=1)
    np.testing.assert_array_equal(drawn[JointTransition.DISCOUNTS], 0.125)


def test_transitions_by_hand() -> None:
    drawn = filled().sample(20, 16, gamma=GAMMA, n_step=2)
    at = by_place(drawn)
    played = {(r, t) for r in range(B) for t in range(T)} - {(1, 2), (2, 4)}
    assert set(at) == played
    assert (drawn[JointTransition.WEIGHTS] == 1).all()
    assert (drawn[JointTransition.BOOTSTRAP] == 0).all()

    def check(
        row: int, step: int, returns: float, discount: float, then: int, remaining: list[bool]
    ) -> None:
        k = at[row, step]
        assert drawn[JointTransition.RETURNS][k] == [returns]
        assert drawn[JointTransition.DISCOUNTS][k] == [discount]
        assert drawn[JointTransition.FEATURES][k, 1, 0, :2].tolist() == [row, then]
        assert drawn[JointTransition.STATE][k, :, :2].tolist() == [[row, step], [row, then]]
        assert drawn[JointTransition.REMAINING][k].tolist() == [remaining]
        assert drawn[JointTransition.ACTIONS][k].tolist() == [[step % A] * N]

    check(0, 0, 11 + 5.5, 0.25, 2, [True, True])
    check(0, 5, 11, 0.5, 6, [True, True])  # cut by the end of the fragment
    check(1, 0, 11 + 5.5, 0.0, 2, [False, False])  # terminates within the two steps
    check(1, 1, 11, 0.0, 2, [False, False])
    check(1, 3, 11 + 5.5, 0.25, 5, [True, True])
    check(2, 0, 11 + 5.5, 0.25, 2, [True, False])  # agent 1 has terminated, agent 0 goes on
    check(2, 2, 1 + 0.5, 0.25, 4, [True, False])  # truncated: bootstraps from what was shown
    check(2, 3, 1, 0.5, 4, [True, False])
    assert drawn[JointTransition.PRESENT][at[2, 1]].tolist() == [[True, True]]
    assert drawn[JointTransition.PRESENT][at[2, 2]].tolist() == [[True, False]]


def test_who_arrives_is_part_of_what_is_bootstrapped_from() -> None:
    """Agent 1 joins after step 1 and pauses in step 4, without a flag."""
    columns = fragments(rows=1)
    columns[Fragment.ACTIVE][0, [0, 1, 4], 1] = False
    replay = FragmentBuffer(T, seed=0)
    replay.add(columns)
    drawn = replay.sample(1, 64, gamma=GAMMA, n_step=1)
    at = by_place(drawn)
    present = [drawn[JointTransition.PRESENT][at[0, step]][0].tolist() for step in range(T)]
    remaining = [drawn[JointTransition.REMAINING][at[0, step]][0].tolist() for step in range(T)]
    assert [here for _, here in present] == [False, False, True, True, False, True]
    assert [here for _, here in remaining] == [False, True, True, False, True, True]
    assert all(here for here, _ in present + remaining)


def test_fragments_of_another_kind_are_refused() -> None:
    replay = filled()
    changed = fragments()
    changed[Fragment.FEATURES] = changed[Fragment.FEATURES].astype(np.uint8)
    with pytest.raises(InputError, match=r"replay: features: expected float32 .* found uint8"):
        replay.add(changed)


def test_types_are_the_learners() -> None:
    drawn = filled(alpha=0.5).sample(2, 4, gamma=GAMMA, n_step=2, beta=0.5)
    kinds = {name: column.dtype.kind + str(column.dtype.itemsize) for name, column in drawn.items()}
    floats = (
        JointTransition.FEATURES,
        JointTransition.STATE,
        JointTransition.RETURNS,
        JointTransition.DISCOUNTS,
        JointTransition.WEIGHTS,
    )
    assert {kinds[name] for name in floats} == {"f4"}
    assert {
        kinds[name]
        for name in (
            JointTransition.ACTION_MASK,
            JointTransition.PRESENT,
            JointTransition.REMAINING,
        )
    } == {"b1"}
    assert {
        kinds[name]
        for name in (JointTransition.ACTIONS, JointTransition.BOOTSTRAP, JointTransition.SLOT)
    } == {"i8"}
    assert {len(column) for column in drawn.values()} == {8}


def test_sequences_by_hand() -> None:
    drawn = filled(sequences=True).sample(8, 2, gamma=GAMMA, n_step=2)
    ids = drawn[JointTransition.FEATURES][:, 0, 0, 0].astype(int)
    assert set(ids) == {0, 1, 2}
    k = int(np.flatnonzero(ids == 1)[0])
    np.testing.assert_array_equal(drawn[JointTransition.WEIGHTS][k], [1, 1, 0, 1, 1, 1])
    np.testing.assert_array_equal(drawn[JointTransition.BOOTSTRAP][k], [1, 1, 3, 4, 5, 5])
    np.testing.assert_array_equal(
        drawn[JointTransition.RETURNS][k][[0, 1, 3, 4, 5]], [16.5, 11, 16.5, 16.5, 11]
    )
    np.testing.assert_array_equal(
        drawn[JointTransition.DISCOUNTS][k][[0, 1, 3, 4, 5]], [0, 0, 0.25, 0.25, 0.5]
    )
    np.testing.assert_array_equal(drawn[JointTransition.FIRST][k], [0, 0, 0, 1, 0, 0, 0])
    assert (drawn[JointTransition.HIDDEN][k] == 1).all()
    assert drawn[JointTransition.FEATURES].shape == (16, T + 1, N, F)
    assert drawn[JointTransition.PRESENT].shape == (16, T, N)


def test_the_oldest_fragments_make_room() -> None:
    replay = FragmentBuffer(5 * T + 1, seed=0)
    for start in range(0, 12, 3):
        replay.add(fragments(start))
        assert replay.n_steps <= 5 * T
    ids = {row for row, _ in by_place(replay.sample(10, 20, gamma=GAMMA, n_step=1))}
    assert ids == {7, 8, 9, 10, 11}
    replay.add(fragments(20, rows=9))  # more than it holds: the last ones stay
    ids = {row for row, _ in by_place(replay.sample(10, 20, gamma=GAMMA, n_step=1))}
    assert ids == {24, 25, 26, 27, 28}


def test_a_ring_too_short_is_refused() -> None:
    with pytest.raises(InputError, match=r"replay_capacity.*6 steps, found 5"):
        FragmentBuffer(5, seed=0).add(fragments())


def test_uniform_draws_are_uniform_over_the_steps_played() -> None:
    drawn = filled().sample(100, 160, gamma=GAMMA, n_step=1)
    slots, counts = np.unique(drawn[JointTransition.SLOT], return_counts=True)
    assert len(slots) == B * T - 2
    np.testing.assert_allclose(counts / 16_000, 1 / 16, atol=0.01)


def test_prioritised_draws_follow_the_errors() -> None:
    replay = filled(alpha=0.5)
    slots = np.unique(replay.sample(20, 16, gamma=GAMMA, n_step=1)[JointTransition.SLOT])
    assert len(slots) == B * T - 2  # new ones have the same priority, those not played none
    errors = np.where(slots == slots[3], 9.0, 1.0)
    replay.update_priorities(slots, errors)
    drawn = replay.sample(100, 160, gamma=GAMMA, n_step=1, beta=1.0)
    chosen = drawn[JointTransition.SLOT] == slots[3]
    assert chosen.mean() == pytest.approx(3 / 18, abs=0.01)  # sqrt(9) of 3 + 15 * sqrt(1)
    np.testing.assert_allclose(drawn[JointTransition.WEIGHTS][chosen], 1 / 3, rtol=1e-3)
    np.testing.assert_allclose(drawn[JointTransition.WEIGHTS][~chosen], 1.0, rtol=1e-3)
    replay.add(fragments(7, rows=1))  # a new fragment comes with the highest priority so far
    drawn = replay.sample(100, 160, gamma=GAMMA, n_step=1)
    new = drawn[JointTransition.FEATURES][:, 0, 0, 0] == 7
    assert new.mean() == pytest.approx(6 * 3 / (18 + 6 * 3), abs=0.02)
    assert (drawn[JointTransition.WEIGHTS] == 1).all()  # beta 0


def test_prioritised_sequences() -> None:
    replay = filled(alpha=1.0, sequences=True)
    replay.update_priorities(np.arange(B), np.array([1.0, 2.0, 5.0]))
    drawn = replay.sample(100, 80, gamma=GAMMA, n_step=1)
    shares = np.bincount(drawn[JointTransition.SLOT], minlength=B) / 8000
    np.testing.assert_allclose(shares, [1 / 8, 2 / 8, 5 / 8], atol=0.01)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("sequences", [False, True])
def test_a_restored_replay_goes_on_alike(alpha: float, sequences: bool) -> None:
    def go_on(replay: FragmentBuffer) -> dict[str, Any]:
        replay.add(fragments(50))
        drawn = replay.sample(3, 8, gamma=GAMMA, n_step=3, beta=0.4)
        replay.update_priorities(drawn[JointTransition.SLOT], np.linspace(1, 2, 24))
        return replay.sample(3, 8, gamma=GAMMA, n_step=3, beta=0.4)

    options: dict[str, Any] = {"alpha": alpha, "sequences": sequences}
    one = FragmentBuffer(4 * T, seed=3, **options)
    for start in (0, 3):
        one.add(fragments(start))
    one.update_priorities(
        one.sample(2, 4, gamma=GAMMA, n_step=1)[JointTransition.SLOT], np.arange(8.0)
    )
    other = FragmentBuffer(4 * T, seed=4, **options)
    other.set_state(one.get_state())
    expected, found = go_on(one), go_on(other)
    for name, column in expected.items():
        np.testing.assert_array_equal(found[name], column, err_msg=name)


def test_a_checkpoint_of_another_replay_is_refused() -> None:
    line = "^team_reward: expected 'sum', as in the checkpoint's replay, found 'shared'$"
    with pytest.raises(InputError, match=line):
        FragmentBuffer(12, seed=0, team_reward="shared").set_state(filled().get_state())


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_another_capacity_keeps_the_latest_rows_in_their_order(rows: int) -> None:
    ring = FragmentBuffer(3 * T, seed=0, alpha=1.0)
    for start in range(5):  # the ring begins anew after three
        one = {name: column[:1] for name, column in fragments(start).items()}
        ring.add(one)
    for error, slot in enumerate(ring.sample(1, 9, gamma=GAMMA, n_step=1)[JointTransition.SLOT]):
        ring.update_priorities(np.array([slot]), np.array([error + 2.0]))
    other = FragmentBuffer(rows * T, seed=0, alpha=2.0)
    other.set_state(ring.get_state())
    assert ring._tree is not None
    assert other._tree is not None
    # The third, fourth and fifth fragment are in rows 2, 0 and 1; as many rows stay as they are.
    order = [0, 1, 2] if rows == 3 else [2, 0, 1][-rows:]
    for name, column in ring._ring.items():
        np.testing.assert_array_equal(other._ring[name][: len(order)], column[order], err_msg=name)
    priorities = ring._tree.priorities.reshape(3, T)[order] ** 2
    found = other._tree.priorities[: len(order) * T].reshape(-1, T)
    np.testing.assert_allclose(found, priorities)


def test_priorities_begin_alike_where_there_were_none() -> None:
    ring = filled()
    prioritised = FragmentBuffer(60, seed=0, alpha=0.5)
    prioritised.set_state(ring.get_state())
    assert prioritised._tree is not None
    assert set(prioritised._tree.priorities[: ring.n_steps].tolist()) <= {0.0, 1.0}
    uniform = FragmentBuffer(60, seed=0)
    uniform.set_state(prioritised.get_state())
    assert uniform.n_steps == ring.n_steps


def test_an_empty_replay_can_be_kept() -> None:
    replay = FragmentBuffer(60, seed=0)
    replay.set_state(FragmentBuffer(60, seed=1).get_state())
    assert replay.n_steps == 0


def test_sum_tree_by_hand() -> None:
    tree = SumTree(5)
    tree.assign(np.arange(5), np.array([1.0, 0.0, 2.0, 4.0, 1.0]))
    assert tree.total == 8
    shares = np.array([0, 0.99, 1, 2.99, 3, 6.99, 7, 7.999999]) / 8
    assert tree.find(shares).tolist() == [0, 0, 2, 2, 3, 3, 4, 4]
    tree.assign(np.array([3, 3]), np.array([9.0, 0.0]))
    assert tree.total == 4
    assert tree.priorities.tolist() == [1, 0, 2, 0, 1]
    assert set(tree.find(np.linspace(0, 0.999, 50)).tolist()) == {0, 2, 4}
