"""Make one measurement of the learning benchmark, in a process of its own.

``python -m edge_marl.experiments.benchmarks.learning_measures CASE SIZES`` takes two JSON objects
and prints one as its last line: the speed and the peak memory of this process.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from edge_marl.envs import register
from edge_marl.experiments.benchmarks.learning_sizes import LearningSizes

AGENTS = {"tandem_v0": 2, "peer_offloading_v0": 20, "dag_placement_v0": 1}
"""Environments, all with their defaults, and how many agents they have."""

STOCK_ENVS = 16


class Case(BaseModel):
    """Describe one measurement: what is measured, in which environment, and of which subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Literal["sampling", "iteration", "offline"]
    env: str
    subject: Literal[
        "stock", "stock single", "mappo", "ippo", "qmix", "o2o", "scale",
        "benchmarl mappo", "benchmarl qmix",
    ]  # fmt: skip
    envs: int
    """Episodes at a time."""


class Stopwatch:
    """Measure wall-clock and processor time; on a busy machine the latter is the steadier."""

    def __init__(self) -> None:
        self._begin, self._cpu_begin = time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Return the wall-clock seconds since the start."""
        return time.perf_counter() - self._begin

    def speeds(self, steps: int) -> dict[str, float]:
        """Return the speed of ``steps`` taken since the start, by wall-clock and processor time."""
        cpu_s = time.process_time() - self._cpu_begin
        return {"per_s": steps / self.seconds, "per_cpu_s": steps / cpu_s}


def measure(case: Case, sizes: LearningSizes) -> dict[str, float]:
    """Measure env steps per second (offline: gradient steps) and peak memory of one case."""
    register()
    measures = {"sampling": _sampling, "iteration": _iteration, "offline": _offline}
    found = measures[case.measure](case, sizes)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**found, "peak_mib": peak_kib / 1024}


def _sampling(case: Case, sizes: LearningSizes) -> dict[str, float]:
    config = _config(case, sizes)
    runner = config.env_runner_cls(config=config)

    def play(seconds: float) -> dict[str, float]:
        steps = 0
        watch = Stopwatch()
        while watch.seconds < seconds:
            steps += sum(batch.env_steps() for batch in runner.sample())
        return watch.speeds(steps)

    play(sizes.sampling_s / 4)
    return play(sizes.sampling_s)


def _iteration(case: Case, sizes: LearningSizes) -> dict[str, float]:
    from edge_marl.experiments.parallel import built, local_ray

    with local_ray(1), built(_config(case, sizes)) as algorithm:
        algorithm.train()
        before = _steps(algorithm)
        watch = Stopwatch()
        for _ in range(sizes.iterations):
            timers = algorithm.train()["timers"]
        speeds = watch.speeds(_steps(algorithm) - before)
    return {
        **speeds,
        "sampling_s": timers["env_runner_sampling_timer"],
        "learning_s": timers["learner_update_timer"],
    }


def _offline(case: Case, sizes: LearningSizes) -> dict[str, float]:
    """Measure gradient steps of O2O-DRL on a heuristic's log, once the log is in memory."""
    from edge_marl.experiments.parallel import built, local_ray
    from edge_marl.peer_offloading.collect import collect
    from edge_marl.peer_offloading.heuristics import heuristic
    from edge_marl.peer_offloading.scenario import OffloadingScenario

    with tempfile.TemporaryDirectory() as folder, local_ray(1):
        log = str(Path(folder) / "log.sqlite")
        collect(heuristic("random"), OffloadingScenario(), range(sizes.offline_episodes), log)
        config = _config(case, sizes).training(
            log=log,
            offline_updates=sizes.offline_updates * (sizes.iterations + 1),
            offline_updates_per_iteration=sizes.offline_updates,
            offline_batch_size=sizes.offline_batch,
        )
        with built(config) as algorithm:
            algorithm.train()
            watch = Stopwatch()
            for _ in range(sizes.iterations):
                algorithm.train()
            return watch.speeds(sizes.offline_updates * sizes.iterations)


def _steps(algorithm: Any) -> int:
    key = ("env_runners", "num_env_steps_sampled_lifetime")
    return int(algorithm.metrics.peek(key, default=0))


