"""The manager of a federation as a state machine: versions by hand, and what is never used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_marl.algorithms.federation.aggregation import coefficients, krum, median, trimmed_mean
from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.options import FederationOptions
from edge_marl.algorithms.federation.updates import Outcome, Update

P = 3


def fedbuff(n_clients: int = 4, weights: Sequence[float] = (0.0,) * P, **options: Any) -> FedBuff:
    return FedBuff(torch.tensor(weights), n_clients, FederationOptions(**options))


def update(
    client: int, delta: Sequence[float] = (1.0,) * P, *, sequence: int = 1, version: int = 0,
    steps: int = 1,
) -> Update:  # fmt: skip
    return Update(client, sequence, version, steps, np.array(delta, dtype=np.float32))


# Versions ----------------------------------------------------------------------------------------


def test_coefficients_are_shares_of_local_trainings() -> None:
    assert coefficients([1, 2, 5]).tolist() == [0.125, 0.25, 0.625]


def test_a_version_adds_the_mean_of_the_buffered_updates() -> None:
    manager = fedbuff(weights=(1.0, 2.0, 3.0))
    manager.receive(update(0, (4.0, 0.0, 0.0), steps=1))
    assert not manager.close(), "2 of 4 clients are needed"
    manager.receive(update(2, (0.0, 4.0, 8.0), steps=3))
    assert manager.close()
    assert manager.version == 1
    assert manager.weights.tolist() == [2.0, 5.0, 9.0]
    assert not manager.close(), "the buffer is empty again"


def test_what_comes_in_the_same_tick_as_the_last_that_is_needed_is_used_too() -> None:
    manager = fedbuff()
    for client in range(4):
        assert manager.receive(update(client, (8.0, 0.0, 0.0))) is Outcome.BUFFERED
    assert manager.close()
    assert manager.weights.tolist() == [8.0, 0.0, 0.0]
    assert [manager.outcomes[client][Outcome.USED] for client in range(4)] == [1] * 4


def test_a_newer_update_replaces_an_older_one_and_weighs_more() -> None:
    manager = fedbuff()
    manager.receive(update(0, (1.0, 0.0, 0.0)))
    manager.receive(update(0, (4.0, 0.0, 0.0), sequence=2, steps=3))
    manager.receive(update(1, (0.0, 4.0, 0.0)))
    assert manager.close()
    assert manager.weights.tolist() == [3.0, 1.0, 0.0]
    assert manager.outcomes[0] == {Outcome.REPLACED: 1, Outcome.USED: 1}


@pytest.mark.parametrize(
    ("participants", "n", "needed"), [(0.5, 37, 19), (0.3, 10, 3), (0.1, 30, 3), (1, 4, 4)]
)
def test_k_is_a_share_of_the_clients_rounded_up(participants: float, n: int, needed: int) -> None:
    assert fedbuff(n, participants=participants).needed == needed


def test_adam_as_the_servers_optimiser_is_fedadam() -> None:
    manager = fedbuff(1, server_optimiser="adam", server_lr=0.1)
    manager.receive(update(0, (5.0, -5.0, 0.5)))
    assert manager.close()
    # The first step of Adam goes as far as its rate, whatever the gradient.
    np.testing.assert_allclose(manager.weights, [0.1, -0.1, 0.1], rtol=1e-6)


# What comes too late -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "outcome", "weight"),
    [("exact", Outcome.STALE, 0.0), ("polynomial", Outcome.BUFFERED, 0.5),
     ("none", Outcome.BUFFERED, 1.0)],
)  # fmt: skip
def test_an_update_of_an_older_version_counts_by_the_rule(
    rule: str, outcome: Outcome, weight: float
) -> None:
    manager = fedbuff(2, staleness=rule)
    for _ in range(3):
        manager.receive(update(1, (0.0,) * P, sequence=manager.version + 1,
                               version=manager.version))  # fmt: skip
        assert manager.close()
    assert manager.receive(update(0, (4.0, 0.0, 0.0), version=0)) is outcome
    manager.close()
    # Three versions ago: (1 + 3)^-1/2.
    assert manager.weights.tolist() == [4.0 * weight, 0.0, 0.0]


@given(st.sampled_from(["exact", "polynomial"]), st.integers(2, 30))
def test_a_client_ten_times_slower_delays_no_version(rule: str, rounds: int) -> None:
    n, slow = 4, 0
    manager = fedbuff(n, staleness=rule)
    started = 0
    for t in range(10 * rounds):
        for client in range(1, n):
            manager.receive(update(client, sequence=t + 1, version=manager.version))
        if t % 10 == 9:
            manager.receive(update(slow, sequence=t + 1, version=started))
            started = manager.version
        assert manager.close()
    assert manager.version == 10 * rounds
    heard = manager.outcomes[slow].get(Outcome.USED, 0)
    assert heard == (rounds if rule == "polynomial" else 0), "silenced for ever, or always heard"


# What is never used ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        update(0, (float("nan"), 0.0, 0.0)),
        update(0, (float("inf"), 0.0, 0.0)),
        update(0, (1e30, 1e30, 0.0)),
        update(0, (1.0, 2.0)),
        Update(0, 1, 0, 1, np.zeros(P)),
        update(0, steps=0),
        update(0, version=1),
        update(0, version=-1),
    ],
    ids=["NaN", "infinite", "huge", "short", "double", "no steps", "of the future", "negative"],
)
def test_what_is_no_update_is_refused_and_counted(bad: Update) -> None:
    manager = fedbuff(1)
    assert manager.receive(bad) is Outcome.REFUSED
    assert not manager.close()
    assert manager.outcomes[0] == {Outcome.REFUSED: 1}


def test_an_update_that_is_delivered_twice_counts_once() -> None:
    manager = fedbuff(2)
    first, second = update(0), update(0, sequence=2)
    assert manager.receive(first) is Outcome.BUFFERED
    assert manager.receive(first) is Outcome.DUPLICATE
    assert manager.close()
    assert manager.receive(first) is Outcome.DUPLICATE, "also when it has been used"
    assert manager.receive(second) is Outcome.STALE
    assert manager.receive(second) is Outcome.DUPLICATE, "also when it was not"


def test_clients_join_and_leave() -> None:
    manager = fedbuff(4)
    manager.receive(update(0))
    manager.leave(0)
    assert manager.needed == 2, "of three"
    assert manager.receive(update(0, sequence=2)) is Outcome.REFUSED
    assert manager.outcomes[0] == {Outcome.LOST: 1}
    manager.join(0)
    manager.join(7)
    assert manager.needed == 3, "of five"
    assert manager.receive(update(0, sequence=1)) is Outcome.DUPLICATE, "it is still known"
    for client in (0, 1, 7):
        assert manager.receive(update(client, sequence=2)) is Outcome.BUFFERED
    assert manager.close()


def test_strangers_are_refused() -> None:
    manager = fedbuff(2)
    assert manager.receive(update(2)) is Outcome.REFUSED
    assert sorted(manager.outcomes) == [0, 1]


# Robust rules ------------------------------------------------------------------------------------

HONEST = [[1.0, 0.0, 2.0], [2.0, 0.0, 2.0], [3.0, 0.0, 2.0], [4.0, 0.0, 2.0]]


def test_the_median_of_each_coordinate() -> None:
    deltas = np.array([*HONEST, [1e6, -1e6, 2.0]], dtype=np.float32)
    assert median(deltas, 1).tolist() == [3.0, 0.0, 2.0]


def test_the_mean_without_the_largest_and_the_smallest() -> None:
    deltas = np.array([*HONEST, [1e6, -1e6, 2.0]], dtype=np.float32)
    assert trimmed_mean(deltas, 1).tolist() == [3.0, 0.0, 2.0]
    assert trimmed_mean(deltas[:2], 1).tolist() == [1.5, 0.0, 2.0]


def test_krum_chooses_one_that_has_near_ones() -> None:
    deltas = np.array([[0.0] * P, [1.0] * P, [1.5] * P, [3.0] * P, [1e6] * P], dtype=np.float32)
    assert krum(deltas, 1).tolist() == [1.0] * P
    assert krum(deltas[4:], 1).tolist() == [1e6] * P


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum"])
@pytest.mark.parametrize("attack", [-1.0, 100.0], ids=["sign flip", "times 100"])
def test_a_fifth_of_the_clients_cannot_lead_a_robust_rule_astray(rule: str, attack: float) -> None:
    n, wanted = 10, np.array([1.0, -2.0, 3.0])
    noise = np.random.default_rng(0).normal(0.0, 0.1, (n, P))
    found = {}
    for aggregation in ("mean", rule):
        manager = fedbuff(n, aggregation=aggregation, byzantine=0.2)
        for client in range(n):
            worth = attack if client < 2 else 1.0
            manager.receive(update(client, worth * (wanted + noise[client])))
        assert manager.close()
        found[aggregation] = np.linalg.norm(manager.weights.numpy() - wanted)
    assert found[rule] < 0.3 < 1.4 < found["mean"]


# Privacy -----------------------------------------------------------------------------------------


def test_updates_are_scaled_down_to_the_norm() -> None:
    manager = fedbuff(1, clip_norm=2.0)
    manager.receive(update(0, (3.0, 0.0, 4.0)))
    manager.close()
    np.testing.assert_allclose(manager.weights, [1.2, 0.0, 1.6], rtol=1e-6)


def test_noise_is_relative_to_the_norm_and_to_how_many_share_it() -> None:
    options = FederationOptions(clip_norm=3.0, noise_multiplier=2.0, coefficients="equal")
    manager = FedBuff(torch.zeros(20_000), 4, options, seed=1)
    for client in range(4):
        manager.receive(Update(client, 1, 0, 1, np.zeros(20_000, np.float32)))
    manager.close()
    assert manager.weights.std() == pytest.approx(2.0 * 3.0 / 4, rel=0.03)
    assert manager.most_releases == 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"coefficients": "steps"}, "coefficients: expected 'equal'"),
     ({"aggregation": "median"}, "aggregation: expected 'mean'"),
     ({"clip_norm": None}, "clip_norm: expected a norm")],
)  # fmt: skip
def test_noise_without_a_bound_on_what_a_client_changes_is_refused(
    wrong: dict[str, Any], named: str
) -> None:
    options = {"noise_multiplier": 1.0, "clip_norm": 1.0, "coefficients": "equal"}
    with pytest.raises(ValidationError, match=named):
        FederationOptions(**{**options, **wrong})


# In any order ------------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.one_of(
        st.none(),  # a tick is over
        st.builds(
            update,
            st.integers(0, 4),
            st.lists(st.floats(-10, 10, width=32), min_size=P, max_size=P),
            sequence=st.integers(1, 30),
            version=st.integers(0, 6),
            steps=st.integers(1, 9),
        ),
    ),
    max_size=60,
)
RULES = st.sampled_from([
    {"staleness": "exact"},
    {"staleness": "polynomial", "server_optimiser": "adam", "server_lr": 0.1},
    {"aggregation": "median", "participants": 0.8},
    {"noise_multiplier": 1.0, "clip_norm": 2.0, "coefficients": "equal"},
])  # fmt: skip


def feed(manager: FedBuff, messages: Sequence[Update | None]) -> None:
    for message in messages:
        if message is None:
            manager.close()
        else:
            manager.receive(message)


@given(MESSAGES, RULES)
def test_every_update_has_one_fate(messages: list[Update | None], rules: dict[str, Any]) -> None:
    manager = fedbuff(5, **rules)
    versions, buffered = [], []
    for message in messages:
        feed(manager, [message])
        versions.append(manager.version)
    buffered = manager.get_state()["buffer"]
    assert versions == sorted(versions)
    sent = sum(message is not None for message in messages)
    ended = sum(sum(outcomes.values()) for outcomes in manager.outcomes.values())
    assert sent == ended + len(buffered)
    used = [outcomes.get(Outcome.USED, 0) for outcomes in manager.outcomes.values()]
    assert max(used) <= manager.version
    assert sum(used) >= manager.version * manager.needed
    assert torch.isfinite(manager.weights).all()


@given(MESSAGES, RULES, st.data())
def test_a_saved_state_goes_on_bit_for_bit(
    messages: list[Update | None], rules: dict[str, Any], data: st.DataObject
) -> None:
    first = fedbuff(5, **rules)
    cut = data.draw(st.integers(0, len(messages)))
    feed(first, messages[:cut])
    second = fedbuff(5, **rules)
    feed(second, [*(update(client, sequence=9) for client in range(5)), None])  # used before
    second.set_state(first.get_state())
    for manager in (first, second):
        feed(manager, messages[cut:])
    assert first.weights.tolist() == second.weights.tolist()
    assert first.outcomes == second.outcomes
    assert first.version == second.version


@given(st.permutations(range(5)))
def test_the_order_within_a_tick_changes_no_bit(order: list[int]) -> None:
    manager, sorted_ = fedbuff(5), fedbuff(5)
    deltas = np.random.default_rng(0).normal(size=(5, P))
    feed(manager, [*(update(c, deltas[c], steps=c + 1) for c in order), None])
    feed(sorted_, [*(update(c, deltas[c], steps=c + 1) for c in range(5)), None])
    assert manager.weights.tolist() == sorted_.weights.tolist()
