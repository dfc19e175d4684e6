"""Play a policy and log what it does (O2O-DRL paper, phase 1: heuristic control)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.peer_offloading.observing import n_features
from edge_marl.peer_offloading.records import Status, TaskRecords
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import PeerOffloadingSimulator
from edge_marl.simulation import Policy
from edge_marl.task_log import EpisodeRecord, Run, TaskColumns, TaskLogWriter, run_of

ENVIRONMENT = "peer_offloading_v0"


def collect(
    policy: Policy[PeerOffloadingSimulator],
    scenario: OffloadingScenario,
    seeds: Sequence[int],
    log: str | Path,
    *,
    batch_size: int = 64,
    advance: Callable[[int], None] = lambda episodes: None,
) -> int:
    """Play one episode per seed and log it; those that the log holds already are not played again.

    Args:
        policy: who decides: a heuristic or a learned policy. Its name tells its runs from others.
        scenario: what the episodes are drawn from.
        seeds: of the episodes.
        log: path of a SQLite file, or URL of a database; made where there is none.
        batch_size: episodes to play at once.
        advance: called with the number of episodes just played, or found in the log.

    Returns:
        how many episodes were played.

    Raises:
        InputError: for a database that cannot be written to, an action that is not legal, or more
            than fits into memory.
    """
    B, T, N = min(batch_size, len(seeds)), scenario.slots, scenario.nodes
    check_memory(
        float(B) * T * N * (4 * n_features(N) + N + 1),
        f"what the nodes see in {B} episodes at a time (--batch-size, nodes, slots)",
    )
    run = run_of(
        ENVIRONMENT,
        scenario.model_dump(mode="json"),
        policy.name,
        nodes=scenario.nodes,
        features=n_features(scenario.nodes),
        slot_s=scenario.slot_s,
    )
    with TaskLogWriter(log) as writer:
        id_ = writer.run(_continued(run, writer))
        held = writer.seeds(id_)
        missing = [seed for seed in dict.fromkeys(seeds) if seed not in held]
        advance(len(seeds) - len(missing))
        for first in range(0, len(missing), batch_size):
            some = missing[first : first + batch_size]
            for episode in play(policy, scenario, some):
                writer.add(id_, episode)
            advance(len(some))
    return len(missing)


def play(
    policy: Policy[PeerOffloadingSimulator], scenario: OffloadingScenario, seeds: Sequence[int]
) -> list[EpisodeRecord]:
    """Play one episode per seed, all at once, and return what a log holds of each.

    Raises:
        InputError: for an action that is not legal, naming seed, slot and node.
    """
    B, T, N = len(seeds), scenario.slots, scenario.nodes
    simulator = PeerOffloadingSimulator(scenario, B)
    observation = simulator.reset(np.asarray(seeds))
    policy.reset(simulator)
    features = np.empty((B, T, N, n_features(N)), dtype=np.float32)
    mask = np.empty((B, T, N, N + 1), dtype=np.bool_)
    actions = np.empty((B, T, N), dtype=np.int16)
    for t in range(T):
        features[:, t], mask[:, t] = observation.features, observation.action_mask
        actions[:, t] = decided = policy.act(simulator)
        simulator.step(decided)
    _check_legal(policy.name, seeds, mask, actions)
    records = simulator.records()
    return [
        EpisodeRecord(int(seed), _tasks(records, b), features[b], mask[b], actions[b])
        for b, seed in enumerate(seeds)
    ]


def _check_legal(
    policy: str, seeds: Sequence[int], mask: NDArray[np.bool_], actions: NDArray[np.int16]
) -> None:
    """Refuse actions that the masks close, as offline learning relies on the masks."""
    legal = np.take_along_axis(mask, actions[..., None].astype(np.int64), axis=-1)[..., 0]
    if not legal.all():
        b, t, i = (int(index[0]) for index in np.nonzero(~legal))
        raise InputError(
            f"{policy}: seed {seeds[b]}, slot {t}, node {i}: expected an action of the mask, "
            f"found {actions[b, t, i]}"
        )


def _tasks(records: TaskRecords, episode: int) -> TaskColumns:
    arrived = records.status[episode] != Status.NONE
    slot, source = np.nonzero(arrived)
    return TaskColumns(
        id=slot * arrived.shape[1] + source,
        slot=slot.astype(np.int32),
        source=source.astype(np.int16),
        **{name: getattr(records, name)[episode][arrived] for name in TaskColumns._fields[3:]},
    )


def _continued(run: Run, writer: TaskLogWriter) -> Run:
    """Return the run in the log that ``run`` continues, or ``run`` itself."""
    for known in writer.runs().values():
        if known._replace(started=run.started) == run:
            return known
    return run
