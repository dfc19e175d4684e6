"""Define networks of plain layers below a head, for any observation or a task and servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from edge_marl.algorithms.networks.base import ActorNetwork, check_task_and_servers
from edge_marl.algorithms.networks.grouped import GroupedLinear, GroupedMLP, through_layers

if TYPE_CHECKING:
    from edge_marl.algorithms.networks.config import NetworkConfig
    from edge_marl.algorithms.networks.spec import ActorSpec


class MLP(ActorNetwork, GroupedMLP):
    """Apply a multi-layer perceptron with an activation after every layer."""

    description = "any observation"
    attribute = "body"
    has_head = True
    fits_any_observation = True

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> MLP:
        """See :meth:`.ActorNetwork.of_spec`."""
        sizes = (spec.n_features + spec.n_ids, *spec.network.hidden_sizes)
        return cls(n_groups, sizes, spec.network.activation, activate_last=True)

    def with_head(self, x: Tensor, head: GroupedLinear, groups: Tensor | None) -> Tensor:
        """See :meth:`.ActorNetwork.with_head`; the head is one more layer of one backward pass."""
        return through_layers(x, [*self.layers, head], groups, self.activation)


class StructuredMLP(ActorNetwork):
    """Pass task and servers through separate first layers, and both through the layers after.

    The plain policy that SCALE is compared with "processes primitive and server features
    separately before concatenation"; the paper gives no further details of it. Its input joins
    the row of the task and those of all servers, so their number is fixed.

    Args:
        n_groups: parameter sets.
        n_task: features of the task, the identity of the agent not among them.
        n_servers: features of all servers together.
        n_ids: length of what tells agents apart, seen with the task.
        hidden_sizes: of the layers; the first is that of each of the two parts.
        activation: by name, after every layer.
    """

    description = "a task and a fixed number of servers"
    attribute = "body"
    has_head = True

    def __init__(
        self,
        n_groups: int,
        n_task: int,
        n_servers: int,
        n_ids: int,
        hidden_sizes: tuple[int, ...],
        activation: str,
    ) -> None:
        super().__init__()
        self._parts = (n_task, n_servers, n_ids)
        first = hidden_sizes[0]
        self.of_task = GroupedMLP(n_groups, (n_task + n_ids, first), activation, activate_last=True)
        self.of_servers = GroupedMLP(n_groups, (n_servers, first), activation, activate_last=True)
        sizes = (2 * first, *hidden_sizes[1:])
        self.joint = GroupedMLP(n_groups, sizes, activation, activate_last=True)
        self.n_out = sizes[-1]

    @classmethod
    def check(
        cls, network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
    ) -> None:
        """See :meth:`.ActorNetwork.check`."""
        check_task_and_servers(network, observation_shape, n_actions)

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> StructuredMLP:
        """See :meth:`.ActorNetwork.of_spec`."""
        n_rows, n_task = spec.observation_shape
        network = spec.network
        return cls(
            n_groups, n_task, (n_rows - 1) * n_task, spec.n_ids, network.hidden_sizes,
            network.activation,
        )  # fmt: skip

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``x [..., n_task + n_servers + n_ids]`` to ``[..., n_out]``."""
        task, servers, ids = x.split(self._parts, dim=-1)
        task = self.of_task(torch.cat([task, ids], dim=-1), groups)
        return self.joint(torch.cat([task, self.of_servers(servers, groups)], dim=-1), groups)
