"""The manager of a federation as a Ray actor: whatever happens to it, nothing counts twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from edge_marl.algorithms.federation.fedbuff import FedBuff
from edge_marl.algorithms.federation.manager import replay, start_manager
from edge_marl.algorithms.federation.options import FederationOptions
from edge_marl.algorithms.federation.updates import Outcome, Update
from edge_marl.errors import InputError

pytestmark = pytest.mark.usefixtures("local_ray")

N, P = 2, 400
TOGETHER = FederationOptions(participants=1.0, staleness="none")


@pytest.fixture
def managers() -> Iterator[list[Any]]:
    """Managers that end with the test."""
    started: list[Any] = []
    yield started
    for manager in started:
        ray.kill(manager)


def update(client: int, sequence: int, version: int = 0, n_weights: int = P) -> Update:
    """The k-th update of a client changes weight k alone, by 1."""
    delta = np.zeros(n_weights, np.float32)
    delta[sequence - 1] = 1.0
    return Update(client, sequence, version, 1, delta)


def newest(manager: Any, version: int = 0, within_s: float = 20.0) -> tuple[int, np.ndarray]:
    """Wait for a version that is newer."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        found: tuple[int, np.ndarray] | None = ray.get(manager.newest.remote(version))
        if found is not None:
            return found
        time.sleep(0.01)
    raise TimeoutError(f"no version after {version}")


def test_updates_that_come_as_they_like_make_the_versions_of_the_state_machine(
    tmp_path: Path, managers: list[Any]
) -> None:
    n, options = 6, FederationOptions(participants=0.5, staleness="polynomial",
                                      server_optimiser="adam", server_lr=0.1)  # fmt: skip
    start = np.random.default_rng(0).normal(size=P).astype(np.float32)
    manager = start_manager(start, n, options, tmp_path, log=True)
    managers.append(manager)
    ray.get(manager.process.remote())
    rng = np.random.default_rng(1)
    pending = []
    for sequence in range(1, 41):
        for client in rng.permutation(n)[: rng.integers(1, n + 1)].tolist():
            delta = rng.normal(size=P).astype(np.float32)
            pending.append(manager.receive.remote(Update(client, sequence, 0, 1, delta)))
        time.sleep(rng.exponential(0.02))
    ray.get(pending)
    time.sleep(0.1)
    number, weights = newest(manager)
    made = replay(tmp_path / "messages.jsonl", FedBuff(torch.from_numpy(start), n, options))
    assert len(made) == number > 1
    assert made[-1].numpy().tolist() == weights.tolist()
    outcomes = ray.get(manager.outcomes.remote())
    assert sum(own[Outcome.USED] for own in outcomes.values()) > 3 * number - 3


# Twenty kills take a minute: every new process imports torch.
@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_manager_that_is_killed_goes_on_from_its_last_version(
    kills: int, tmp_path: Path, managers: list[Any]
) -> None:
    chance = random.Random(0)
    manager = start_manager(np.zeros(P, np.float32), N, TOGETHER, tmp_path, log=True)
    managers.append(manager)
    seen, lost = [0], 0
    for sequence in range(1, 10 * kills + 1):
        sent = [manager.receive.remote(update(client, sequence)) for client in range(N)]
        killed = sequence % 10 == 5
        if killed:
            time.sleep(chance.uniform(0.0, 0.03))
            os.kill(ray.get(manager.process.remote()), signal.SIGKILL)
        ray.get(sent)  # Ray makes the calls again that were not answered
        try:
            seen.append(newest(manager, seen[-1], within_s=2.0 if killed else 30.0)[0])
        except TimeoutError:
            assert killed, "only with the manager a buffer is lost"
            lost += 1
    number, weights = newest(manager)
    assert seen == sorted(seen), "versions go on"
    assert set(weights.tolist()) <= {0.0, 0.5, 1.0}, "no update counts twice"
    assert weights.sum() >= 10 * kills - 2 * lost - kills
    assert number >= 10 * kills - lost
    made = replay(tmp_path / "messages.jsonl", FedBuff(torch.zeros(P), N, TOGETHER))
    assert made[-1].numpy().tolist() == weights.tolist()
    assert len(list(tmp_path.glob("version-*"))) == 2, "older versions are removed"


def test_a_state_has_the_version_that_is_due(tmp_path: Path, managers: list[Any]) -> None:
    manager = start_manager(np.zeros(P, np.float32), N, TOGETHER, tmp_path, window_s=60.0)
    managers.append(manager)
    ray.get(manager.receive.remote(update(0, 1)))
    assert ray.get(manager.get_state.remote())["version"] == 0, "it waits for the other"
    ray.get(manager.receive.remote(update(1, 1)))
    state = ray.get(manager.get_state.remote())
    assert (state["version"], state["weights"][0]) == (1, 1.0)
    ray.get(manager.set_state.remote(state))
    assert newest(manager)[0] == 1


def test_clients_join_and_leave_while_others_train(tmp_path: Path, managers: list[Any]) -> None:
    manager = start_manager(np.zeros(P, np.float32), N, TOGETHER, tmp_path)
    managers.append(manager)
    ray.get(manager.receive.remote(update(0, 1)))
    time.sleep(0.1)
    assert ray.get(manager.newest.remote(0)) is None, "it waits for the other"
    ray.get(manager.leave.remote(1))
    assert ray.get(manager.receive.remote(update(1, 1))) is Outcome.REFUSED
    ray.get(manager.receive.remote(update(0, 2)))
    assert newest(manager)[0] == 1
    ray.get(manager.join.remote(1))
    ray.get([manager.receive.remote(update(client, 3)) for client in range(N)])
    assert newest(manager, 1)[0] == 2


@pytest.mark.parametrize(
    ("lines", "named"),
    [('{"closed"\n{"closed": 1}\n', "line 2: "),
     ('{"closed": "one"}\n', "line 2: expected an update, 'closed' or 'restored'"),
     ('{"client": 0, "sequence": 1, "version": 0, "steps": 1, "delta": "AAA="}\n', "line 2: "),
     ('{"client": 0, "sequence": 1, "version": 0, "steps": 1, "delta": "", "n": 1}', "line 2: "),
     ('{"restored": 1}\n', "line 2: restored: expected a version from 0 to 0, found 1")],
)  # fmt: skip
def test_a_log_that_was_damaged_is_refused(lines: str, named: str, tmp_path: Path) -> None:
    log = tmp_path / "messages.jsonl"
    log.write_text('{"restored": 0}\n' + lines)
    with pytest.raises(InputError, match=rf"messages.jsonl: {named}"):
        replay(log, FedBuff(torch.zeros(P), N, TOGETHER))
