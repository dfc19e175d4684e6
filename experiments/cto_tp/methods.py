"""Declare how the learned methods of the study get their policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from edge_marl.experiments.cto_tp.config import (
    ENVIRONMENT,
    Method,
    Setting,
    StudyConfig,
    episodes_of,
    scenario_of,
)
from edge_marl.experiments.cto_tp.predictors import PREDICTOR, PredictorTraining
from edge_marl.experiments.study.policies import Given, Play, Training
from edge_marl.experiments.training.loop import Limits
from edge_marl.experiments.training.recipe import Recipe

METRICS = ("cost", "latency_s", "latency_p95_s", "energy_j", "offloaded", "waiting_s")
"""Of episodes, that are reported."""

_VALIDATION_EPISODES = 64
_SHARED = 0.25
"""Of a minibatch, that others have experienced, where experience is shared."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})

# Chosen on validation episodes of the default setting and of bursts. Discounts are of a second:
# what a decision costs is charged with it, so that little is gained by looking further ahead.
_PPO = {
    "gamma": 0.9,
    "observation_normalisation": True,
    "num_envs_per_env_runner": 64,
    "train_batch_size_per_learner": 16_384,
    "minibatch_size": 4096,
    "num_epochs": 5,
    "decisions_only": True,
    "lambda_": 0.9,
    # Some tasks cost a hundred times as much as others.
    "vf_clip_param": 1e6,
    "entropy_coeff": 0.001,
}
_REPLAY = {
    # PPO's advantages decay by gamma times lambda in a second, 0.81. With 0.9 here, queues under
    # bursts take several times the decisions to learn.
    "gamma": 0.8,
    "num_envs_per_env_runner": 64,
    # Decisions are cheaper than updates: each is learned from four times, not sixteen.
    "train_batch_size_per_learner": 8192,
    "updates_per_batch": 32,
    "minibatch_size": 1024,
    # One critic for all: it learns from every decision what each is worth to the team.
    "parameter_sharing": "shared",
    "network.hidden_sizes": (128, 128),
    # Whom an action delays arrives in the seconds after it: with fewer decisions, that has to be
    # learned from small differences between the values of states.
    "n_step": 10,
}
_KEPT = 1_800_000
"""Decisions to learn from, over the servers: with more of them each takes more memory."""
_CRITICS = {
    "allocator_hidden_sizes": (128, 128),
    "critic_hidden_sizes": (256, 256),
    # Over ten decisions, noise that goes on from one to the next would be taken for an effect of
    # the first.
    "noise": "gaussian",
}
_CRITIC_LR = (1e-3, 1e-4)
"""At the beginning and at the end."""
_EPSILON = (1.0, 0.05, 0.01)
"""At the beginning, after a share of the training, and at its end."""
_EXPLORING = 0.22
"""That share."""
_NOISE = (0.3, 0.05)
"""Of the shares that are asked for, at the beginning and at the end."""


class _Pace(NamedTuple):
    """Say how an algorithm learns, and what it takes."""

    options: Mapping[str, Any]
    lr: tuple[float, float]
    """At the beginning and at the end."""
    seconds_per_decision: float
    """Of a core, with three servers."""


_PACES: Mapping[str, _Pace] = {
    "mappo": _Pace(_PPO, (1e-3, 1e-4), 5e-5),
    "cto": _Pace(_REPLAY | _CRITICS, (3e-4, 3e-5), 1.5e-4),
    "maddpg": _Pace(_REPLAY | _CRITICS, (3e-4, 3e-5), 1.1e-4),
    "madqn": _Pace(_REPLAY, (3e-4, 3e-5), 6e-5),
}


