"""The methods that are compared, and how each comes to its policy (paper, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.experiments.evaluate.episodes import evaluation_seeds, play, validation_seeds
from edge_marl.experiments.parallel import built, local_ray
from edge_marl.experiments.scale.config import ENV, Family, Point, StudyConfig, trained_in
from edge_marl.experiments.systems import system_of
from edge_marl.experiments.systems.system import Episodes

if TYPE_CHECKING:
    from edge_marl.algorithms.networks.agents import Actor

Metrics = Mapping[str, NDArray[np.float64]]

SCALE, CROSS_ATTN, PPO, PPO_SRR, DQN, SAC = "SCALE", "CrossAttn", "PPO", "PPO+SRR", "DQN", "SAC"
POINTER, POINTER_SRR = "pointer", "pointer + SRR"

_ENVS, _STEPS = 64, 128
_CHECKS, _VALIDATION_EPISODES = 10, 16
_MLP = {"kind": "structured_mlp", "hidden_sizes": (64, 64)}
_LARGE = {"kind": "pointer", "hidden_sizes": (32, 32)}


@dataclass(frozen=True)
class Learner:
    """A learned method."""

    family: Family
    algorithm: Literal["scale", "dqn", "sac"] = "scale"
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Of its configuration."""

    @property
    def any_size(self) -> bool:
        """Whether it can be tested at another N."""
        network = self.options.get("network", {"kind": "pointer"})
        return bool(network["kind"] == "pointer")


# The paper's width, blocks and heads; its rate and sizes of batches are lost. SRR's schedule is
# the paper's share of a training (iterations 10 to 60), which here has fewer iterations.
_PAPER = {"lr": 2e-3, "gamma": 0.99, "entropy_coeff": 0.005}
_SRR = {"srr_start_iteration": 5, "srr_warmup_iterations": 25}
# Rates, discount per second and entropy were chosen on validation episodes, one seed each.
_EVENT = {"network": _LARGE, "lr": 2e-3, "gamma": 0.7, "lambda_": 0.8, "entropy_coeff": 0.003}

LEARNERS: Mapping[str, Learner] = {
    SCALE: Learner("paper", options={**_PAPER, **_SRR, "srr": True}),
    CROSS_ATTN: Learner("paper", options={**_PAPER, "srr": False}),
    PPO: Learner("paper", options={**_PAPER, "srr": False, "network": _MLP}),
    PPO_SRR: Learner("paper", options={**_PAPER, **_SRR, "srr": True, "network": _MLP}),
    DQN: Learner("paper", "dqn", {"network": {**_MLP, "dueling": True}}),
    SAC: Learner("paper", "sac", {"network": _MLP}),
    POINTER: Learner("event", options={**_EVENT, "srr": False}),
    POINTER_SRR: Learner("event", options={**_EVENT, **_SRR, "srr": True}),
}


@dataclass(frozen=True)
class Trained:
    """A policy, and how it came to be."""

    actor: Actor
    curve: tuple[tuple[int, float, float], ...]
    """Environment steps; mean reward per step and mean response time on validation episodes."""


def learn(config: StudyConfig, name: str, seed: int) -> Trained:
    """Train a method at N = 16."""
    with local_ray(1):  # RLlib would start one of its own, open to the network
        learner = LEARNERS[name]
        algorithm_config, iterations = _config(config, learner, seed)
        with built(algorithm_config) as algorithm:
            return _train(algorithm, iterations, learner.family)


def _config(config: StudyConfig, learner: Learner, seed: int) -> tuple[Any, int]:
    """The algorithm's settings, and how many iterations it is trained for."""
    from edge_marl.algorithms import DiscreteSACConfig, SCALEConfig, VDNConfig

    per_iteration = _ENVS * _STEPS
    length = config.length(learner.family, off_policy=learner.algorithm != "scale")
    iterations = length
    made: Any
    if learner.algorithm == "scale":
        made = SCALEConfig().training(
            train_batch_size_per_learner=per_iteration, minibatch_size=1024, num_epochs=4,
            cosine_steps=iterations * per_iteration,
        )  # fmt: skip
        envs, steps = _ENVS, _STEPS
    else:
        envs, steps = 16, 32
        iterations = length // (envs * steps)
        if learner.algorithm == "dqn":
            made = VDNConfig().training(
                epsilon=[(0, 1.0), (length // 2, 0.02)], observation_normalisation=False
            )
        else:
            made = DiscreteSACConfig().training(target_entropy=0.1)
    made = (
        made.environment(
            "dag_placement_v0",
            env_config={
                "scenario": trained_in(learner.family).scenario.model_dump(),
                **ENV[learner.family],
            },
        )
        .env_runners(num_envs_per_env_runner=envs, rollout_fragment_length=steps)
        .training(**learner.options)
        .debugging(seed=seed, log_level="ERROR")
    )
    return made, iterations


def _train(algorithm: Any, iterations: int, family: Family) -> Trained:
    env = test_env(trained_in(family), _VALIDATION_EPISODES)
    every = max(1, iterations // _CHECKS)
    curve = []
    for done in range(1, iterations + 1):
        algorithm.train()
        if done % every == 0 or done == iterations:
            actor = algorithm.get_module().actor
            found = play(actor, env, validation_seeds(_VALIDATION_EPISODES))
            reward = found["return"].sum() / found["length"].sum()
            response_s = float(np.nanmean(found["response_s"]))
            curve.append((algorithm.env_steps_sampled, float(reward), response_s))
    return Trained(algorithm.get_module().actor, tuple(curve))


def play_point(config: StudyConfig, name: str, actor: Actor | None, point: Point) -> Metrics:
    """A learned policy, greedy as in Algorithm 2 but for waiting, or the heuristic of this name."""
    seeds = evaluation_seeds(config.test_episodes(point))
    if actor is None:
        env_config = {"scenario": point.scenario.model_dump()}
        return system_of("dag_placement_v0").play(name, Episodes(env_config, seeds, ""))
    env = test_env(point, len(seeds))
    return play(actor.resized(point.servers), env, seeds)


def test_env(point: Point, batch_size: int) -> Any:
    """Episodes of a scenario, as policies of its family see them."""
    from edge_marl.envs.dag_placement_v0 import batched_env

    return batched_env(batch_size, scenario=point.scenario.model_dump(), **ENV[point.family])
