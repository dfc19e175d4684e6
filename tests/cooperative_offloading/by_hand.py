"""Episodes of tasks that a test chooses, instead of drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from edge_marl.cooperative_offloading import CooperativeOffloadingSimulator, CooperativeScenario
from edge_marl.cooperative_offloading.records import Workload
from edge_marl.simulation import Hybrid, Transition


class Task(NamedTuple):
    """What a task brings, in the order of the workload's fields."""

    arrival_s: float = 0.0
    home: int = 0
    gcycles: float = 20.0
    memory_gb: float = 1.0
    input_mb: float = 10.0
    output_mb: float = 5.0


# Two servers of 10 Gcycles/s and 4 GB. All of one takes 0.1 * 10^2 = 10 J for a gigacycle.
TWO: dict[str, Any] = {
    "servers": 2, "capacity_gcycles_per_s": (10.0,), "memory_gb": (4.0,),
    "bandwidth_mb_per_s": 10.0, "latency_s": 0.5, "transmission_power_w": 2.0,
    "joule_per_gcycle_at_1ghz": 0.1, "limiting_factor": 1.0, "smallest_grant": 0.1,
    "mean_gcycles": 20.0,
}  # fmt: skip


class _Given:
    def __init__(self, tasks: Sequence[Task]) -> None:
        self._columns = [*zip(*tasks, strict=True)]

    def draw(self, where: Any, seeds: Any, workload: Workload) -> None:
        for field, column in zip(workload, self._columns, strict=True):
            field[:] = column


def by_hand(
    tasks: Sequence[Task], batch_size: int = 1, **options: Any
) -> CooperativeOffloadingSimulator:
    """Episodes of these tasks, which have just begun; ``options`` of the scenario and others."""
    others = {name: options.pop(name) for name in ("reward", "features") if name in options}
    scenario = CooperativeScenario(**{**TWO, "tasks": len(tasks), **options})
    simulator = CooperativeOffloadingSimulator(scenario, batch_size, **others)
    simulator._generator = _Given(tasks)  # type: ignore[assignment]
    simulator.reset([0] * batch_size)
    return simulator


def decide(
    simulator: CooperativeOffloadingSimulator,
    target: ArrayLike = 0,
    offload: ArrayLike = 0.0,
    compute: ArrayLike = 1.0,
    bandwidth: ArrayLike = 1.0,
) -> Transition[Any]:
    """Decide on the task that has arrived, alike in all episodes or by ``[B]``."""
    B, M, _ = simulator.vectors.shape
    columns = [np.broadcast_to(x, B) for x in (target, offload, compute, bandwidth)]
    vectors = np.stack(columns[1:], axis=1)[:, None].repeat(M, axis=1)
    return simulator.step(Hybrid(columns[0].astype(int)[:, None].repeat(M, axis=1), vectors))
