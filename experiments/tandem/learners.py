"""Train the reinforcement learners of the tandem study (tandem paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edge_marl.algorithms.tandem.imitation import ImitationConfig
from edge_marl.algorithms.tandem.imitation.policies import as_actor, load_policy
from edge_marl.experiments.training.loop import Limits, training
from edge_marl.options import Count, Options
from edge_marl.simulation import Policy
from edge_marl.tandem import TandemSimulator
from edge_marl.tandem.playing import run_traces
from edge_marl.tandem.traces import TraceSet

_VALIDATION_TRACES = 1000
_EVALUATIONS, _FROM = 10, 0.5
"""In the second half of a run; its best policy is kept. Training traces decide which."""

_VALUE_STEPS, _PPO_STEPS = 600_000, 1_200_000

_COMMON: dict[str, Any] = {
    "gamma": 1.0,  # episodes end by themselves, and the objective is not discounted
    "parameter_sharing": "independent",
    "network": {"kind": "queue_mlp", "hidden_sizes": (128, 128), "activation": "silu"},
}

_VALUE_DECOMPOSITION: dict[str, Any] = _COMMON | {
    "n_step": 3,
    "train_batch_size_per_learner": 256,
    "training_intensity": 4.0,
    "replay_capacity": 200_000,
    "num_steps_sampled_before_learning_starts": 10_000,
    "target_update_interval": 1,
    "tau": 0.01,
    "store_buffer_in_checkpoints": False,
}

_MAPPO: dict[str, Any] = _COMMON | {
    "observation_normalisation": True,
    "train_batch_size_per_learner": 16_384,
    "minibatch_size": 2048,
    "num_epochs": 4,
    "lambda_": 0.98,  # per slot; 0.9 over the five or so between two events
}


class ReinforcementConfig(Options):
    """Configure the training of one of the study's policies."""

    algorithm: Literal["vdn", "qmix", "mappo"]
    env_steps: Count = Field(description="decisions of the pair of schedulers")
    n_traces: Count = Field(default=24_000)
    options: dict[str, Any] = Field(description="of the algorithm")
    decisions: Literal["slots", "events"] = "events"
    episodes: Count = Field(default=256, description="played at a time")
    warm_start: ImitationConfig | None = Field(
        default=None, description="imitation whose policy is where training begins"
    )


def rewards(drop_penalty: float) -> dict[str, float]:
    """Return coefficients of section 3.3 that add up to the objective, in units of a drop.

    Each drop counts in the slot in which it is certain (a job projected to be late is dropped there
    and then). The makespan counts at the end, half of it charged to each agent.
    """
    return {"alpha1": 0.0, "alpha2": 1.0, "alpha3": 0.0, "beta1": 0.5 / drop_penalty, "beta2": 0.0}


def _schedules(steps: int) -> dict[str, Any]:
    """Return learning rate and exploration of value decomposition over a run of ``steps``."""
    return {
        "lr": [[0, 1e-3], [steps // 3, 3e-4], [steps, 2e-5]],
        "epsilon": [[0, 1.0], [60_000, 0.05], [steps, 0.02]],
    }


def learners(env_step_share: float, imitation: ImitationConfig) -> dict[str, ReinforcementConfig]:
    """Return the reinforcement learners by the label of their row.

    Args:
        env_step_share: share of the environment steps to make.
        imitation: what the warm start imitates.
    """
    steps = round(_VALUE_STEPS * env_step_share)
    ppo_steps = round(_PPO_STEPS * env_step_share)
    value = {**_VALUE_DECOMPOSITION, **_schedules(steps)}
    ppo = {
        **_MAPPO,
        "lr": [[0, 1e-3], [ppo_steps, 3e-5]],
        "entropy_coeff": [[0, 0.03], [ppo_steps, 0.002]],
    }
    warm = {
        **_MAPPO,
        "network": {
            "kind": "queue_mlp", "hidden_sizes": (4 * imitation.width,) * 2, "activation": "silu",
        },
        "critic_warmup_steps": ppo_steps // 8,
        "lr": [[0, 3e-4], [ppo_steps, 2e-5]],
        "entropy_coeff": 0.002,
    }  # fmt: skip
    return {
        "VDN": ReinforcementConfig(algorithm="vdn", env_steps=steps, options=value),
        "QMIX": ReinforcementConfig(algorithm="qmix", env_steps=steps, options=value),
        "MAPPO": ReinforcementConfig(algorithm="mappo", env_steps=ppo_steps, options=ppo),
        "SL-Step, then MAPPO": ReinforcementConfig(
            algorithm="mappo", env_steps=ppo_steps, options=warm, warm_start=imitation
        ),
    }


def ablations(chosen: Mapping[str, ReinforcementConfig]) -> dict[str, ReinforcementConfig]:
    """Return variants of :func:`learners` with one choice changed, by label, for as many steps.

    With a decision in every slot, as in the paper, an episode has five times as many decisions.
    """

    def changed(label: str, *, slots: bool = False, **options: Any) -> ReinforcementConfig:
        config = chosen[label]
        return config.model_copy(
            update={
                "options": {**config.options, **options},
                "decisions": "slots" if slots else config.decisions,
            }
        )

    return {
        "QMIX, a decision in every slot": changed("QMIX", slots=True),
        "MAPPO, a decision in every slot": changed("MAPPO", slots=True),
        "MAPPO without value normalisation": changed("MAPPO", value_normalisation=False),
        "IPPO (local critic)": changed("MAPPO", critic="local"),
        "MAPPO, own rewards": changed("MAPPO", team_reward="own"),
    }


def train(
    config: ReinforcementConfig,
    traces: TraceSet,
    *,
    seed: int,
    drop_penalty: float,
    imitated: Path | None = None,
) -> Policy[TandemSimulator]:
    """Train a policy and return the best of the run by the objective on training traces.

    Args:
        config: how.
        traces: K training traces.
        seed: of everything random.
        drop_penalty: ``lambda`` of the objective.
        imitated: folder of an imitated policy to begin with.
    """
    from edge_marl.algorithms.tandem.policy import ActorPolicy
    from edge_marl.experiments.parallel import built, local_ray
    from edge_marl.experiments.training.recipe import Recipe

    recipe = Recipe(
        env="tandem_v0",
        algorithm=config.algorithm,
        env_config={
            "traces": traces,
            "rewards": rewards(drop_penalty),
            "decisions": config.decisions,
        },
        options={
            "num_envs_per_env_runner": config.episodes,
            **({} if config.algorithm == "mappo" else {"rollout_fragment_length": 8}),
        },
        seed=seed,
    )
    validation = traces[:: -(-len(traces) // _VALIDATION_TRACES)]  # of all splits alike
    best, least = None, float("inf")
    # The network is given whole: its options come as a mapping, not one by one.
    with local_ray(1), built(recipe.config().training(**config.options)) as algorithm:
        if imitated is not None:
            algorithm.set_actor(as_actor(load_policy(imitated)).state_dict())
        for progress in training(algorithm, Limits(env_steps=config.env_steps)):
            if not progress.due(_EVALUATIONS, begin=_FROM):
                continue
            player = ActorPolicy(config.algorithm, algorithm.actor())
            objective = run_traces(player, validation, drop_penalty=drop_penalty).objective
            if objective.mean() < least:
                best, least = player, float(objective.mean())
    assert best is not None
    return best
