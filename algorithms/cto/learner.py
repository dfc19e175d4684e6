"""Let every parameter set learn from the decisions of its agents."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from edge_marl.algorithms.core.blocks import BlockLearner
from edge_marl.algorithms.core.learner import Terms
from edge_marl.algorithms.core.module import ValueModule
from edge_marl.algorithms.cto.block import ALLOCATOR, CHOICE, CRITICS, DecisionBlock, Lesson
from edge_marl.algorithms.cto.exchange import LocalExchange, SharedReplay
from edge_marl.algorithms.cto.pool import DecisionPool
from edge_marl.algorithms.cto.worker import Design
from edge_marl.algorithms.federation.options import drawn_clients
from edge_marl.algorithms.replay.buffer import TeamReward, team_rewards
from edge_marl.algorithms.replay.decisions import DecisionStream
from edge_marl.algorithms.sampling.columns import Fragment

_STREAM, _SHARED = "stream", "shared"


class DecisionLearner(BlockLearner):
    """Train all parameter sets of MADQN, MADDPG or CTO together."""

    block: DecisionBlock | DecisionPool

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make what learns, the stream of decisions and the schedules of the learning rates."""
        super().configure_optimizers_for_module(module_id, config)
        rates = {CHOICE: config.lr, ALLOCATOR: config.lr}
        rates |= dict.fromkeys(CRITICS, getattr(config, "critic_lr", None))
        self._rates = {name: Scheduler(rates[name]) for name in self.block.weights}

    def make_block(
        self, module: Any, seeds: list[int], config: Any
    ) -> DecisionBlock | DecisionPool:
        """Return a block of all parameter sets, or a pool of learners of single agents."""
        actor, values = module.actor, isinstance(module, ValueModule)
        n_agents = len(actor.spec.agents)
        takes_turns = module.observation_space.takes_turns
        # Values of an agent's own observations say nothing of what others see next.
        by_critics = len(module.critics) > 0 and (not values or _is_taught(config))
        of_team = takes_turns and by_critics and config.team_reward != "own"
        self._stream = DecisionStream(
            n_agents,
            sees_others=len(module.critics) > 0 and not takes_turns,
            of_team=of_team,
            n_step=config.n_step,
        )
        self._shared = SharedReplay(config.global_capacity, n_agents, seeds[0] % 2**31)
        shares = config.global_share > 0
        if not config.asynchronous:
            block = DecisionBlock(
                actor, module.critics, module.state_moments, seeds[: actor.n_groups],
                capacity=config.replay_capacity, values=values, of_team=of_team,
            )  # fmt: skip
            block.exchange = LocalExchange(self._shared) if shares else None
            return block
        is_slow = drawn_clients(config.stragglers, n_agents, np.random.default_rng(seeds[0]))
        design = Design(
            spec=actor.spec,
            critics=tuple(critic.spec for critic in module.critics),
            values=values,
            of_team=of_team,
            capacity=config.replay_capacity,
            slowness=tuple(np.where(is_slow, config.slowness, 1).tolist()),
            global_capacity=config.global_capacity if shares else 0,
        )
        # Unless asked for, none is set aside: learners are more than a small machine has cores.
        cpus = config.num_cpus_per_learner
        return DecisionPool(
            actor, module.critics, module.state_moments, seeds, design, barrier=config.barrier,
            num_cpus=0 if cpus == "auto" else cpus,
        )  # fmt: skip

    def connect(self, folder: Path) -> None:
        """Start learners that are Ray actors, with a folder for what they keep on disk."""
        if isinstance(self.block, DecisionPool):
            self.block.start(folder)

    def settle(self) -> None:
        """Wait for learners that are at work, and take over what they have learned."""
        if isinstance(self.block, DecisionPool):
            self.block.settle()

    def disconnect(self) -> None:
        """Release what :meth:`connect` has taken."""
        if isinstance(self.block, DecisionPool):
            self.block.close()

    def learn(
        self,
        columns: dict[str, Tensor],
        *,
        team_reward: Literal["own"] | TeamReward = "own",
        **_: Any,
    ) -> list[Terms]:
        """Keep the decisions of fragments, and learn from those that are kept.

        Args:
            columns: of :class:`Fragment`.
            team_reward: "own", or how the team's reward, which every agent then earns, is made.
        """
        config = self.config
        if team_reward != "own":
            columns = columns | {Fragment.REWARDS: _of_team(columns, team_reward)}
        transitions = self._stream.transitions(columns, config.gamma)
        begins = self.env_steps >= config.num_steps_sampled_before_learning_starts
        history = self.block.learn(
            transitions,
            Lesson(
                lr={name: float(rate.update(self.env_steps)) for name, rate in self._rates.items()},
                grad_clip=config.grad_clip,
                n_updates=config.updates_per_batch if begins else 0,
                minibatch_size=config.minibatch_size,
                tau=config.tau,
                double_q=getattr(config, "double_q", False),
                huber=config.loss == "huber",
                policy_delay=getattr(config, "policy_delay", 1),
                taught=_is_taught(config),
                sync_interval=config.sync_interval,
                global_share=config.global_share,
                # As many as all have made since the last time.
                n_taken=math.ceil(
                    config.sync_interval
                    * config.train_batch_size_per_learner
                    / config.updates_per_batch
                ),
            ),
        )
        if isinstance(self.block, DecisionPool):
            self.metrics.log_dict(self.block.report(), key=DEFAULT_MODULE_ID, window=1)
        return history

    def agent_steps(self, columns: dict[str, Tensor]) -> int:
        """Count the steps of agents that were sampled."""
        counted = columns[Fragment.ACTIVE][:, :-1] & columns[Fragment.VALID][..., None]
        return int(counted.sum())

    # Checkpoints ---------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """Return the states of the block, and of decisions whose next ones are to come."""
        return super().own_state() | {
            _STREAM: self._stream.get_state(), _SHARED: self._shared.get_state()
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _STREAM in state:
            self._stream.set_state(state[_STREAM])
            self._shared.set_state(state[_SHARED])


def _is_taught(config: Any) -> bool:
    """Return whether values of choices learn what critics say."""
    return getattr(config, "choice_targets", "td") == "critic"


def _of_team(columns: dict[str, Tensor], kind: TeamReward) -> Tensor:
    """Return rewards ``[B, T, N]``, all of them the team's."""
    rewards, present = columns[Fragment.REWARDS], columns[Fragment.ACTIVE][:, :-1]
    total = torch.from_numpy(team_rewards(rewards.numpy(), present.numpy(), kind))
    return total[..., None].expand_as(rewards)
