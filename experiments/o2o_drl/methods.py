"""The methods that are compared, and how each comes to its policy (paper, section V-B)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.evaluate.episodes import evaluation_seeds, play, validation_seeds
from edge_marl.experiments.o2o_drl.config import StudyConfig
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.systems.system import Episodes
from edge_marl.peer_offloading.heuristics import heuristic
from edge_marl.peer_offloading.scenario import OffloadingScenario
from edge_marl.peer_offloading.simulator import Reward
from edge_marl.seeds import STUDY_LOG_SEEDS

if TYPE_CHECKING:
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from edge_marl.algorithms.o2o.algorithm import O2O

Metrics = Mapping[str, NDArray[np.float64]]

HEURISTICS = {
    "random": "Random", "local": "local only", "rda": "RDA", "ratc": "RATC",
    "greedy": "greedy, global knowledge", "reliable": "reliable, global knowledge",
}  # fmt: skip
"""Labels, in the order of the tables."""

OFFLINE, ONLINE = "Offline only", "Online only"
O2O_DRL = "O2O-DRL"
WITH_IQL = f"{O2O_DRL}, IQL"

_CHECKS = 12
"""Points of the online part of a learning curve, those at its start not counted."""

_FIRST_REFITS = 5
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
    """A learned method."""

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
    """What a method is before it goes online."""
    return name.replace(O2O_DRL, OFFLINE)


@dataclass(frozen=True)
class Outcome:
    """What playing and learning in one network gave."""

    test: Mapping[str, Metrics]
    """Method, then metric ``[K]`` of the test episodes."""
    curve: tuple[tuple[str, int, float], ...] = ()
    """Phase, gradient steps (offline) or episodes (online), mean success rate on validation."""
    hand_over: tuple[tuple[float, ...], ...] = ()
    """Success rates on validation episodes: at the end of the offline phase, then after each of
    the first refits."""


def play_heuristics(config: StudyConfig, scenario: OffloadingScenario) -> Outcome:
    """All heuristics on the test episodes."""
    system = system_of("peer_offloading_v0")
    episodes = Episodes({"scenario": scenario.model_dump()}, evaluation_seeds(config.episodes), "")
    return Outcome({name: system.play(name, episodes) for name in system.heuristics()})


def learn(
    config: StudyConfig, scenario: OffloadingScenario, name: str, seed: int, scratch: Path
) -> Outcome:
    """Train one method in one network, and play the test episodes after each phase.

    Args:
        config: sizes.
        scenario: the network.
        name: in :data:`LEARNERS`.
        seed: of training.
        scratch: folder for the log, which is removed afterwards.
    """
    learner = LEARNERS[name]
    log = None
    if learner.logs:
        log = scratch / f"{'-'.join(learner.logs)}-{os.getpid()}.sqlite"
        log.parent.mkdir(parents=True, exist_ok=True)
        write_log(config, scenario, learner.logs, log)
    try:
        # Without ours, RLlib would start a Ray of its own, open to the network.
        with local_ray(1), built(_config(config, scenario, learner, log, seed)) as algorithm:
            return _train(algorithm, config, scenario, name)
    finally:
        for left in () if log is None else scratch.glob(f"{log.name}*"):
            left.unlink()


def write_log(
    config: StudyConfig, scenario: OffloadingScenario, names: Sequence[str], log: Path
) -> None:
    """Phase 1: what heuristics do in the network, as one task log; episodes are dealt out."""
    from edge_marl.peer_offloading.collect import collect

    seeds = STUDY_LOG_SEEDS[: config.log_episodes]
    for k, name in enumerate(names):
        collect(heuristic(name), scenario, seeds[k :: len(names)], log)


def _config(
    config: StudyConfig,
    scenario: OffloadingScenario,
    learner: Learner,
    log: Path | None,
    seed: int,
) -> AlgorithmConfig:
    from edge_marl.algorithms import O2OConfig

    reward = learner.reward or config.reward
    return (
        O2OConfig()
        .environment(
            "peer_offloading_v0",
            env_config={"scenario": scenario.model_dump(), "reward": reward},
        )
        .env_runners(
            num_envs_per_env_runner=config.episodes_at_a_time(scenario),
            # The last of a fragment's steps shows the end of its episode.
            rollout_fragment_length=scenario.slots + 1,
        )
        .training(
            log=None if log is None else str(log), **training_options(config, scenario, learner)
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def training_options(
    config: StudyConfig, scenario: OffloadingScenario, learner: Learner
) -> dict[str, Any]:
    """All that a learner is told of ``O2OConfig.training()``, where its log lies aside."""
    steps = config.episodes_at_a_time(scenario) * (scenario.slots + 1)
    return {
        "offline_updates": config.offline_updates,
        "offline_updates_per_iteration": max(1, config.offline_updates // 5),
        "train_batch_size_per_learner": steps,
        "lr": [
            [0, _OFFLINE_RATE if learner.logs else _FIRST_RATE],
            [1, _FIRST_RATE],
            [config.iterations * steps, _LAST_RATE],
        ],
        **_ALGORITHM,
        **learner.options,
    }


def _train(algorithm: O2O, config: StudyConfig, scenario: OffloadingScenario, name: str) -> Outcome:
    from edge_marl.envs.peer_offloading_v0 import batched_env

    test_env = batched_env(config.episodes, scenario=scenario)
    validation_env = batched_env(config.validation_episodes, scenario=scenario)

    def played(env: Any, seeds: NDArray[np.int64]) -> Metrics:
        actor = algorithm.get_module().actor
        return play(actor, env, seeds, sampled=True)

    def validation() -> NDArray[np.float64]:
        found = played(validation_env, validation_seeds(config.validation_episodes))
        return found["success_rate"]

    test: dict[str, Metrics] = {}
    curve: list[tuple[str, int, float]] = []
    hand_over: list[tuple[float, ...]] = []
    while algorithm.phase == "offline":
        algorithm.train()
        rates = validation()
        curve.append(("offline", algorithm.offline_updates_done, float(rates.mean())))
    if curve:
        test[offline_part(name)] = played(test_env, evaluation_seeds(config.episodes))
        hand_over.append(tuple(rates))
    every = max(1, config.iterations // _CHECKS)
    episodes = config.episodes_at_a_time(scenario)
    for done in range(config.iterations + 1):
        if done > 0:
            algorithm.train()
        first = hand_over and 0 < done <= _FIRST_REFITS
        if first or done % every == 0 or done == config.iterations:
            rates = validation()
            curve.append(("online", done * episodes, float(rates.mean())))
            if first:
                hand_over.append(tuple(rates))
    test[name] = played(test_env, evaluation_seeds(config.episodes))
    return Outcome(test, tuple(curve), tuple(hand_over))
