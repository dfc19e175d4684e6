"""Rewards that are paid late: they are learned from as those of the actions that they are for."""

from typing import Any

import numpy as np
import pytest

from edge_marl.algorithms.mappo import MAPPOConfig
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.algorithms.sampling.hindsight import with_rewards_of_actions
from edge_marl.algorithms.value_decomposition import VDNConfig
from edge_marl.errors import InputError

LATE = {"rewards": {"kind": "own", "delay_ticks": 8}, "scenario": {"ticks": 30}}


def fragments(first: list[int], **columns: Any) -> dict[str, np.ndarray]:
    """A row of six steps of one agent; an episode begins at each of ``first``."""
    T = 6
    begins = np.isin(np.arange(T + 1), first)[None]
    found = {
        Fragment.FEATURES: np.arange(T + 1.0).reshape(1, T + 1, 1, 1),
        Fragment.FIRST: begins,
        Fragment.ACTIONS: np.arange(T).reshape(1, T, 1),
        Fragment.REWARDS: np.arange(10.0, 10 + T).reshape(1, T, 1),
        # The step before an episode begins shows the end of the last one, and is not played.
        Fragment.VALID: ~begins[:, 1:],
        Fragment.TERMINATED: np.zeros((1, T, 1), dtype=bool),
        Fragment.TRUNCATED: np.zeros((1, T, 1), dtype=bool),
    }
    return found | columns


def test_every_step_has_the_reward_that_is_paid_for_its_actions() -> None:
    moved = with_rewards_of_actions(fragments([0]), 2)
    assert moved[Fragment.REWARDS].ravel().tolist() == [12, 13, 14, 15, 0, 0]
    assert moved[Fragment.VALID].ravel().tolist() == [True] * 4 + [False] * 2
    assert np.flatnonzero(moved[Fragment.TRUNCATED]).tolist() == [3], "the rest is left to a critic"


def test_no_step_is_paid_by_another_episode() -> None:
    # Steps 0 to 2 are the end of an episode, step 3 shows how it ended, steps 4 and 5 are new.
    moved = with_rewards_of_actions(fragments([4]), 1)
    assert moved[Fragment.VALID].ravel().tolist() == [True, True, False, False, True, False]
    assert moved[Fragment.REWARDS].ravel().tolist() == [11, 12, 0, 0, 15, 0]
    assert np.flatnonzero(moved[Fragment.TRUNCATED]).tolist() == [1, 4]


def test_fragments_have_to_be_longer_than_the_delay(local_ray: None) -> None:
    config = MAPPOConfig().environment("graph_offloading_v0", env_config=LATE)
    config = config.env_runners(num_envs_per_env_runner=2)
    with pytest.raises(InputError, match="rollout_fragment_length: expected more than the 8 steps"):
        config.training(train_batch_size_per_learner=16, minibatch_size=8).build_algo()


def test_algorithms_that_cannot_credit_them_refuse_late_rewards(local_ray: None) -> None:
    config = VDNConfig().environment("graph_offloading_v0", env_config=LATE)
    with pytest.raises(InputError, match="expected one that pays rewards at once, found one that"):
        config.build_algo()


def test_late_rewards_are_trained_on(local_ray: None) -> None:
    config = MAPPOConfig().environment("graph_offloading_v0", env_config=LATE)
    config = config.env_runners(num_envs_per_env_runner=2)
    algorithm = config.training(
        train_batch_size_per_learner=40, minibatch_size=20, critic="local"
    ).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
