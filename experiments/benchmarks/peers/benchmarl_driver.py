"""Measure BenchMARL on ``tandem_v0``, as a script for the interpreter that has BenchMARL.

The script takes a JSON object as its argument, see :func:`.benchmarl.command`, and prints one as
its last line. It imports nothing of this project but the environment, as that interpreter lacks
some of our dependencies.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from benchmarl.algorithms import MappoConfig, QmixConfig
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from gymnasium import spaces
from torchrl.envs import MarlGroupMapType, PettingZooWrapper

from edge_marl.envs.tandem_v0 import TandemConfig, TandemEnv
from edge_marl.envs.views import ObsDict

ALGORITHMS = {"mappo": MappoConfig, "qmix": QmixConfig}


class FlatTandem(TandemEnv):
    """Flatten the observations of the environment to one axis, as BenchMARL's MLP expects them."""

    def __init__(self) -> None:
        super().__init__(TandemConfig())
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": spaces.flatten_space(space["observation"]),
                    "action_mask": space["action_mask"],
                }
            )
            for agent, space in self.observation_spaces.items()
        }

    def _observe(self) -> dict[str, ObsDict]:
        return {
            agent: {**seen, "observation": seen["observation"].ravel()}
            for agent, seen in super()._observe().items()
        }


class TandemTask(PettingZooClass):
    """Declare a task with both agents in one group, so that they share parameters as ours do."""

    def __init__(self) -> None:
        super().__init__(name="TANDEM_V0", config={})

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], PettingZooWrapper]:
        """Return a function that makes one environment; BenchMARL steps ``num_envs`` in turn."""
        return lambda: PettingZooWrapper(
            env=FlatTandem(),
            return_state=True,
            group_map=MarlGroupMapType.ALL_IN_ONE_GROUP,
            categorical_actions=True,
            seed=seed,
            device=device,
        )

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def has_state(self) -> bool:
        return True

    def max_steps(self, env: PettingZooWrapper) -> int:
        """Return the step limit of evaluation episodes, of which there are none here."""
        return 1000


class Clock(Callback):
    """Record when the data of each iteration had been collected, and when its training ended."""

    def __init__(self) -> None:
        super().__init__()
        self.collected: list[float] = []
        self.trained: list[float] = []
        self.trained_cpu: list[float] = []

    def on_batch_collected(self, batch: Any) -> None:
        self.collected.append(time.perf_counter())

    def on_train_end(self, training_td: Any, group: str) -> None:
        self.trained.append(time.perf_counter())
        self.trained_cpu.append(time.process_time())


def measure(
    algorithm: str,
    *,
    frames: int,
    envs: int,
    hidden_sizes: list[int],
    minibatch: int,
    passes: int,
    iterations: int,
    seed: int,
) -> dict[str, float]:
    """Measure frames per second over all iterations but the first, and peak memory.

    Args:
        algorithm: ``mappo`` or ``qmix``.
        frames: per iteration.
        envs: environments stepped together.
        hidden_sizes: of actor and critic, or of the Q network.
        minibatch: frames per gradient step.
        passes: epochs over the frames (mappo), gradient steps per iteration (qmix).
        iterations: how many to measure.
        seed: of everything.
    """
    config = ExperimentConfig.get_from_yaml()
    for phase in ("on_policy", "off_policy"):
        setattr(config, f"{phase}_collected_frames_per_batch", frames)
        setattr(config, f"{phase}_n_envs_per_worker", envs)
    config.on_policy_n_minibatch_iters = config.off_policy_n_optimizer_steps = passes
    config.on_policy_minibatch_size = config.off_policy_train_batch_size = minibatch
    config.max_n_iters, config.max_n_frames = iterations + 1, None
    config.evaluation, config.loggers, config.create_json = False, [], False
    network = MlpConfig.get_from_yaml()
    network.num_cells, network.activation_class = hidden_sizes, torch.nn.ReLU
    clock = Clock()
    with tempfile.TemporaryDirectory() as config.save_folder:
        Experiment(
            task=TandemTask(),
            algorithm_config=ALGORITHMS[algorithm].get_from_yaml(),
            model_config=network,
            seed=seed,
            config=config,
            callbacks=[clock],
        ).run()
    seconds = clock.trained[-1] - clock.trained[0]
    collecting = float(np.subtract(clock.collected[1:], clock.trained[:-1]).sum())
    return {
        "per_s": frames * iterations / seconds,
        "per_cpu_s": frames * iterations / (clock.trained_cpu[-1] - clock.trained_cpu[0]),
        "sampling_s": collecting / iterations,
        "learning_s": (seconds - collecting) / iterations,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
