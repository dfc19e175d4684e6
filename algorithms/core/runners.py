"""Show why environment runners cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from edge_marl.errors import original

_TELLING = ("ray.rllib.utils.actor_manager", "ray.rllib.env.env_runner_group")
"""Loggers of RLlib's modules that tell of runners."""

_ANSWERS_WITHIN_S = 120.0


@contextmanager
def failures_shown(config: Any) -> Iterator[None]:
    """Raise the exception of remote runners that could not be made within the block.

    RLlib only logs it, with all frames and in colour, and goes on until it asks the first runner.

    Args:
        config: of the algorithm.
    """
    loggers = [logging.getLogger(name) for name in _TELLING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except IndexError as error:
        # There is no first runner. One more says why.
        runner = ray.remote(num_cpus=0)(config.env_runner_cls).remote(config=config, worker_index=1)
        try:
            ray.get(runner.assert_healthy.remote(), timeout=_ANSWERS_WITHIN_S)
        except RayError as lost:
            raise original(lost) from error
        raise
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
