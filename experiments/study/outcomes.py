"""Hold what the units of a study gave, in long format, and answer what tables ask of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edge_marl.experiments import statistics
from edge_marl.experiments.statistics import Estimate
from edge_marl.experiments.study.units import Label

FloatArray = NDArray[np.float64]

EPISODE = "episode"
"""The column that numbers the episodes of a unit; equal numbers are equal episodes."""


@dataclass(frozen=True)
class Outcomes:
    """Hold the rows of all units in one frame, with their labels as columns."""

    frame: pd.DataFrame
    replicate: str = "seed"
    """The column of what is independent: the seed of a training, or a network."""

    def where(self, **labels: Label) -> pd.DataFrame:
        """Return the rows with these labels."""
        found = self.frame
        for name, value in labels.items():
            found = found[found[name] == value]
        return found

    def values(self, metric: str, **labels: Label) -> FloatArray | None:
        """Return a metric by replicate and episode.

        Args:
            metric: name of a column.
            labels: which rows; they leave nothing but replicate and episode open.

        Returns:
            ``[S, K]``, NaN where an episode has no value; None where nothing was played or
            nothing has the metric.
        """
        rows = self.where(**labels)
        if rows.empty or metric not in rows or rows[metric].isna().all():
            return None
        table = rows.pivot(index=self.replicate, columns=EPISODE, values=metric)
        return table.to_numpy(dtype=np.float64)

    def curve(
        self, metric: str, along: str, **labels: Label
    ) -> tuple[NDArray[np.int64], FloatArray] | None:
        """Return the points ``[P]`` of a column, and a metric ``[S, P]`` by replicate and point.

        Args:
            metric: name of a column, averaged over episodes.
            along: name of the column of the points, such as environment steps.
            labels: which rows.

        Returns:
            None where there are none.
        """
        rows = self.where(**labels)
        if rows.empty:
            return None
        table = rows.pivot_table(index=self.replicate, columns=along, values=metric)
        return table.columns.to_numpy(), table.to_numpy()

    def mean(self, metric: str, **labels: Label) -> Estimate | None:
        """Average over replicates and episodes; an episode without a value is left out for all."""
        values = self.values(metric, **labels)
        if values is None:
            return None
        known = ~np.isnan(values).any(axis=0)
        return statistics.mean(values[:, known]) if known.any() else None
