"""Configure the study of cooperative offloading, and the episodes of its settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import Field

from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.experiments.evaluate.episodes import evaluation_seeds, validation_seeds
from edge_marl.experiments.study.engine import StudyOptions
from edge_marl.experiments.systems.system import Episodes
from edge_marl.options import Count, Several

ENVIRONMENT = "cooperative_offloading_v0"

Setting = Literal[
    "default",
    "bursts",
    "bursts 0.5",
    "bursts apart",
    "load 0.6",
    "even homes",
    "10 servers",
    "30 servers",
    "failing",
    "another hour",
]
Method = Literal["CTO-TP", "CTO", "CTO-TP, actors", "CTO, TD3", "MADDPG", "MADQN", "MAPPO", "IPPO"]

_BURSTS = {"rate_per_s": 0.01, "duration_s": 20.0, "intensity": 5.0}
SETTINGS: Mapping[Setting, Mapping[str, Any]] = MappingProxyType({
    "default": {},
    # Of every home once in 100 s, five times as many tasks for 20 s: at all of them at once, half
    # of the time, or at each by itself.
    "bursts": {"bursts": {**_BURSTS, "correlation": 1.0}},
    "bursts 0.5": {"bursts": {**_BURSTS, "correlation": 0.5}},
    "bursts apart": {"bursts": {**_BURSTS, "correlation": 0.0}},
    "load 0.6": {"offered_load": 0.6},
    "even homes": {"home_weights": (1.0,)},
    "10 servers": {"servers": 10, "tasks": 1000},
    "30 servers": {"servers": 30, "tasks": 3000},
    # Each server stands still for a sixth of the time.
    "failing": {"server_mttf_s": 50.0, "server_mttr_s": 10.0},
    # Most tasks arrive elsewhere, and more of them.
    "another hour": {"home_weights": (1.0, 1.0, 4.0), "offered_load": 0.5},
})  # fmt: skip
"""What differs from the default scenario; with more servers episodes last as long as with 3."""

MOVED: tuple[Setting, ...] = ("failing", "another hour")
"""Settings in which policies that were trained in the default one are played, too."""

INTERVALS = (10, 50, 100, 200)
"""Updates from one exchange of experience to the next."""

Part = Literal["main", "moved", "exchange"]


class StudyConfig(StudyOptions):
    """Configure ``edge-marl reproduce cto-tp``."""

    parts: tuple[Part, ...] = Field(
        get_args(Part),
        min_length=1,
        description="main: all methods in all settings; moved: policies of the default setting "
        "elsewhere; exchange: learners at their own pace that share experience",
    )
    seeds: Count = Field(5, description="trainings of every method in every setting")
    episodes: Several = Field(100, description="test episodes of every setting")
    iterations: Count = Field(300, description="of MAPPO and IPPO, 16,384 decisions each")
    updates: Count = Field(
        300, description="of the others, 8,192 decisions and 32 updates of every agent each"
    )
    settings: tuple[Setting, ...] = Field(tuple(SETTINGS), min_length=1)
    methods: tuple[Method, ...] = Field(get_args(Method), min_length=1)

    @classmethod
    def quick(cls) -> StudyConfig:
        """Return options with which the study takes at most 10 minutes on 2 cores."""
        return cls(
            parts=("main",), seeds=1, episodes=20, iterations=60, updates=60,
            settings=("default", "bursts"), methods=("CTO-TP", "CTO", "MAPPO"),
        )  # fmt: skip


def scenario_of(setting: Setting) -> CooperativeScenario:
    """Return what the episodes of a setting are drawn from."""
    return CooperativeScenario.model_validate(dict(SETTINGS[setting]))


def episodes_of(setting: Setting, n: int, *, validation: bool = False, **options: Any) -> Episodes:
    """Return n episodes of a setting, with further options of the environment."""
    seeds = validation_seeds(n) if validation else evaluation_seeds(n)
    scenario = scenario_of(setting).model_dump(mode="json")
    return Episodes({"scenario": scenario, **options}, seeds, setting)
