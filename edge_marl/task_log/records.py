"""Represent what a task log holds in memory: runs, and their episodes as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.json_files import json_text as as_json

FORMAT = 1
"""Of the log: what its tables and columns are called and mean."""

TIMES = ("transmission_wait_s", "transmission_s", "execution_wait_s", "execution_s")
"""The four terms of equation 7."""


class Run(NamedTuple):
    """Describe a policy at work in one environment."""

    environment: str
    """Such as ``peer_offloading_v0``."""
    configuration: str
    """Of the environment: JSON of an object, keys sorted."""
    policy: str
    started: str
    """When, ISO 8601."""
    nodes: int
    """N."""
    features: int
    """F, length of an observation."""
    actions: int
    """A = N + 1: the nodes that execute, and "no task"."""
    slot_s: float
    format: int = FORMAT


def run_of(
    environment: str, configuration: Mapping[str, Any], policy: str, *, nodes: int, features: int,
    slot_s: float,
) -> Run:  # fmt: skip
    """Return a run that starts now."""
    return Run(
        environment=environment,
        configuration=json_text(configuration),
        policy=policy,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        nodes=nodes,
        features=features,
        actions=nodes + 1,
        slot_s=slot_s,
    )


def json_text(configuration: Mapping[str, Any]) -> str:
    """Return a configuration as JSON with sorted keys, so that equal ones give equal texts."""
    return as_json(configuration, sort_keys=True)


class TaskColumns(NamedTuple):
    """Hold the K tasks of an episode (O2O-DRL paper, section VI-A), ordered by slot and source."""

    id: NDArray[np.int64]
    """``[K]``, unique within the episode."""
    slot: NDArray[np.int32]
    """``[K]``: it arrives at the start of this slot."""
    source: NDArray[np.int16]
    """``[K]``: the node it arrives at."""
    destination: NDArray[np.int16]
    """``[K]``: the node that executes it."""
    status: NDArray[np.int8]
    """``[K]``: a :class:`~edge_marl.peer_offloading.records.Status` other than NONE."""
    size_kb: NDArray[np.float64]
    """``[K]``"""
    cycles: NDArray[np.float64]
    """``[K]``"""
    deadline_s: NDArray[np.float64]
    """``[K]``, from its arrival on."""
    transmission_wait_s: NDArray[np.float64]
    """``[K]``; the four times are those spent so, however it ended; NaN while in flight."""
    transmission_s: NDArray[np.float64]
    """``[K]``"""
    execution_wait_s: NDArray[np.float64]
    """``[K]``"""
    execution_s: NDArray[np.float64]
    """``[K]``"""


class EpisodeRecord(NamedTuple):
    """Hold everything that is logged of an episode of T slots."""

    seed: int
    """Its number: unique within a run."""
    tasks: TaskColumns
    features: NDArray[np.float32]
    """``[T, N, F]``: the observation each decision was made on."""
    action_mask: NDArray[np.bool_]
    """``[T, N, A]``"""
    actions: NDArray[np.int16]
    """``[T, N]``: the node to execute the task, A - 1 without one."""
