"""Compute what the schedulers observe (tandem paper, section 3.1)."""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.tandem.records import COMM, COMP


@compiled(inline=True)
def observe(b: Any, k: Any, traces: Any, stages: Any, observation: Any) -> None:
    """Write ``[d - t, u_comm, u_comp, w_comm, w_comp]`` of the first Q jobs of each queue."""
    features, mask = observation.features, observation.action_mask
    n_seen = features.shape[2]
    t = observation.t[b] = stages.t[b]
    for stage in range(2):
        n = min(stages.length[b, stage], n_seen)
        for i in range(n):
            j = stages.queue[b, stage, i]
            features[b, stage, i, 0] = traces.deadline[k, j] - t
            features[b, stage, i, 1] = stages.remaining[b, COMM, j]
            features[b, stage, i, 2] = stages.remaining[b, COMP, j]
            features[b, stage, i, 3] = stages.waiting[b, COMM, j]
            features[b, stage, i, 4] = stages.waiting[b, COMP, j]
            mask[b, stage, i] = True
            observation.jobs[b, stage, i] = j
        for i in range(n, n_seen):
            for f in range(5):
                features[b, stage, i, f] = 0.0
            mask[b, stage, i] = False
            observation.jobs[b, stage, i] = -1
        mask[b, stage, n_seen] = n == 0
