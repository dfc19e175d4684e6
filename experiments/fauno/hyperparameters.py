"""Declare the hyperparameters of the FAuNO study: chosen on validation seeds, one training each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from edge_marl.limits import LARGEST

GAMMA = 0.998

SCOF_GAMMA = 0.95
"""With the other, values grow for as long as the training lasts."""

_ENTROPY_COEFF = (5e-2, 5e-4)
"""At the beginning and at the end. With a tenth at the beginning, agents on Ether keep everything
before they have seen what the server does for the few tasks that are too large for them."""

_EPSILON = (1.0, 0.2)
"""Share of random actions, the same: with fewer, values of what is not tried any more grow."""

_PPO: Mapping[str, Any] = {
    "team_reward": "own",
    "decisions_only": True,
    # Values of agents that wait long between decisions are bootstrapped from one another: what is
    # not corrected because it is too far off goes on growing, and the advantages with it.
    "vf_clip_param": LARGEST,
}
_OWN: Mapping[str, Mapping[str, Any]] = {
    "mappo": {**_PPO, "grad_clip": 0.5},
    # The paper's settings, those of FAuNOConfig, learn little of what comes after ten ticks.
    "fauno": {**_PPO, "clip_param": 0.2, "vf_loss_coeff": 1.0, "grad_clip": 10.0},
    "scof": {"gamma": SCOF_GAMMA, "updates_per_batch": 200, "minibatch_size": 256,
             "replay_capacity": 60_000, "tau": 0.005},
}  # fmt: skip


class _Updates(NamedTuple):
    """Describe how policy gradients are made and followed."""

    lambda_: float
    """Decay of the advantages' sum, per decision. On Ether what comes next is mostly the noise of
    others; on random graphs, agents block one another, of which critics alone learn too little."""
    num_epochs: int
    minibatch_size: int
    lr: tuple[float, float]
    """At the beginning and at the end."""


_ON_RANDOM = _Updates(0.95, 2, 1024, (8e-4, 8e-5))
_UPDATES: Mapping[tuple[str, bool], _Updates] = {
    ("mappo", True): _ON_RANDOM,
    ("mappo", False): _ON_RANDOM._replace(lambda_=0.5),
    ("fauno", True): _ON_RANDOM,
    # A client alone sees little of what is rare. On Ether, more passes over larger minibatches,
    # whose gradients are less noisy, bear steps with which it learns that in time; where a network
    # is overloaded, policies that change so fast lose at the end what they had learned.
    ("fauno", False): _Updates(0.5, 8, 4096, (2e-3, 2e-4)),
}
"""By algorithm, and whether the graph is a random one."""

_SCOF_LR = (2e-3, 2e-4)


def hyperparameters(
    algorithm: str, *, is_random: bool, iterations: int, train_batch_size: int
) -> dict[str, Any]:
    """Return the options of an algorithm in the study.

    Args:
        algorithm: its name.
        is_random: whether the graph is a random one, or of Ether.
        iterations: of a training.
        train_batch_size: steps of all agents together.
    """
    env_steps = iterations * train_batch_size

    def schedule(ends: tuple[float, float]) -> list[list[float]]:
        return [[0, ends[0]], [env_steps, ends[1]]]

    options = {"observation_normalisation": True, "gamma": GAMMA, **_OWN[algorithm]}
    if algorithm == "scof":
        return {**options, "lr": schedule(_SCOF_LR), "epsilon": schedule(_EPSILON)}
    updates = _UPDATES[algorithm, is_random]
    lr = schedule(updates.lr)
    return {
        **options,
        "lambda_": updates.lambda_,
        "num_epochs": updates.num_epochs,
        "minibatch_size": min(updates.minibatch_size, train_batch_size),
        "lr": lr,
        "entropy_coeff": schedule(_ENTROPY_COEFF),
        **({"critic_lr": lr} if algorithm == "fauno" else {}),
    }
