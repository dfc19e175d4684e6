"""Evaluate what the FAuNO study found: metrics of all methods in all cells, and comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments import statistics
from edge_marl.experiments.fauno.config import REGIONS, Cell, StudyConfig
from edge_marl.experiments.fauno.disagreement import DISAGREEMENT
from edge_marl.experiments.fauno.methods import GROUPS, LEARNERS, NOISES
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.outcomes import Outcomes
from edge_marl.experiments.study.policies import ENV_STEPS, KIND, METHOD, PLAYED, TEST, TRAINING
from edge_marl.graph_offloading.heuristics import HEURISTICS

FloatArray = NDArray[np.float64]

FINISHED, RESPONSE = "finished_ratio", "response_ticks"
LOSSES = ("refused", "expired", "failed")
"""How tasks are lost: at a full queue, at their deadline, or with the node that they are at."""

_REPORTED = (FINISHED, "finished_known", RESPONSE, "created", *LOSSES, "in_flight", "offloaded",
             "traffic_mb", "occupancy", "utilisation", "offered_load")  # fmt: skip

TRIAGE = ("triage", "triage_true", "least_queues_triage")
"""Heuristics that pass giants on."""

LABELS = {
    "random": "Random", "local": "Local", "least_queues": "Least Queues",
    "shortest": "Shortest response", "shortest_true": "Shortest response, true state",
    "triage": "Triage", "triage_true": "Triage, true state",
    "least_queues_triage": "Least Queues with triage",
}  # fmt: skip


def label(method: str) -> str:
    """Return the name of a method in tables and figures."""
    return LABELS.get(method, method)


@dataclass(frozen=True)
class Results:
    """Look up the outcomes of all units by method and cell."""

    config: StudyConfig
    outcomes: Outcomes

    def methods(self, cell: Cell) -> list[str]:
        """Return everything played in a cell: heuristics, then learned methods."""
        played = set(self.outcomes.where(**_test(cell))[METHOD])
        return [name for name in (*HEURISTICS, *LEARNERS) if name in played]

    def cells(self) -> list[Cell]:
        """Return all cells that something was played in."""
        of_groups = [
            cell
            for setting in self.config.settings
            if setting in GROUPS
            for cell in GROUPS[setting].cells
        ]
        return list(dict.fromkeys([*self.config.cells(), *of_groups]))

    def values(self, cell: Cell, method: str, metric: str = FINISHED) -> FloatArray | None:
        """Return a metric ``[S, K]`` by training and episode, None if it was not played."""
        return self.outcomes.values(metric, method=method, **_test(cell))

    def mean(self, cell: Cell, method: str, metric: str = FINISHED) -> Estimate | None:
        """Average over trainings and episodes; an episode without a value is left out for all."""
        return self.outcomes.mean(metric, method=method, **_test(cell))

    def difference(self, cell: Cell, method: str, baseline: str) -> Estimate | None:
        """Return by how much more of the tasks finish than with a heuristic, paired by episode."""
        values, other = self.values(cell, method), self.values(cell, baseline)
        if values is None or other is None:
            return None
        return statistics.mean(values - other)

    def epsilon(self, method: str) -> float:
        """Return the epsilon that a client loses to the versions of a training with noise, at most.

        There is at most one version per train batch.
        """
        # This imports RLlib, which is not needed to read a report on anything else.
        from edge_marl.algorithms.federation.privacy import DELTA, epsilon

        return epsilon(NOISES[method], self.config.iterations, DELTA)

    def best_triage(self, cell: Cell) -> str:
        """Return the triage rule under which most tasks finish, in hindsight."""
        means = {
            name: found.value for name in TRIAGE if (found := self.mean(cell, name)) is not None
        }
        return max(means, key=lambda name: means[name])

    def curve(self, cell: Cell, method: str) -> tuple[NDArray[np.int64], FloatArray] | None:
        """Return environment steps ``[P]`` and finished ratios ``[S, P]`` while learning."""
        labels = {KIND: TRAINING, METHOD: method, **cell.labels}
        return self.outcomes.curve(FINISHED, ENV_STEPS, **labels)

    def while_learning(self, cell: Cell, method: str, metric: str = FINISHED) -> Estimate | None:
        """Average over all episodes of a method's trainings, as the paper does."""
        rows = self.outcomes.where(**{KIND: TRAINING, METHOD: method, **cell.labels})
        if rows.empty or f"{PLAYED}{metric}" not in rows:
            return None
        last = rows[rows[ENV_STEPS] == rows[ENV_STEPS].max()]
        values = last.groupby(self.outcomes.replicate)[f"{PLAYED}{metric}"].first().to_numpy()
        return None if np.isnan(values).any() else statistics.mean(values[:, None])

    def disagreement(self, method: str, reading: str) -> Estimate | None:
        """Return a column of :mod:`.disagreement`, averaged over trainings and episodes."""
        return self.outcomes.mean(reading, kind=DISAGREEMENT, method=method, **REGIONS.labels)

    def records(self) -> list[dict[str, Any]]:
        """Return one flat row per cell and method."""
        rows = []
        for cell in self.cells():
            for method in self.methods(cell):
                row: dict[str, Any] = {**cell.labels, "method": label(method)}
                for metric in _REPORTED:
                    found = self.mean(cell, method, metric)
                    row[metric] = None if found is None else found.value
                    if metric in (FINISHED, RESPONSE):
                        row[f"{metric}_low"] = None if found is None else found.low
                        row[f"{metric}_high"] = None if found is None else found.high
                rows.append(row)
        return rows


def _test(cell: Cell) -> dict[str, Any]:
    return {KIND: TEST, **cell.labels}
