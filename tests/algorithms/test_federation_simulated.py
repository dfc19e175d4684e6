"""Updates and versions on a simulated network: who hears of what, and when."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.options import FederationOptions
from edge_marl.algorithms.federation.simulated import SimulatedNetwork
from edge_marl.algorithms.federation.updates import Outcome, Update
from edge_marl.simulation import Travel

P = 2


def network(ticks: list[float], *, back: list[float] | None = None, **how: Any) -> SimulatedNetwork:
    manager = FedBuff(torch.zeros(P), len(ticks), FederationOptions(**how.pop("options", {})))
    travel = Travel(np.array(ticks), np.array(back or ticks))
    return SimulatedNetwork(
        manager, travel, **{"drop_rate": 0.0, "late_ticks": 0.0, "seed": 0} | how
    )


def update(client: int, worth: float = 1.0, sequence: int = 1, version: int = 0) -> Update:
    return Update(client, sequence, version, 1, np.full(P, worth, dtype=np.float32))


def test_updates_arrive_after_their_way_and_versions_after_theirs() -> None:
    net = network([2.5, 4.0, 9.0, 0.0], back=[1.0, 6.0, 9.0, 0.0])
    net.send(update(0, 2.0), 10)
    net.send(update(1, 4.0), 10)
    net.advance(13)
    assert net.manager.version == 0, "the first arrives within tick 13, the second in tick 14"
    net.advance(14)
    assert net.manager.version == 1
    heard = {
        t: [net.newest(client, t) is not None for client in range(4)] for t in (14, 15, 20, 23)
    }
    assert heard == {
        14: [False, False, False, True],
        15: [True, False, False, True],
        20: [True, True, False, True],
        23: [True, True, True, True],
    }
    made = net.newest(3, 14)
    assert made is not None
    assert (made.number, made.tick, made.weights.tolist()) == (1, 14, [3.0, 3.0])


def test_all_arrivals_of_a_tick_come_before_a_version_is_made() -> None:
    net = network([1.0] * 4)
    for client in reversed(range(4)):
        net.send(update(client), 0)
    net.advance(5)
    assert net.manager.version == 1
    assert [net.manager.outcomes[c] for c in range(4)] == [{Outcome.USED: 1}] * 4


def test_a_version_that_is_made_on_the_way_makes_updates_stale() -> None:
    net = network([1.0, 1.0, 2.0, 2.0])
    for client in range(4):
        net.send(update(client), 0)
    net.advance(2)
    assert net.manager.version == 1
    assert [net.manager.outcomes[c][Outcome.STALE] for c in range(4)] == [0, 0, 1, 1]


def test_where_there_is_no_way_updates_are_lost_and_no_version_arrives() -> None:
    net = network([inf, 1.0])
    net.send(update(0), 0)
    net.send(update(1), 0)
    net.advance(100)
    assert net.manager.outcomes[0] == {Outcome.LOST: 1}
    assert net.manager.version == 1
    assert net.newest(0, 100) is None
    assert net.newest(1, 100) is not None


def test_the_newest_version_is_kept_for_those_that_are_far_away() -> None:
    net = network([0.0, 0.0], back=[0.0, 25.0])
    for t in range(1, 101):
        net.send(update(0, sequence=t, version=t - 1), t)
        net.advance(t)
    assert net.manager.version == 100
    far, near = net.newest(1, 100), net.newest(0, 100)
    assert far is not None
    assert near is not None
    assert (far.number, near.number) == (75, 100)
    assert len(net.get_state()["versions"]) <= 26, "older ones are forgotten"


def test_a_share_of_the_updates_is_lost() -> None:
    net = network([1.0] * 10, drop_rate=0.3)
    for sequence in range(1, 201):
        for client in range(10):
            net.send(update(client, sequence=sequence), sequence)
    lost = [net.manager.outcomes[client][Outcome.LOST] / 200 for client in range(10)]
    assert np.mean(lost) == pytest.approx(0.3, abs=0.04)
    assert min(lost) > 0.15


@pytest.mark.parametrize(("drop_rate", "arrive"), [(0.0, 50), (1.0, 0)])
def test_none_or_all_of_them_are(drop_rate: float, arrive: int) -> None:
    net = network([1.0], drop_rate=drop_rate)
    for sequence in range(1, 51):
        net.send(update(0, sequence=sequence, version=net.manager.version), 10 * sequence)
        net.advance(10 * sequence + 5)
    assert net.manager.version == arrive


def test_late_updates_are_late_by_up_to_so_much() -> None:
    net = network([0.0], late_ticks=20.0, options={"staleness": "none"})
    ticks = []
    for sequence in range(1, 101):
        sent = 100 * sequence
        net.send(update(0, sequence=sequence), sent)
        net.advance(sent + 99)
        made = net.newest(0, sent + 99)
        assert made is not None
        ticks.append(made.tick - sent)
    assert 0 <= min(ticks) <= 3
    assert 17 <= max(ticks) <= 20


@given(st.integers(0, 40), st.integers(0, 5))
def test_a_saved_network_goes_on_bit_for_bit(cut: int, seed: int) -> None:
    how: dict[str, Any] = {"drop_rate": 0.2, "late_ticks": 7.0, "seed": seed,
                           "options": {"staleness": "polynomial"}}  # fmt: skip
    rng = np.random.default_rng(seed)
    worths = rng.normal(size=(41, 3))

    def play(net: SimulatedNetwork, begin: int, end: int) -> None:
        for t in range(begin, end):
            for client in range(3):
                made = net.newest(client, 3 * t)
                version = 0 if made is None else made.number
                net.send(update(client, worths[t, client], t + 1, version), 3 * t)
            net.advance(3 * t + 2)

    whole = network([0.5, 2.0, 6.0], **how)
    play(whole, 0, 40)
    first, second = (network([0.5, 2.0, 6.0], **how) for _ in range(2))
    play(first, 0, cut)
    second.set_state(first.get_state())
    play(second, cut, 40)
    assert second.manager.version == whole.manager.version > 0
    assert second.manager.weights.tolist() == whole.manager.weights.tolist()
    assert second.manager.outcomes == whole.manager.outcomes
