"""Estimate values from the global state for all agents, or from each agent's own observation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.grouped import GroupedMLP
from edge_marl.algorithms.networks.normalisation import RunningMoments, Total
from edge_marl.algorithms.sampling.columns import Fragment, who_decides


class CentralCritic(nn.Module):
    """Map the global state to the values of all agents, in one evaluation per joint step.

    Args:
        state_size: S.
        n_values: V, one per agent, or 1 for a team that shares its reward.
        network: sizes and activation of the hidden layers.
        normalise: standardise the state by its running moments.
    """

    def __init__(
        self, state_size: int, n_values: int, network: NetworkConfig, *, normalise: bool
    ) -> None:
        super().__init__()
        self.n_values = n_values
        self.normaliser = RunningMoments((state_size,)) if normalise else None
        sizes = (state_size, *network.hidden_sizes, n_values)
        self.layers = GroupedMLP(1, sizes, network.activation)

    def forward(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Map ``state [..., S]`` to values ``[..., V]``."""
        # It may be an 8-bit picture.
        state = columns[Fragment.STATE].to(self.layers.layers[0].weight.dtype)
        if self.normaliser is not None:
            state = self.normaliser.normalise(state)
        values: Tensor = self.layers(state, None)
        return values

    def of_minibatch(self, columns: Mapping[str, Tensor], rows: AgentRows) -> Tensor:
        """Return the values ``[P, V]`` of the P joint steps in ``columns``."""
        values: Tensor = self(columns)
        return values

    def observe(self, fragments: Mapping[str, Tensor], total: Total) -> None:
        """Update the running moments of the state with sampled states."""
        if self.normaliser is not None:
            self.normaliser.update(fragments[Fragment.STATE].flatten(0, 1), total=total)


class LocalCritic(nn.Module):
    """Map what each agent sees to its value, by a network like the actor's.

    Joint steps have no values here, so ``n_values`` is None.

    The memory of a recurrent critic starts empty at every fragment, because fragments carry the
    actor's memory only.

    Args:
        actor: the actor that the critic's network resembles, and whose observation normaliser it
            uses.
    """

    n_values = None

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        spec = actor.spec
        if actor.kind.has_head:
            network = spec.network.model_copy(update={"dueling": False})
            spec = spec.model_copy(update={"n_actions": 1, "boxes": (), "network": network})
        # The last output of networks over sets depends on the set as a whole only: it is the value.
        self.values = Actor(spec)
        self.values.normaliser = actor.normaliser

    def forward(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Map ``features [..., N, F]`` to values ``[..., N]``.

        A critic with a memory needs whole fragments, ``features [B, L, N, F]``.
        """
        features, mask = columns[Fragment.FEATURES], columns[Fragment.ACTION_MASK]
        if self.values.is_recurrent:
            empty = self.values.initial_hidden(len(features)).to(features.device)
            return self.values.unroll(features, mask, columns[Fragment.FIRST], empty)[..., -1]
        return self.values(features, mask)[0][..., -1]

    def where_chosen(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return values as :meth:`forward`, but arbitrary ones where an agent has no choice."""
        if self.values.is_recurrent:
            values: Tensor = self(columns)
            return values
        features, mask = columns[Fragment.FEATURES], columns[Fragment.ACTION_MASK]
        return self.values.where_chosen(features, mask, who_decides(columns))[..., -1]

    def of_minibatch(self, columns: Mapping[str, Tensor], rows: AgentRows) -> Tensor:
        """Return the values ``[C]`` of C rows of single agents; a memory is not supported."""
        return self.values.of_rows(rows)[:, -1]

    def observe(self, fragments: Mapping[str, Tensor], total: Total) -> None:
        """Do nothing: the moments are the actor's."""
