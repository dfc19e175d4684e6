"""The decentralised part of every algorithm: from local observations to one output per action."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.grouped import GroupedGRUCell, GroupedLinear, GroupedMLP
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.queues import QueueAttention, QueueMLP
from edge_marl.errors import InputError
from edge_marl.tandem.simulator import JOB_FEATURES

_MOST = 0.8
"""Share of rows from which it is quicker to evaluate all than to pick them."""

ParameterSharing = Literal["shared", "independent"] | Mapping[str, str]
"""One network for all agents, one each, or the name of each agent's group."""


def agent_groups(sharing: ParameterSharing, agents: Sequence[str]) -> tuple[int, ...]:
    """``[N]`` which parameter set each agent uses, numbered in order of appearance.

    Raises:
        InputError: for a mapping that leaves out an agent or names an unknown one.
    """
    if sharing == "shared":
        return (0,) * len(agents)
    if sharing == "independent":
        return tuple(range(len(agents)))
    if not isinstance(sharing, Mapping) or set(sharing) != set(agents):
        raise InputError(
            "parameter_sharing: expected 'shared', 'independent' or a group for each of the "
            f"agents {', '.join(agents)}, found {sharing!r}"
        )
    names = list(dict.fromkeys(sharing[agent] for agent in agents))
    return tuple(names.index(sharing[agent]) for agent in agents)


class ActorSpec(BaseModel):
    """Everything needed to build an :class:`Actor`, as its card keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: tuple[str, ...]
    observation_shape: tuple[int, ...]
    """Of one agent's observation before flattening."""
    n_actions: int
    groups: tuple[int, ...]
    network: NetworkConfig
    normalise: bool = False
    n_ids: int = 0
    """Length of the identity given to agents that share parameters; 0: none."""

    @model_validator(mode="after")
    def _fits(self) -> ActorSpec:
        network = self.network
        if network.kind == "mlp":
            return self
        if network.gru:
            raise ValueError(f"network.gru: expected 0 with kind {network.kind}")
        if network.kind == "attention" and len(set(network.hidden_sizes)) > 1:
            raise ValueError("network.hidden_sizes: expected blocks of one width for attention")
        shape = self.observation_shape
        if len(shape) != 2 or shape[1] != JOB_FEATURES or self.n_actions != shape[0] + 1:
            raise ValueError(
                f"network.kind: {network.kind} expects a queue of jobs, observations "
                f"[Q, {JOB_FEATURES}] and Q + 1 actions; found {list(shape)} and {self.n_actions}"
            )
        return self

    @property
    def n_features(self) -> int:
        """F, length of a flattened observation."""
        return math.prod(self.observation_shape)


