"""Transitions from each agent's decisions to its next ones, across fragments and agents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_marl.algorithms.replay.columns import DecisionTransition as Row
from edge_marl.algorithms.replay.decisions import DecisionStream
from edge_marl.algorithms.replay.transitions import TransitionRings
from edge_marl.algorithms.sampling.columns import Fragment

GAMMA, N, A, D = 0.9, 3, 2, 2

Episode = dict[str, Any]


def episode(rng: np.random.Generator, length: int, *, cut: bool, in_turn: bool) -> Episode:
    """Draw what N agents see, do and earn in the steps of an episode, and in its last observation.

    The observations are numbers of their own, so that each can be told from all others. If agents
    decide in turn, all earn the same.
    """
    if in_turn:  # sometimes nobody does
        decides = np.arange(N) == rng.integers(N + 1, size=(length + 1, 1))
    else:
        decides = rng.random((length + 1, N)) < 0.4
    mask = np.repeat(decides[..., None], A, axis=2)  # with vectors, one legal choice would do
    rewards = rng.normal(size=(length, 1 if in_turn else N)).astype(np.float32)
    over = np.zeros((length, N), bool)
    over[-1] = True
    active = np.ones((length + 1, N), bool)
    active[-1] = cut
    return {
        Fragment.FEATURES: rng.normal(size=(length + 1, N, 1)).astype(np.float32),
        Fragment.ACTION_MASK: mask,
        Fragment.STATE: rng.normal(size=(length + 1, 2)).astype(np.float32),
        Fragment.ACTIVE: active,
        Fragment.FIRST: np.arange(length + 1) == 0,
        Fragment.ACTIONS: rng.integers(A, size=(length, N)),
        Fragment.VECTORS: rng.random((length, N, D)).astype(np.float32),
        Fragment.REWARDS: np.broadcast_to(rewards, (length, N)),
        Fragment.TERMINATED: over & (not cut),
        Fragment.TRUNCATED: over & cut,
        Fragment.ELAPSED: rng.integers(1, 4, size=length).astype(np.float32),
        Fragment.VALID: np.ones(length, bool),
    }


def slot(episodes: list[Episode], n_steps: int) -> Episode:
    """Join episodes as a runner shows them: a step that is not played after each but the last."""
    columns: dict[str, list[Any]] = {name: [] for name in episodes[0]}
    for one in episodes:
        length = len(one[Fragment.VALID])
        for name, column in one.items():
            columns[name].append(column)
            if len(column) == length:
                columns[name].append(np.zeros_like(column[-1:]))
    return {name: np.concatenate(parts)[: n_steps + 1] for name, parts in columns.items()}


def fragments_of(slots: list[Episode], begin: int, end: int) -> dict[str, torch.Tensor]:
    """Return steps ``begin`` to ``end`` of all slots."""
    observed = (
        Fragment.FEATURES, Fragment.ACTION_MASK, Fragment.STATE, Fragment.ACTIVE, Fragment.FIRST,
    )  # fmt: skip
    return {
        name: torch.from_numpy(np.stack([
            own[name][begin : end + (name in observed)] for own in slots
        ]))
        for name in slots[0]
    }  # fmt: skip


def expected(
    own: Episode, n_steps: int, n: int = 1, *, of_team: bool = False
) -> list[tuple[Any, ...]]:
    """Follow every decision of a slot step by step to the n-th one after it, its agent's or any."""
    found = []
    for t in range(n_steps):
        for i in range(N):
            if not (own[Fragment.VALID][t] and own[Fragment.ACTION_MASK][t, i].any()):
                continue
            reward, discount, then, passed = 0.0, 1.0, None, 0
            for step in range(t, n_steps):
                reward += discount * own[Fragment.REWARDS][step, i]
                discount *= GAMMA ** own[Fragment.ELAPSED][step]
                if own[Fragment.TERMINATED][step, i]:
                    then, discount = -1, 0.0
                elif own[Fragment.ACTION_MASK][step + 1, slice(N) if of_team else i].any():
                    passed += 1
                    last = step + 1, discount, reward
                    if passed == n:
                        then = step + 1
                cut = own[Fragment.TRUNCATED][step, i]
                if cut and 0 < passed < n and last[0] < n_steps:  # what is last may be played yet
                    then, discount, reward = last
                if then is not None or cut:
                    break
            if then is not None:
                found.append((t, i, reward, discount, then))
    return found


