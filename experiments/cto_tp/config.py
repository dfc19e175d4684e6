"""Configure the study of cooperative offloading, and the episodes of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, validation_seeds
from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.experiments.systems.system import Episodes
from edge_marl.options import Count, Several

ENVIRONMENT = "cooperative_offloading_v0"

Setting = Literal["default", "bursts", "bursts apart", "load 0.6", "even homes", "10 servers"]
Method = Literal["MAPPO", "IPPO"]

_BURSTS = {"rate_per_s": 0.01, "duration_s": 20.0, "intensity": 5.0}
SETTINGS: Mapping[Setting, Mapping[str, Any]] = MappingProxyType({
    "default": {},
    # Of every home once in 100 s, five times as many tasks for 20 s: at all of them at once, or at
    # each by itself.
    "bursts": {"bursts": {**_BURSTS, "correlation": 1.0}},
    "bursts apart": {"bursts": {**_BURSTS, "correlation": 0.0}},
    "load 0.6": {"offered_load": 0.6},
    "even homes": {"home_weights": (1.0,)},
    "10 servers": {"servers": 10, "tasks": 1000},
})  # fmt: skip
"""What differs from the default scenario; with 10 servers episodes last as long as with 3."""


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce cto-tp``."""

    seeds: Count = Field(5, description="trainings of every method in every setting")
    episodes: Several = Field(100, description="test episodes of every setting")
    iterations: Count = Field(300, description="of a training, 16,384 decisions each")
    settings: tuple[Setting, ...] = Field(tuple(SETTINGS), min_length=1)
    methods: tuple[Method, ...] = Field(("MAPPO", "IPPO"), min_length=1)

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls(
            seeds=2, episodes=20, iterations=60, settings=("default", "bursts"), methods=("MAPPO",)
        )


def episodes_of(setting: Setting, n: int, *, validation: bool = False) -> Episodes:
    """Return episodes of a setting."""
    seeds = validation_seeds(n) if validation else evaluation_seeds(n)
    scenario = CooperativeScenario.model_validate(dict(SETTINGS[setting]))
    return Episodes({"scenario": scenario.model_dump(mode="json")}, seeds, setting)