class Actor(nn.Module):
    """One output per action and agent from that agent's observation alone.

    Decentralised by construction: nothing here mixes agents. Outputs are logits or action values,
    as the algorithm trains them, and are not masked.
    """

    groups: Tensor
    ids: Tensor

    def __init__(self, spec: ActorSpec) -> None:
        super().__init__()
        self.spec = spec
        network, N = spec.network, len(spec.agents)
        n_groups = max(spec.groups) + 1
        self.register_buffer("groups", torch.tensor(spec.groups), persistent=False)
        ids = torch.zeros(N, spec.n_ids)
        if spec.n_ids:
            ids[torch.arange(N), torch.arange(N) % spec.n_ids] = 1.0
        self.register_buffer("ids", ids)
        self._one_each = spec.groups == tuple(range(N))
        self._takes_rows = (
            n_groups == 1 and network.kind == "mlp" and not network.gru and not spec.normalise
        )
        self.normaliser = RunningMoments((N, spec.n_features)) if spec.normalise else None
        self.queue: QueueMLP | QueueAttention | None = None
        if network.kind == "queue_mlp":
            self.queue = QueueMLP(
                n_groups, network.hidden_sizes, spec.observation_shape[0], spec.n_ids,
                network.activation,
            )  # fmt: skip
        elif network.kind == "attention":
            self.queue = QueueAttention(n_groups, network.hidden_sizes, spec.n_ids)
        else:
            sizes = (spec.n_features + spec.n_ids, *network.hidden_sizes)
            self.body = GroupedMLP(n_groups, sizes, network.activation, activate_last=True)
            self.memory = GroupedGRUCell(n_groups, sizes[-1], network.gru) if network.gru else None
            self.head = GroupedLinear(n_groups, network.gru or sizes[-1], spec.n_actions)

    @property
    def hidden_size(self) -> int:
        """H, 0 without memory."""
        return self.spec.network.gru

    @property
    def is_recurrent(self) -> bool:
        """Whether there is a memory."""
        return self.hidden_size > 0

    def initial_hidden(self, *leading: int) -> Tensor:
        """``[*leading, N, H]`` zeros."""
        return torch.zeros(*leading, len(self.spec.agents), self.hidden_size)

    def forward(
        self, features: Tensor, action_mask: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """One step.

        Args:
            features: ``[..., N, F]``.
            action_mask: ``[..., N, A]`` bool.
            hidden: ``[..., N, H]``; None without memory.

        Returns:
            ``[..., N, A]`` outputs and the next hidden state.
        """
        leading = features.shape[:-2]
        N = features.shape[-2]
        groups = None if self._one_each else self.groups
        x = self._normalised(features).reshape(-1, N, features.shape[-1])
        if self.queue is not None:
            jobs = x.view(x.shape[0], N, *self.spec.observation_shape)
            queued = action_mask.reshape(x.shape[0], N, -1)[..., :-1]
            return self.queue(jobs, queued, self.ids, groups).view(*leading, N, -1), None
        x = self.body(self._identified(x), groups)
        if self.memory is not None:
            assert hidden is not None
            x = self.memory(x, hidden.reshape(x.shape[0], N, -1), groups)
            hidden = x.view(*leading, N, -1)
        return self.head(x, groups).view(*leading, N, -1), hidden

    def unroll(
        self, features: Tensor, action_mask: Tensor, first: Tensor, hidden: Tensor
    ) -> Tensor:
        """A recurrent actor over whole fragments.

        Args:
            features: ``[B, L, N, F]``.
            action_mask: ``[B, L, N, A]`` bool.
            first: ``[B, L]`` first observations of episodes, where the memory starts empty.
            hidden: ``[B, N, H]`` before the first observation.

        Returns:
            ``[B, L, N, A]``.
        """
        assert self.memory is not None
        B, L, N, _ = features.shape
        groups = None if self._one_each else self.groups
        x = self._normalised(features).reshape(B * L, N, -1)
        x = self.body(self._identified(x), groups)
        x = x.view(B, L, N, -1)
        kept = (~first).to(x.dtype)[..., None, None]
        states = []
        for step in range(L):
            hidden = self.memory(x[:, step], hidden * kept[:, step], groups)
            states.append(hidden)
        remembered = torch.stack(states, dim=1).view(B * L, N, -1)
        return self.head(remembered, groups).view(B, L, N, -1)

    def where_chosen(self, features: Tensor, action_mask: Tensor) -> Tensor:
        """Outputs where an agent has a choice; anything where it has none, as if masked.

        Nodes wait for tasks most of the time: to evaluate and to differentiate what can decide
        nothing would take as long as all the rest.

        Args:
            features: ``[..., N, F]``.
            action_mask: ``[..., N, A]`` bool.

        Returns:
            ``[..., N, A]``; no gradient where there is no choice, nor would there be one behind a
            softmax over a single action.
        """
        if self._takes_rows:
            N, A = action_mask.shape[-2:]
            rows = (action_mask.sum(-1) > 1).flatten().nonzero().squeeze(1)
            n_rows = action_mask.numel() // A
            if len(rows) < _MOST * n_rows:
                seen = features.reshape(n_rows, -1)[rows]
                outputs = self.of_rows(seen, action_mask.reshape(n_rows, A)[rows], rows % N)
                none = outputs.new_zeros(n_rows, A)
                return none.index_copy(0, rows, outputs).view(action_mask.shape)
        return self(features, action_mask)[0]

    def of_rows(self, features: Tensor, action_mask: Tensor, nodes: Tensor) -> Tensor:
        """Outputs for observations of single agents, where all share their parameters.

        Not with a memory, a normaliser, or identities in networks over queues.

        Args:
            features: ``[K, F]``.
            action_mask: ``[K, A]`` bool.
            nodes: ``[K]`` the position of each row's agent.

        Returns:
            ``[K, A]``.
        """
        if self.queue is not None:
            jobs = features.view(-1, 1, *self.spec.observation_shape)
            outputs: Tensor = self.queue(jobs, action_mask[:, None, :-1], self.ids[:1], None)
            return outputs[:, 0]
        if self.spec.n_ids:
            features = torch.cat([features, self.ids[nodes]], dim=-1)
        # The layers of a single group take rows as they come.
        return self.head(self.body(features, None), None)

    def single(self, agent: int) -> Actor:
        """A copy that holds the parameters of one agent only, as its node would run it."""
        spec = self.spec
        part = Actor(spec.model_copy(update={"agents": (spec.agents[agent],), "groups": (0,)}))
        group, parameters = spec.groups[agent], dict(self.named_parameters())
        with torch.no_grad():
            for name, parameter in part.named_parameters():
                parameter.copy_(parameters[name][group : group + 1])
            part.ids.copy_(self.ids[agent : agent + 1])
            if self.normaliser is not None and part.normaliser is not None:
                for name, buffer in part.normaliser.named_buffers():
                    buffer.copy_(getattr(self.normaliser, name)[agent : agent + 1])
        return part

    def _identified(self, x: Tensor) -> Tensor:
        """``x [R, N, F]`` with the identities behind it, if there are any."""
        if not self.spec.n_ids:
            return x
        return torch.cat([x, self.ids.expand(x.shape[0], *self.ids.shape)], dim=-1)

    def _normalised(self, features: Tensor) -> Tensor:
        return features if self.normaliser is None else self.normaliser.normalise(features)
