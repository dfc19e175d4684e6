"""Define the RLModule of MAPPO: decentralised actors and their critic."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from torch import Tensor, nn

from edge_marl.algorithms.core.module import PolicyModule
from edge_marl.algorithms.mappo.critics import CentralCritic, LocalCritic
from edge_marl.algorithms.mappo.distribution import MaskedCategorical
from edge_marl.algorithms.mappo.rows import AGENT, CHOOSES
from edge_marl.algorithms.networks.agents import AgentRows
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.sampling.columns import Fragment

OUTPUTS = "outputs"
"""``[d, A]``: of the actor, not masked, from ``forward_train``."""

_AT_ONCE = 2**26
"""Numbers of observations and states that are valued together: 8-bit pictures become floats."""


class MAPPOModule(PolicyModule, ValueFunctionAPI):
    """Hold actors that sample from masked logits, and a critic that env runners do not need."""

    def setup(self) -> None:
        """Build actor and critic."""
        super().setup()
        self.action_dist_cls = MaskedCategorical
        self.critic = self.make_critic()
        normalised = self.model_config["value_normalisation"]
        alone = self.model_config["independent_learners"]
        shape = (self.observation_space.n_agents, 1) if alone else ()
        self.value_moments = RunningMoments(shape) if normalised else None

    def make_critic(self) -> nn.Module:
        """Build the critic that the options ask for."""
        options, space = self.model_config, self.observation_space
        if options["critic"] == "local":
            return LocalCritic(self.actor)
        # Agents that share their reward have one value between them.
        n_values = space.n_agents if options["team_reward"] == "own" else 1
        return CentralCritic(
            space.state_size,
            n_values,
            self.actor.spec.network,
            normalise=options["observation_normalisation"],
        )

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that only learners have."""
        return ["critic", "value_moments"]

    def compute_values(self, batch: dict[str, Tensor], embeddings: Tensor | None = None) -> Tensor:
        """Return the values ``[..., N]`` in the critic's own units.

        ``embeddings``, if given, are values computed before, and are returned as they are.
        """
        if embeddings is not None:
            return embeddings
        values: Tensor = self.critic(batch)
        return values.expand(*values.shape[:-1], self.observation_space.n_agents)

    def values_of_return(self, fragments: dict[str, Tensor], *, decisions: bool = False) -> Tensor:
        """Return the values ``[B, T+1, N]`` in units of the return.

        Args:
            fragments: columns of :class:`Fragment`.
            decisions: only the values of agents with a choice matter.
        """
        chosen = decisions and isinstance(self.critic, LocalCritic)
        evaluate = self.critic.where_chosen if chosen else self.compute_values
        seen = [fragments[name] for name in (Fragment.FEATURES, Fragment.STATE)]
        numbers = max(1, sum(column.numel() for column in seen))
        rows = max(1, _AT_ONCE * len(seen[0]) // numbers)
        parts = {name: column.split(rows) for name, column in fragments.items()}
        values = torch.cat([
            evaluate({name: column[k] for name, column in parts.items()})
            for k in range(len(parts[Fragment.FEATURES]))
        ])  # fmt: skip
        return values if self.value_moments is None else self.value_moments.denormalise(values)

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Evaluate actor and critic on a minibatch of :mod:`.rows`."""
        features, mask = batch[Fragment.FEATURES], batch[Fragment.ACTION_MASK]
        if self.actor.is_recurrent:
            first, hidden = batch[Fragment.FIRST], batch[Fragment.HIDDEN]
            outputs = self.actor.unroll(features, mask, first, hidden)[batch[CHOOSES]]
            return {OUTPUTS: outputs, Columns.EMBEDDINGS: self.compute_values(batch)}
        rows, n_choices = AgentRows(features, mask, batch[AGENT]), len(batch[Columns.ACTIONS])
        return {
            OUTPUTS: self.actor.of_rows(AgentRows(*(column[:n_choices] for column in rows))),
            Columns.EMBEDDINGS: self.critic.of_minibatch(batch, rows),
        }
