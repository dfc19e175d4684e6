"""Configure the SCALE study, and the episodes that its methods are trained and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from edge_marl.dag_placement.scenario import (
    TIERS,
    DagScenario,
    RandomWorkflows,
    RecordedWorkflows,
    ServerCount,
)
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, validation_seeds
from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.experiments.systems.system import Episodes
from edge_marl.options import Count, Several

Family = Literal["paper", "event"]
"""Whose time, communication, features and reward: the paper's, or our defaults."""

TRAINED_AT = 16
"""N of all training."""

ENV: dict[Family, dict[str, Any]] = {
    "paper": {"features": "paper", "reward": "paper"},
    "event": {"features": "extended", "reward": "response"},
}
"""Options of the environment beside the scenario."""

_BASE: dict[Family, DagScenario] = {
    "paper": DagScenario(time="paper", communication="reward"),
    "event": DagScenario(),
}


ENVIRONMENT = "dag_placement_v0"


class Point(NamedTuple):
    """Describe one scenario that policies are tested in."""

    family: Family
    name: str
    servers: int
    changes: tuple[tuple[str, Any], ...] = ()
    """Fields of :class:`DagScenario` that differ."""

    @property
    def scenario(self) -> DagScenario:
        """Return the scenario: but for ``changes``, tiers, load and length are as at N = 16."""
        base = _BASE[self.family].at(self.servers)
        return DagScenario.model_validate({**base.model_dump(), **dict(self.changes)})

    @property
    def is_size(self) -> bool:
        """Return whether it differs from training only in its size and, perhaps, its horizon."""
        return self.name.isdigit()

    def episodes(self, n: int, *, validation: bool = False) -> Episodes:
        """Return episodes of the scenario, as policies of its family see them."""
        seeds = validation_seeds(n) if validation else evaluation_seeds(n)
        env_config = {"scenario": self.scenario.model_dump(), **ENV[self.family]}
        return Episodes(env_config, seeds, self.name)


def trained_in(family: Family) -> Point:
    """Return the scenario that methods of a family are trained in."""
    return Point(family, str(TRAINED_AT), TRAINED_AT)


def _tiers(*shares: int) -> tuple[tuple[str, Any], ...]:
    tiers = tuple(
        tier.model_copy(update={"share": float(share)})
        for tier, share in zip(TIERS, shares, strict=True)
    )
    return (("tiers", tiers),)


def _load(times: float) -> tuple[tuple[str, Any], ...]:
    return (("arrival_rate_per_server_s", times * DagScenario().arrival_rate_per_server_s),)


_LARGE = 128
"""N from which on episodes are shorter and fewer: who waits is asked again when another server gets
idle, so that decisions grow faster than N."""
_SHORT = (("horizon_s", 10.0),)

_LONG = RandomWorkflows(shape="chain", primitives=(8, 16))
_WIDE = RandomWorkflows(shape="fan_out", primitives=(8, 16))
CHANGED = (
    # Workflows of twice the size arrive half as often.
    Point("event", "chains of 8-16", 48, (("workflows", _LONG), *_load(0.5))),
    Point("event", "fan-outs of 8-16", 48, (("workflows", _WIDE), *_load(0.5))),
    Point("event", "tiers 8:6:2", 48, _tiers(8, 6, 2)),
    Point("event", "tiers 2:8:6", 48, _tiers(2, 8, 6)),
    Point("event", "servers fail and leave", 48, (("mean_up_s", 30.0),)),
    Point("event", "load x 0.5", 48, _load(0.5)),
    Point("event", "load x 1.5", 48, _load(1.5)),
)
"""What the paper names as untested, at N = 48."""

# The work of recorded jobs is scaled so that a cluster is not overloaded.
_TRACES: dict[str, dict[str, Any]] = {
    "alibaba": {"format": "alibaba", "time_scale": 0.03, "largest": 32},
    "wfcommons": {"format": "wfcommons", "time_scale": 0.005},
}


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce scale``."""

    seeds: Count = Field(10, description="trainings of every method")
    episodes: Several = Field(30, description="test episodes per scenario")
    changed_episodes: Several = Field(10, description="test episodes of changed scenarios")
    large_episodes: Several = Field(5, description="test episodes from 128 servers on")
    paper_iterations: Count = Field(40, description="trainings in the paper's time, PPO's")
    event_iterations: Count = Field(80, description="trainings in event time")
    off_policy_steps: Count = Field(80_000, description="environment steps of DQN and SAC")
    sizes: tuple[ServerCount, ...] = Field(
        (16, 32, 48, 128, 256, 1024), min_length=1, description="N"
    )
    changed: bool = Field(True, description="other mixes, graphs and loads, failing servers")
    alibaba: Path | None = Field(None, description="file of the Alibaba trace of 2018, if at hand")
    wfcommons: Path | None = Field(None, description="folder of WfCommons instances, if at hand")

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls(
            seeds=1, episodes=10, large_episodes=2, paper_iterations=20,
            event_iterations=30, off_policy_steps=30_000, sizes=(16, 48, 128), changed=False,
        )  # fmt: skip

    def length(self, family: Family, *, off_policy: bool) -> int:
        """Return the iterations of a training, or the environment steps of an off-policy one."""
        if off_policy:
            return self.off_policy_steps
        return self.paper_iterations if family == "paper" else self.event_iterations

    def points(self, family: Family) -> list[Point]:
        """Return the scenarios that methods of a family are tested in."""
        if family == "paper":
            return [Point("paper", str(n), n) for n in self.sizes if n <= 48]
        points = [Point("event", str(n), n, _SHORT if n >= _LARGE else ()) for n in self.sizes]
        if self.changed:
            points += CHANGED
        for name, options in _TRACES.items():
            path: Path | None = getattr(self, name)
            if path is not None:
                # Absolute, for workers may have another working directory.
                workflows = RecordedWorkflows(path=path.resolve(), **options)
                points.append(Point("event", name, TRAINED_AT, (("workflows", workflows),)))
        return points

    def test_episodes(self, point: Point) -> int:
        """Return the number K of test episodes of a scenario."""
        if point.servers >= _LARGE:
            return self.large_episodes
        return self.episodes if point.is_size else self.changed_episodes
