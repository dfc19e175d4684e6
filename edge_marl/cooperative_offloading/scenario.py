"""Configure what episodes of cooperative offloading are drawn from (CTO-TP paper).

The paper names the quantities and gives none of their values: all of them are chosen here.
"""

from __future__ import annotations

from itertools import combinations, cycle, islice
from math import comb
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edge_marl.options import Count, NotNegative, Options, Positive, PositiveShare, Share

FloatArray = NDArray[np.float64]

ServerCount = Annotated[int, Field(ge=1, le=256)]
Targets = Annotated[int, Field(ge=0, le=8)]
PerServer = tuple[Positive, ...]
"""Of the servers in their order, repeated from the first on where there are more servers."""
PerLink = Positive | tuple[tuple[NotNegative, ...], ...]
"""The same for all links, or a row of every sender with a column for every receiver."""

MOST_SUBSETS = 10_000


class Bursts(Options):
    """Describe times in which more tasks arrive than usual, at one home or at all of them.

    Bursts of a home begin at random. A share of them, the correlation, begins at all homes at once;
    how often a home has one does not depend on that share. Two homes' numbers of bursts in any span
    of time are correlated by as much.
    """

    rate_per_s: NotNegative = Field(0.0, description="of a home; 0: none")
    duration_s: Positive = Field(10.0, description="of a burst")
    intensity: Annotated[float, Field(ge=1, le=1000)] = Field(
        5.0, description="how many times as many tasks arrive meanwhile"
    )
    correlation: Share = Field(0.0, description="bursts that come to all homes at once")


class DrawnTasks(Options):
    """Describe tasks that are drawn, their demands log-normal and independent."""

    kind: Literal["drawn"] = "drawn"
    sigma: Annotated[float, Field(ge=0, le=5)] = Field(
        1.0, description="of the logarithms of all demands"
    )


class RecordedTasks(Options):
    """Describe tasks of a trace: drawn from all of them, or replayed at their times.

    Their demands are relative, and scaled so that their means are those of the scenario.
    """

    kind: Literal["recorded"] = "recorded"
    format: Literal["profile", "google2011", "google2019"] = "profile"
    path: Path | None = Field(
        None, description="file, or folder of files, of the format; none: the shipped profile"
    )
    arrivals: Literal["poisson", "recorded"] = Field(
        "poisson",
        description="poisson: each task drawn from all; recorded: one after the other at the times "
        "of the trace, sped up to the offered load, from a random one on",
    )

    @model_validator(mode="after")
    def _has_a_file(self) -> RecordedTasks:
        if self.path is None and self.format != "profile":
            raise ValueError(f"path: expected a file or folder of format {self.format}, found none")
        if self.format == "profile" and self.arrivals == "recorded":
            raise ValueError("arrivals: expected poisson with a profile, which has none of its own")
        return self


class CooperativeScenario(Options):
    """Describe edge servers that help each other, their links, and the tasks that arrive."""

    servers: ServerCount = Field(3, description="M")
    capacity_gcycles_per_s: PerServer = Field(
        (20.0,), min_length=1, description="of the servers, repeated"
    )
    memory_gb: PerServer = Field((64.0,), min_length=1, description="of the servers, repeated")
    bandwidth_mb_per_s: PerLink = Field(125.0, description="of the links")
    latency_s: NotNegative | tuple[tuple[NotNegative, ...], ...] = Field(
        0.002, description="of the links"
    )
    transmission_power_w: PerLink = Field(10.0, description="of the links")
    joule_per_gcycle_at_1ghz: Positive = Field(
        0.1, description="kappa_e: a gigacycle at f gigacycles/s takes kappa_e f^2 joules"
    )
    limiting_factor: PositiveShare = Field(0.9, description="kappa, what grants are multiplied by")
    smallest_grant: PositiveShare = Field(
        0.05, description="of the whole capacity or bandwidth: what has less left lets parts wait"
    )
    max_targets: Targets = Field(2, description="other servers that help with a task")
    tasks: Count = Field(300, description="of an episode")
    offered_load: Positive = Field(
        0.4, description="work that arrives per second over the capacity of all servers"
    )
    home_weights: PerServer = Field(
        (4.0, 1.0, 1.0), min_length=1, description="of arrivals at the servers, repeated"
    )
    load: DrawnTasks | RecordedTasks = Field(
        default_factory=RecordedTasks, discriminator="kind", description="what arrives"
    )
    bursts: Bursts = Field(default_factory=Bursts, description="of arrivals")
    server_mttf_s: Positive | None = Field(
        None,
        description="mean time until a server fails, whose executions then stand still; none: "
        "servers do not",
    )
    server_mttr_s: Positive = Field(10.0, description="mean time until it is repaired")
    mean_gcycles: Positive = Field(10.0, description="CPU demand of a task, mean")
    mean_memory_gb: Positive = Field(4.0, description="memory of a task, mean")
    mean_input_mb: NotNegative = Field(20.0, description="of a task, in proportion to its memory")
    output_share: NotNegative = Field(0.1, description="output over input")
    latency_weight: Share = Field(0.5, description="lambda; rho, of energy, is 1 - lambda")

    @field_validator("load", mode="before")
    @classmethod
    def _of_a_kind(cls, given: object) -> object:
        if isinstance(given, dict) and "kind" not in given:
            return {"kind": "drawn" if "sigma" in given else "recorded", **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> CooperativeScenario:
        M = self.servers
        for name in ("bandwidth_mb_per_s", "latency_s", "transmission_power_w"):
            found = getattr(self, name)
            if isinstance(found, tuple) and {len(found), *map(len, found)} != {M}:
                raise ValueError(
                    f"{name}: expected a number, or {M} rows of {M} numbers, found "
                    f"{len(found)} rows of {', '.join(str(len(row)) for row in found)}"
                )
        # Counted first: the list of them may be longer than any memory.
        n = sum(comb(M - 1, k) for k in range(self.max_targets + 1))
        if n > MOST_SUBSETS:
            raise ValueError(
                f"max_targets: expected at most {MOST_SUBSETS} subsets of the other servers, found "
                f"{n} of up to {self.max_targets} of {M - 1}"
            )
        return self

    @property
    def subsets(self) -> list[tuple[int, ...]]:
        """Return the choices of who helps: all subsets of the M - 1 others, the empty one first.

        Others are numbered from 0 in the order of the servers, without the one that asks.
        """
        others = range(self.servers - 1)
        most = min(self.max_targets, self.servers - 1)
        return [chosen for n in range(most + 1) for chosen in combinations(others, n)]

    def of_servers(self, name: str) -> FloatArray:
        """Return a field of the servers, repeated as often as needed, ``[M]``."""
        return np.array(list(islice(cycle(getattr(self, name)), self.servers)))

    def of_links(self, name: str) -> FloatArray:
        """Return a field of the links, from row to column, ``[M, M]``."""
        return np.broadcast_to(
            np.array(getattr(self, name), dtype=float), (self.servers, self.servers)
        ).copy()

    @property
    def rates_per_s(self) -> FloatArray:
        """Return how many tasks arrive at each home, ``[M]``."""
        weights = self.of_servers("home_weights")
        work = self.offered_load * self.of_servers("capacity_gcycles_per_s").sum()
        rates: FloatArray = work / self.mean_gcycles * weights / weights.sum()
        return rates