def _config(case: Case, sizes: LearningSizes) -> Any:
    makers: dict[str, Callable[[Case, LearningSizes], Any]] = {
        "stock": _stock, "stock single": _stock_single, "mappo": _mappo, "ippo": _mappo,
        "qmix": _qmix, "o2o": _o2o, "scale": _scale,
    }  # fmt: skip
    # Without a seed, which would put torch into its slower deterministic mode.
    return makers[case.subject](case, sizes)


def _stock(case: Case, sizes: LearningSizes) -> Any:
    """Configure RLlib's PPO with one policy for all agents; its minibatches count agent steps."""
    from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

    return (
        _stock_single(case, sizes)
        .multi_agent(policies={"shared"}, policy_mapping_fn=_shared)
        .env_runners(env_runner_cls=MultiAgentEnvRunner)
    )


def _stock_single(case: Case, sizes: LearningSizes) -> Any:
    """Configure RLlib's PPO in its single-agent runner: one controller acts for all agents."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    return (
        PPOConfig()
        .environment(case.env)
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=case.envs,
            rollout_fragment_length=-(-sizes.frames // (4 * case.envs)),
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=list(sizes.hidden_sizes),
                fcnet_activation="relu",
                vf_share_layers=False,
            )
        )
        .training(
            train_batch_size_per_learner=sizes.frames,
            minibatch_size=sizes.minibatch * AGENTS[case.env],
            num_epochs=sizes.epochs,
            use_kl_loss=False,
        )
        # It compares minibatches of agents' steps with batches of env steps.
        .experimental(_validate_config=False)
    )


def _shared(agent: str, episode: Any, **_: Any) -> str:
    return "shared"


def _mappo(case: Case, sizes: LearningSizes) -> Any:
    from edge_marl.algorithms.mappo import MAPPOConfig

    critic: Literal["central", "local"] = "central" if case.subject == "mappo" else "local"
    return _ppo(MAPPOConfig().training(critic=critic), case, sizes)


def _o2o(case: Case, sizes: LearningSizes) -> Any:
    """Configure O2O-DRL without a log, which leaves it its online phase alone."""
    from edge_marl.algorithms.o2o import O2OConfig

    return _ppo(O2OConfig(), case, sizes)


def _scale(case: Case, sizes: LearningSizes) -> Any:
    """Configure SCALE with its own network widths, regularised from the first iteration on."""
    from edge_marl.algorithms.scale import SCALEConfig

    config = _ppo(SCALEConfig(), case, sizes)
    widths = SCALEConfig().network.hidden_sizes
    return config.training(network={"hidden_sizes": widths}, srr_start_iteration=0)


def _ppo(config: Any, case: Case, sizes: LearningSizes) -> Any:
    return (
        _ours(config, case, sizes)
        .env_runners(rollout_fragment_length=-(-sizes.frames // case.envs))
        .training(
            train_batch_size_per_learner=sizes.frames,
            minibatch_size=sizes.minibatch,
            num_epochs=sizes.epochs,
        )
    )


def _qmix(case: Case, sizes: LearningSizes) -> Any:
    from edge_marl.algorithms.value_decomposition import QMIXConfig

    return (
        _ours(QMIXConfig(), case, sizes)
        .env_runners(rollout_fragment_length=-(-sizes.frames // case.envs))
        .training(
            train_batch_size_per_learner=sizes.replay_batch,
            training_intensity=sizes.replay_steps * sizes.replay_batch / sizes.frames,
            num_steps_sampled_before_learning_starts=0,
            # As BenchMARL computes it.
            double_q=False,
            loss="mse",
            tau=0.005,
            target_update_interval=1,
        )
    )


def _ours(config: Any, case: Case, sizes: LearningSizes) -> Any:
    return (
        config.environment(case.env)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=case.envs)
        # The inputs of the others' networks: no identity, nothing normalised.
        .training(
            network={"hidden_sizes": sizes.hidden_sizes, "agent_id": False},
            observation_normalisation=False,
        )
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    import torch

    torch.set_num_threads(1)
    found = measure(
        Case.model_validate_json(sys.argv[1]), LearningSizes.model_validate_json(sys.argv[2])
    )
    print(json.dumps(found))
