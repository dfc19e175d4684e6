"""Hold what targets of critics are told of: what all agents do, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_marl.algorithms.cto.critics import JointActions, JointCritic
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.grouped import by_group
from edge_marl.algorithms.networks.normalisation import RunningMoments


class Everyone(nn.Module):
    """Hold the networks of all agents of an environment, which targets of critics are told of.

    Args:
        actor: of all agents.
        critics: none, one or two.
        state_moments: ``[G, S]``, by which states are standardised.
    """

    def __init__(
        self, actor: Actor, critics: Sequence[JointCritic], state_moments: RunningMoments
    ) -> None:
        super().__init__()
        self.actor, self.critics = actor, nn.ModuleList(critics)
        self.state_moments = state_moments

    def values(self, rows: AgentRows, states: Tensor, varies: Tensor) -> Tensor:
        """Return the values ``[K]`` of what single agents would do, who take turns.

        Args:
            rows: what they see, in any order.
            states: ``[K, S]``.
            varies: bool ``[N, d]``: the numbers that agents decide on.
        """
        actor = self.actor
        sets = actor.groups[rows.agents]
        choices, vectors = actor.decided_by_rows(rows)

        def judged(
            state: Tensor, agents: Tensor, choices: Tensor, vectors: Tensor
        ) -> tuple[Tensor, ...]:
            actions = JointActions(choices, vectors[:, :, None], torch.ones_like(choices) > 0)
            return tuple(
                critic(state, agents[..., 0], actions)[..., None] for critic in self.critics
            )

        found = by_group(
            judged, None if actor.n_groups == 1 else sets, actor.n_groups,
            self.state_moments.normalise(states, sets), rows.agents[:, None], choices[:, None],
            vectors * varies[rows.agents],
        )  # fmt: skip
        return torch.cat(found, dim=-1).amin(-1)
