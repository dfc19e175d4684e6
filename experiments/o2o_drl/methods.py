"""Declare the methods that are compared, and how each gets its policy (paper, section V-B)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_marl.experiments.evaluate.episodes import validation_seeds
from edge_marl.experiments.o2o_drl.config import Point, StudyConfig
from edge_marl.experiments.study.policies import Training
from edge_marl.experiments.systems.system import Episodes
from edge_marl.experiments.training.loop import Limits, Progress
from edge_marl.experiments.training.recipe import Recipe
from edge_marl.peer_offloading.heuristics import heuristic
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.seeds import STUDY_LOG_SEEDS

ENVIRONMENT = "peer_offloading_v0"

HEURISTICS = {
    "random": "Random", "local": "local only", "rda": "RDA", "ratc": "RATC",
    "greedy": "greedy, global knowledge", "reliable": "reliable, global knowledge",
}  # fmt: skip
"""Labels, in the order of the tables."""

OFFLINE, ONLINE = "Offline only", "Online only"
O2O_DRL = "O2O-DRL"
WITH_IQL = f"{O2O_DRL}, IQL"

_CHECKS = 15
"""Points of the online part of a learning curve."""

FIRST_REFITS = 5
"""Refits in which a hand-over that spoils the policy would show."""

_ALGORITHM: Mapping[str, Any] = {
    # Where the paper's values (the defaults of O2OConfig) were changed, and why.
    "gamma": 0.9,  # a task is decided within 8 slots; beyond them there is only noise
    "tau": 0.005,  # ten times the paper's, for fewer and larger gradient steps
    "offline_batch_size": 512,
    # Four times the paper's. Each node improves as if no other did: if all become sure of the same
    # fast nodes, these are crowded.
    "alpha": 0.2,
    # 200 times the paper's, with which it ended below RDA where settings were chosen.
    "lambda_c": 20.0,
    "minibatch_size": 200,
}
_FIRST_RATE, _LAST_RATE = 3e-3, 3e-4
_OFFLINE_RATE = 1e-3


@dataclass(frozen=True)
class Learner:
    """Describe a learned method."""

    logs: tuple[str, ...] = ("rda", "ratc")
    """Heuristics that wrote the log, as many episodes each; none: no offline phase."""
    reward: Reward | None = None
    """Instead of the study's."""
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Of O2OConfig, where they differ."""


FROM = {log: f"{O2O_DRL} from {HEURISTICS[log]}" for log in ("random", "rda", "ratc")}
"""What learns from the log of one heuristic alone, by that heuristic (Figure 4)."""

LEARNERS: Mapping[str, Learner] = {
    O2O_DRL: Learner(),
    ONLINE: Learner(logs=()),
    **{name: Learner(logs=(log,)) for log, name in FROM.items()},
    f"{O2O_DRL}, SAC without CQL": Learner(options={"lambda_c": 0.0}),
    f"{O2O_DRL}, the paper's lambda_c": Learner(options={"lambda_c": 0.1}),
    f"{O2O_DRL}, behaviour cloning": Learner(options={"offline_method": "bc"}),
    WITH_IQL: Learner(options={"offline_method": "iql"}),
    f"{O2O_DRL}, team reward": Learner(reward="team"),
    f"{ONLINE}, team reward": Learner(logs=(), reward="team"),
}

EVERYWHERE = (O2O_DRL, WITH_IQL, ONLINE)
"""Learned at every point; the others at the default point."""
ABLATIONS = tuple(name for name in LEARNERS if name not in (*EVERYWHERE, *FROM.values()))


def offline_part(name: str) -> str:
    """Return the name of what a method is before it goes online."""
    return name.replace(O2O_DRL, OFFLINE)


@dataclass(frozen=True, eq=False, kw_only=True)
class FromLog(Training):
    """Train O2O-DRL from a log that is written before and removed afterwards."""

    logs: tuple[str, ...]
    """Heuristics that wrote it, as many episodes each; none: there is no offline phase."""
    log_episodes: int
    offline_iterations: int

    @property
    def configuration(self) -> Any:
        """Return the configuration of the training, and what is logged."""
        logged = {"logs": self.logs, "log_episodes": self.log_episodes}
        return {**super().configuration, **logged}

    @property
    def modules(self) -> Sequence[str]:
        """Return the modules of the training, and those that write the log."""
        return (*super().modules, "edge_marl.peer_offloading.heuristics",
                "edge_marl.peer_offloading.collect")  # fmt: skip

    @property
    def effort(self) -> float:
        """Return an effort in proportion to the nodes, twice as much with an offline phase."""
        return super().effort * self.recipe.env_config["scenario"]["nodes"] * (1 + bool(self.logs))

    def due(self, progress: Progress) -> bool:
        """Return whether to evaluate the policy.

        It is evaluated after each offline iteration, or untrained where there is none, after each
        of the first refits that follow them, then at equal distances and at the end.
        """
        n_online = (self.limits.iterations or 0) - self.offline_iterations
        online = progress.iteration - self.offline_iterations
        if online <= 0:
            return progress.iteration > 0 or not self.logs
        first = bool(self.logs) and online <= FIRST_REFITS
        return first or online % max(1, n_online // _CHECKS) == 0 or online == n_online

    @contextmanager
    def prepared(self, artefacts: Path) -> Iterator[Recipe]:
        """Write the log, if the method has one, and provide the recipe that reads it."""
        if not self.logs:
            yield self.recipe
            return
        scenario = OffloadingScenario.model_validate(self.recipe.env_config["scenario"])
        with tempfile.TemporaryDirectory(dir=artefacts.parent) as folder:
            log = Path(folder) / "log.sqlite"
            write_log(scenario, self.logs, self.log_episodes, log)
            yield self.recipe.with_options({"log": str(log)})


@cache
def training_of(config: StudyConfig, point: Point, network: int, name: str) -> FromLog:
    """Return the training of a method in a network."""
    learner, scenario = LEARNERS[name], point.scenario(network)
    env_config = {"scenario": scenario.model_dump(), "reward": learner.reward or config.reward}
    sampling = {
        "num_envs_per_env_runner": config.episodes_at_a_time(scenario),
        # The last of a fragment's steps shows the end of its episode.
        "rollout_fragment_length": scenario.slots + 1,
    }
    updates, an_iteration = config.offline_updates, _updates_per_iteration(config)
    offline = -(-updates // an_iteration) if learner.logs else 0
    return FromLog(
        method=name,
        recipe=Recipe(
            env=ENVIRONMENT,
            algorithm="o2o",
            env_config=env_config,
            options={**sampling, **_options(config, scenario, learner)},
            seed=network,
        ),
        limits=Limits(iterations=offline + config.iterations),
        validation=Episodes(env_config, validation_seeds(config.validation_episodes), ""),
        metrics=("success_rate",),
        further={**point.labels, "network": network},
        logs=learner.logs,
        log_episodes=config.log_episodes,
        offline_iterations=offline,
    )


def write_log(
    scenario: OffloadingScenario, names: Sequence[str], n_episodes: int, log: Path
) -> None:
    """Log what heuristics do in a network (phase 1), with the episodes dealt out among them."""
    from edge_marl.peer_offloading.collect import collect

    seeds = STUDY_LOG_SEEDS[:n_episodes]
    for k, name in enumerate(names):
        collect(heuristic(name), scenario, seeds[k :: len(names)], log)


def _updates_per_iteration(config: StudyConfig) -> int:
    return max(1, config.offline_updates // 5)


def _options(config: StudyConfig, scenario: OffloadingScenario, learner: Learner) -> dict[str, Any]:
    steps = config.episodes_at_a_time(scenario) * (scenario.slots + 1)
    return {
        "offline_updates": config.offline_updates,
        "offline_updates_per_iteration": _updates_per_iteration(config),
        "train_batch_size_per_learner": steps,
        "lr": [
            [0, _OFFLINE_RATE if learner.logs else _FIRST_RATE],
            [1, _FIRST_RATE],
            [config.iterations * steps, _LAST_RATE],
        ],
        **_ALGORITHM,
        **learner.options,
    }
