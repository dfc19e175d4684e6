"""Configure what episodes of DAG placement are drawn from (SCALE paper, sections 3 and 5.1)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from edge_marl.limits import LARGEST
from edge_marl.options import Count, NotNegative, Options, Positive, Share

FloatArray = NDArray[np.float64]
Normal = tuple[NotNegative, NotNegative, NotNegative, NotNegative]
"""Mean, standard deviation and the bounds that it is clipped to."""

ServerCount = Annotated[int, Field(ge=1, le=16_384)]
Primitives = Annotated[int, Field(ge=1, le=10_000)]
"""Of a workflow."""

Time = Annotated[float, Field(ge=1e-3, le=LARGEST)]
"""Seconds between changes of a server, each of which is simulated."""


class Tier(Options):
    """Describe servers of one kind."""

    name: str
    share: Positive = Field(description="of the servers, relative to those of other tiers")
    capacity_gflops: Positive = Field(description="C_j")
    memory_gb: Positive = Field(description="M_j")
    power_w: Positive = Field(description="while it executes")
    idle_power_w: NotNegative = Field(description="while it does not")


# The table of the paper is lost; its text gives the ratio of the counts (2 : 5 : 1, at N = 16) and
# capacities that "may differ by orders of magnitude".
TIERS = (
    Tier(name="small", share=4, capacity_gflops=2, memory_gb=16, power_w=40, idle_power_w=12),
    Tier(name="medium", share=10, capacity_gflops=6, memory_gb=32, power_w=100, idle_power_w=30),
    Tier(name="large", share=2, capacity_gflops=20, memory_gb=80, power_w=300, idle_power_w=90),
)


class RandomWorkflows(Options):
    """Describe workflows to draw as in section 5.1.2; their quantities are clipped normal."""

    kind: Literal["random"] = "random"
    primitives: tuple[Primitives, Primitives] = Field((3, 8), description="of a workflow, uniform")
    # The paper calls compute "truncated below at 1.0", the others "clipped" or with "a floor";
    # all are clipped here.
    compute_gflop: Normal = Field((10.0, 3.0, 1.0, 1e6), description="c_i")
    memory_gb: Normal = Field((16.0, 8.0, 1.0, 80.0), description="m_i")
    output_gb: Normal = Field((0.5, 0.2, 0.01, 1e6), description="d_i")
    # Not given in the paper, which says "randomly generated".
    shape: Literal["random", "chain", "fan_out"] = Field(
        "random",
        description="random: each primitive but the first follows one drawn from those before it, "
        "and each other one with edge_probability; chain: one after the other; fan_out: the first, "
        "then all but the last side by side, then the last",
    )
    edge_probability: Share = Field(0.2, description="of random graphs")

    @model_validator(mode="after")
    def _consistent(self) -> RandomWorkflows:
        low, high = self.primitives
        if low > high:
            raise ValueError(
                f"primitives: expected a lower and an upper bound, found {low}, {high}"
            )
        for name, floor in (("compute_gflop", 1e-9), ("memory_gb", 1e-9), ("output_gb", 0.0)):
            mean, deviation, least, most = getattr(self, name)
            if not floor <= least <= most:
                raise ValueError(
                    f"{name}: expected mean, standard deviation and bounds "
                    f"{'above' if floor else 'of at least'} 0, "
                    f"found {mean:g}, {deviation:g}, {least:g}, {most:g}"
                )
        return self


class RecordedWorkflows(Options):
    """Describe workflows to read from a file or a folder of files.

    Those that arrive are drawn from them at random, or follow each other as in the trace. See
    :mod:`edge_marl.dag_placement.readers` for the formats and for what is filtered.
    """

    kind: Literal["recorded"] = "recorded"
    format: Literal["alibaba", "wfcommons", "stg"]
    path: Path = Field(description="file, or folder of files, of this format")
    arrivals: Literal["poisson", "recorded"] = Field(
        "poisson",
        description="poisson: each one drawn from all; recorded: one after the other at the times "
        "of the trace, sped up to the arrival rate, from a random one on",
    )
    # Run times are recorded; a primitive would take as long on a server of this capacity.
    reference_gflops: Positive = Field(6.0, description="capacity that run times stand for")
    time_scale: Positive = Field(1.0, description="what run times are multiplied by")
    largest: Count = Field(64, description="primitives of a workflow, larger ones are left out")
    memory_gb: Positive = Field(4.0, description="of a primitive where it is not recorded")
    output_gb: NotNegative = Field(0.5, description="of a primitive where it is not recorded")


class DagScenario(Options):
    """Describe a cluster, what arrives at it, and when its servers come and go."""

    servers: ServerCount = Field(16, description="N")
    tiers: tuple[Tier, ...] = Field(TIERS, min_length=1, description="kinds of servers")
    bandwidth_gb_per_s: Positive = Field(10.0, description="B")
    latency_s: NotNegative = Field(0.01, description="L")
    communication: Literal["physical", "reward"] = Field(
        "physical",
        description="physical: a primitive waits on its server for its inputs; reward: they are "
        "there at once, only features and rewards know of the delay (section 3.2)",
    )
    workflows: RandomWorkflows | RecordedWorkflows = Field(
        default_factory=RandomWorkflows, discriminator="kind", description="what arrives"
    )
    arrival_rate_per_server_s: Positive = Field(
        1 / 16, description="workflows, so that load is the same at any N"
    )
    horizon_s: Positive = Field(60.0, description="workflows arrive until then, the first at once")
    time: Literal["event", "paper"] = Field(
        "event",
        description="event: an episode lasts until all that arrived is done, waiting is an action; "
        "paper: the clock stands still but for invalid actions (section 4.1.2)",
    )
    # From here on not given in the paper.
    step_s: Positive = Field(0.1, description="time of an invalid action, time=paper")
    decisions: Count = Field(200, description="of an episode, time=paper")
    time_limit_s: Positive = Field(600.0, description="an episode is cut off then")
    mean_up_s: Time | None = Field(
        None, description="mean time until a server goes; none: servers stay"
    )
    mean_away_s: Time = Field(10.0, description="mean time until it is back")
    failure_share: Share = Field(
        0.5, description="departures that are failures: what is executed is lost"
    )

    @field_validator("workflows", mode="before")
    @classmethod
    def _of_a_kind(cls, given: Any) -> Any:
        if isinstance(given, dict) and "kind" not in given:
            return {"kind": "recorded" if "path" in given else "random", **given}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> DagScenario:
        if isinstance(self.workflows, RandomWorkflows):
            largest = self.of_servers("memory_gb").max()
            if self.workflows.memory_gb[3] > largest:
                raise ValueError(
                    f"workflows.memory_gb: expected an upper bound of at most {largest:g}, the "
                    f"largest server's, found {self.workflows.memory_gb[3]:g}"
                )
        return self

    @property
    def tier_sizes(self) -> tuple[int, ...]:
        """Return the size of each tier: its share of N, the largest remainders rounded up."""
        exact = [self.servers * tier.share for tier in self.tiers]
        total = sum(tier.share for tier in self.tiers)
        sizes = [math.floor(part / total + 1e-9) for part in exact]
        by_remainder = sorted(range(len(sizes)), key=lambda k: sizes[k] - exact[k] / total)
        for k in by_remainder[: self.servers - sum(sizes)]:
            sizes[k] += 1
        return tuple(sizes)

    @property
    def tier_of(self) -> NDArray[np.int32]:
        """Return the tier of each server, ``[N]``, in ascending order."""
        return np.repeat(np.arange(len(self.tiers), dtype=np.int32), self.tier_sizes)

    def of_servers(self, name: str) -> FloatArray:
        """Return the field ``name`` of each server's tier, ``[N]``."""
        return np.array([getattr(tier, name) for tier in self.tiers], dtype=float)[self.tier_of]

    def at(self, servers: int) -> DagScenario:
        """Return the scenario for another N, at the same load per server, for about as long."""
        decisions = max(1, round(self.decisions * servers / self.servers))
        return self.model_copy(update={"servers": servers, "decisions": decisions})