@dataclass(frozen=True)
class Learner:
    """Describe a learned method, by what differs from its algorithm as the study has it."""

    algorithm: str
    options: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Of the algorithm."""
    env: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """Of the environment."""
    predicts: bool = False
    """Whether critics see predictions."""
    foresees: bool = False
    """Whether actors do, too."""

    def given(self, setting: Setting, seed: int) -> Given | None:
        """Return what predicts, if anything does."""
        if not self.predicts:
            return None
        unit = PredictorTraining(setting, seed)
        return Given(unit, PREDICTOR, {"actors_foresee": True} if self.foresees else {})


CTO = Learner("cto")
LEARNERS: Mapping[Method, Learner] = {
    "CTO-TP": replace(CTO, predicts=True),
    "CTO": CTO,
    "CTO-TP, actors": replace(CTO, predicts=True, foresees=True),
    "CTO, TD3": Learner("cto", {"twin_critics": True, "policy_delay": 2}),
    "MADDPG": Learner("maddpg"),
    "MADQN": Learner("madqn", env={"grants": "proportional"}),
    "MAPPO": Learner("mappo"),
    "IPPO": Learner("mappo", {"critic": "local"}),
}


@cache
def training_of(config: StudyConfig, method: Method, setting: Setting, seed: int) -> Training:
    """Return the training of a method in a setting."""
    return training(config, LEARNERS[method], method, setting, seed)


def training(
    config: StudyConfig, learner: Learner, name: str, setting: Setting, seed: int
) -> Training:
    """Return the training of a method in a setting, under a name."""
    pace = _PACES[learner.algorithm]
    iterations = config.iterations if learner.algorithm == "mappo" else config.updates
    decisions = iterations * pace.options["train_batch_size_per_learner"]
    servers = scenario_of(setting).servers
    kept = {} if learner.algorithm == "mappo" else {"replay_capacity": _KEPT // servers}
    recipe = Recipe(
        env=ENVIRONMENT,
        algorithm=learner.algorithm,
        options={**pace.options, **kept, **_schedules(learner.algorithm, decisions),
                 **learner.options},
        env_config={**episodes_of(setting, 1).env_config, **learner.env, "reward": "saving"},
        seed=seed,
    )  # fmt: skip
    return Training(
        name,
        recipe,
        Limits(iterations=iterations),
        episodes_of(setting, _VALIDATION_EPISODES, validation=True, **learner.env),
        metrics=METRICS,
        further={"setting": setting, "trained": setting},
        given=learner.given(setting, seed),
        is_seen=learner.foresees,
        seconds=decisions * pace.seconds_per_decision * servers / 3,
    )


def play_of(
    config: StudyConfig, method: Method, setting: Setting, seed: int, trained: Setting | None = None
) -> Play:
    """Return the test episodes of a training, in the setting it was trained in unless said."""
    learned = training_of(config, method, trained or setting, seed)
    return Play(
        ENVIRONMENT,
        episodes_of(setting, config.episodes, **LEARNERS[method].env),
        method,
        learned,
        further={"setting": setting, "trained": trained or setting},
        given=learned.given if learned.is_seen else None,
    )


def _schedules(algorithm: str, decisions: int) -> dict[str, Any]:
    """Return learning rates and exploration over so many decisions."""

    def falling(ends: tuple[float, float]) -> list[list[float]]:
        return [[0, ends[0]], [decisions, ends[1]]]

    found = {"lr": falling(_PACES[algorithm].lr)}
    if algorithm in ("cto", "maddpg"):
        found |= {"critic_lr": falling(_CRITIC_LR), "noise_scale": falling(_NOISE)}
    if algorithm in ("cto", "madqn"):
        first, then, last = _EPSILON
        found["epsilon"] = [[0, first], [round(_EXPLORING * decisions), then], [decisions, last]]
    return found


def exchange_name(interval: int) -> str:
    """Return what trainings are called that share experience after so many updates."""
    return f"every {interval}"


def exchanging(config: StudyConfig, interval: int, seed: int) -> Training:
    """Return a training of CTO whose learners, at their own pace, share what they experience."""
    learner = Learner("cto", {
        "asynchronous": True, "parameter_sharing": "independent", "global_share": _SHARED,
        "sync_interval": interval, "replay_capacity": 50_000,
    })  # fmt: skip
    return training(config, learner, exchange_name(interval), "default", seed)
