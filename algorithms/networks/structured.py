"""Layers for observations that are one task and a fixed number of servers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_marl.algorithms.networks.grouped import GroupedMLP


class StructuredMLP(nn.Module):
    """Task and servers pass a layer of their own each, what follows sees both.

    The plain policy that SCALE is compared with "processes primitive and server features
    separately before concatenation"; what else it is made of the paper does not give. Its input
    is the row of the task and those of all servers in one, so their number is fixed.

    Args:
        n_groups: parameter sets.
        n_task: features of the task, the identity of the agent not among them.
        n_servers: features of all servers together.
        n_ids: length of what tells agents apart, seen with the task.
        hidden_sizes: of the layers; the first is that of each of the two parts.
        activation: by name, after every layer.
    """

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

    def forward(self, x: Tensor, groups: Tensor | None) -> Tensor:
        """``x [..., n_task + n_servers + n_ids]`` -> ``[..., n_out]``."""
        task, servers, ids = x.split(self._parts, dim=-1)
        task = self.of_task(torch.cat([task, ids], dim=-1), groups)
        return self.joint(torch.cat([task, self.of_servers(servers, groups)], dim=-1), groups)
