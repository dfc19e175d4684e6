"""Check whether a training fits into memory, before any part of it is built."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SPACES

from edge_marl.algorithms.core.spaces import joint_spaces
from edge_marl.envs.batched import BatchedEnv
from edge_marl.memory import check_memory

_COPIES = 5
"""Copies of every weight: the learner's with gradient and two moments, and the sampling one."""


def check_sizes(config: Any, env: BatchedEnv) -> None:
    """Refuse networks that do not fit the environment, and what does not fit into memory.

    Args:
        config: of the algorithm, validated.
        env: the environment, any number of episodes of it.

    Raises:
        InputError: naming the options that decide.
    """
    config.check_sampled(env)
    n_parameters = _count_parameters(config, env)
    check_memory(
        4.0 * _COPIES * n_parameters,
        f"networks of {n_parameters:.3g} parameters (network.hidden_sizes, network.gru)",
    )


def _count_parameters(config: Any, env: BatchedEnv) -> float:
    """Count the parameters of all modules, which are built without taking memory."""
    own = joint_spaces(env)
    spec = config.get_multi_rl_module_spec(spaces={INPUT_ENV_SPACES: own, DEFAULT_MODULE_ID: own})
    with torch.device("meta"):
        module = spec.build()
    return float(sum(p.numel() for m in module.values() for p in m.unwrapped().parameters()))