def made(seed: int, n_slots: int, n_steps: int, *, in_turn: bool = False) -> list[Episode]:
    """Make slots of episodes that end in both ways."""
    rng = np.random.default_rng(seed)
    return [
        slot([episode(rng, int(rng.integers(3, 15)), cut=rng.random() < 0.3, in_turn=in_turn)
              for _ in range(n_steps // 3 + 1)], n_steps)
        for _ in range(n_slots)
    ]  # fmt: skip


@pytest.mark.parametrize("of_team", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("lengths", [(40,), (8, 8, 8, 8, 8), (1, 2, 3, 34)])
def test_transitions_are_the_same_however_steps_are_cut_into_fragments(
    lengths: tuple[int, ...], n: int, of_team: bool
) -> None:
    slots = made(0, 4, sum(lengths), in_turn=of_team)
    stream = DecisionStream(N, sees_others=True, of_team=of_team, n_step=n)
    parts, begin = [], 0
    for length in lengths:
        parts.append(stream.transitions(fragments_of(slots, begin, begin + length), GAMMA))
        begin += length
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    # Observations are all different: they tell which decision a row is.
    row_of = {
        float(value): k for k, value in enumerate(found[Row.FEATURES][:, 0])
    }  # fmt: skip
    n_found = 0
    for own in slots:
        for t, i, reward, discount, then in expected(own, begin, n, of_team=of_team):
            k = row_of[float(own[Fragment.FEATURES][t, i, 0])]
            n_found += 1
            others = [(i + 1) % N, (i + 2) % N]
            assert int(found[Row.NODE][k]) == i
            assert int(found[Row.ACTIONS][k]) == own[Fragment.ACTIONS][t, i]
            assert float(found[Row.REWARDS][k]) == pytest.approx(reward, abs=1e-5)
            assert float(found[Row.DISCOUNTS][k]) == pytest.approx(discount, abs=1e-6)
            np.testing.assert_array_equal(found[Row.VECTORS][k], own[Fragment.VECTORS][t, i])
            np.testing.assert_array_equal(found[Row.STATE][k], own[Fragment.STATE][t])
            np.testing.assert_array_equal(
                found[Row.OTHER_ACTIONS][k], own[Fragment.ACTIONS][t, others]
            )
            np.testing.assert_array_equal(
                found[Row.OTHERS_DECIDE][k], own[Fragment.ACTION_MASK][t, others].any(-1)
            )
            assert found[Row.NEXT_ACTION_MASK][k].any()
            if then >= 0:
                j = int(own[Fragment.ACTION_MASK][then].any(-1).argmax()) if of_team else i
                assert int(found[Row.NEXT_NODE][k]) == j
                others = [(j + 1) % N, (j + 2) % N]
                np.testing.assert_array_equal(
                    found[Row.NEXT_FEATURES][k], own[Fragment.FEATURES][then, j]
                )
                np.testing.assert_array_equal(found[Row.NEXT_STATE][k], own[Fragment.STATE][then])
                np.testing.assert_array_equal(
                    found[Row.NEXT_OTHER_MASKS][k], own[Fragment.ACTION_MASK][then, others]
                )
    assert n_found == len(row_of) > 80


def test_what_was_open_is_dropped_when_runners_are_lost() -> None:
    slots = made(1, 4, 40)
    stream, fewer = DecisionStream(N, sees_others=False), DecisionStream(N, sees_others=False)
    stream.transitions(fragments_of(slots, 0, 10), GAMMA)
    found = stream.transitions(fragments_of(slots[1:], 10, 20), GAMMA)
    alone = fewer.transitions(fragments_of(slots[1:], 10, 20), GAMMA)
    for name, column in alone.items():
        torch.testing.assert_close(found[name], column)
    assert found[Row.OTHER_ACTIONS].shape[1] == 0


def test_a_stream_goes_on_from_its_state() -> None:
    slots = made(2, 3, 30)
    one, other = (DecisionStream(N, sees_others=True, n_step=2) for _ in range(2))
    one.transitions(fragments_of(slots, 0, 10), GAMMA)
    other.set_state(one.get_state())
    again = [own.transitions(fragments_of(slots, 10, 30), GAMMA) for own in (one, other)]
    for name, column in again[0].items():
        torch.testing.assert_close(column, again[1][name], rtol=0, atol=0)


def rows(agents: list[int]) -> dict[str, torch.Tensor]:
    """Make transitions of agents that are numbered by their rewards."""
    K = len(agents)
    return {
        Row.NODE: torch.tensor(agents),
        Row.REWARDS: torch.arange(K, dtype=torch.float32),
        Row.ACTION_MASK: torch.ones(K, A, dtype=torch.bool),
        Row.NEXT_ACTION_MASK: torch.ones(K, A, dtype=torch.bool),
    }


def test_a_ring_keeps_the_last_transitions_of_the_agents_of_its_set() -> None:
    replay = TransitionRings(4, sets=(0, 1, 0))
    replay.add(rows([0, 1, 2, 0, 2, 1, 0]))
    assert replay.sizes == [4, 2]
    drawn = replay.draw(500, [torch.Generator().manual_seed(k) for k in range(2)])
    assert set(drawn[Row.REWARDS][:, 0].tolist()) == {2.0, 3.0, 4.0, 6.0}
    assert set(drawn[Row.REWARDS][:, 1].tolist()) == {1.0, 5.0}
    again = TransitionRings(4, sets=(0, 1, 0))
    again.set_state(replay.get_state())
    for ring in (replay, again):
        ring.add(rows([2]))
    one, other = (
        ring.draw(50, [torch.Generator().manual_seed(k) for k in range(2)])[Row.REWARDS]
        for ring in (replay, again)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert 2.0 not in one[:, 0].tolist()
