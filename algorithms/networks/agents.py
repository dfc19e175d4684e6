"""The decentralised part of every algorithm: from local observations to one output per action."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.config import LAYERED, NetworkConfig
from edge_marl.algorithms.networks.grouped import (
    GroupedGRUCell,
    GroupedLinear,
    GroupedMLP,
    by_group,
    through_layers,
)
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.pointer import HEADS, PointerNetwork
from edge_marl.algorithms.networks.queues import QueueAttention, QueueMLP
from edge_marl.algorithms.networks.structured import StructuredMLP
from edge_marl.errors import InputError
from edge_marl.tandem.simulator import JOB_FEATURES
from edge_marl.validation import shown

_FEW, _MOST = 400, 0.8
"""Rows up to which, and share of rows from which, to evaluate all is quicker than to pick them."""

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

    agents: tuple[str, ...] = Field(min_length=1)
    observation_shape: tuple[Annotated[int, Field(ge=1)], ...]
    """Of one agent's observation before flattening."""
    n_actions: int = Field(ge=1)
    groups: tuple[int, ...]
    network: NetworkConfig
    normalise: bool = False
    n_ids: int = Field(default=0, ge=0)
    """Length of the identity given to agents that share parameters; 0: none."""

    @model_validator(mode="after")
    def _fits(self) -> ActorSpec:
        network, shape = self.network, self.observation_shape
        N = len(self.agents)
        if len(self.groups) != N or not all(0 <= group < N for group in self.groups):
            raise InputError(
                f"groups: expected one from 0 to {N - 1} for each of {N} agents, "
                f"found {shown(self.groups)}"
            )
        if network.kind == "mlp":
            return self
        if network.kind not in LAYERED:
            self._check_set_network()
        if network.kind in ("structured_mlp", "pointer"):
            if len(shape) != 2 or shape[0] < 2 or self.n_actions != shape[0]:
                raise InputError(
                    f"network.kind: {network.kind} expects a task and N servers, observations "
                    f"[1 + N, F] and N + 1 actions; found {list(shape)} and {self.n_actions}"
                )
        elif len(shape) != 2 or shape[1] != JOB_FEATURES or self.n_actions != shape[0] + 1:
            raise InputError(
                f"network.kind: {network.kind} expects a queue of jobs, observations "
                f"[Q, {JOB_FEATURES}] and Q + 1 actions; found {list(shape)} and {self.n_actions}"
            )
        return self

    def _check_set_network(self) -> None:
        """What networks over sets ask of the other options."""
        network = self.network
        for name, found in (("gru", network.gru), ("dueling", network.dueling)):
            if found:
                raise InputError(
                    f"network.{name}: expected none with kind {network.kind}, found {found}"
                )
        if network.kind == "queue_mlp":
            return
        if len(set(network.hidden_sizes)) > 1 or network.hidden_sizes[0] % HEADS:
            raise InputError(
                f"network.hidden_sizes: expected blocks of one width, a multiple of {HEADS}, for "
                f"{network.kind}, found {list(network.hidden_sizes)}"
            )

    @property
    def n_features(self) -> int:
        """F, length of a flattened observation."""
        return math.prod(self.observation_shape)


class AgentRows(NamedTuple):
    """Observations of single agents, one a row."""

    features: Tensor
    """``[K, F]``"""
    action_mask: Tensor
    """``[K, A]`` bool"""
    agents: Tensor
    """``[K]`` the position of each row's agent."""


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
        self.n_groups = n_groups
        self._is_mlp = network.kind == "mlp" and not network.gru and not network.dueling
        self.normaliser = RunningMoments((n_groups, spec.n_features)) if spec.normalise else None
        self.queue: QueueMLP | QueueAttention | None = None
        self.pointer: PointerNetwork | None = None
        self.memory: GroupedGRUCell | None = None
        self.value: GroupedLinear | None = None
        if network.kind == "queue_mlp":
            self.queue = QueueMLP(
                n_groups, network.hidden_sizes, spec.observation_shape[0], spec.n_ids,
                network.activation,
            )  # fmt: skip
        elif network.kind == "attention":
            self.queue = QueueAttention(n_groups, network.hidden_sizes, spec.n_ids)
        elif network.kind == "pointer":
            self.pointer = PointerNetwork(
                n_groups, spec.observation_shape[1], network.hidden_sizes, spec.n_ids,
                network.activation,
            )  # fmt: skip
        else:
            self.body = _body(spec, n_groups)
            last = network.hidden_sizes[-1]
            if network.gru:
                self.memory = GroupedGRUCell(n_groups, last, network.gru)
            self.head = GroupedLinear(n_groups, network.gru or last, spec.n_actions)
            if network.dueling:
                self.value = GroupedLinear(n_groups, network.gru or last, 1)

    @property
    def parameter_sets(self) -> Tensor | None:
        """``[N]`` the group of each agent, as grouped layers take it."""
        return None if self._one_each else self.groups

    @property
    def representation_size(self) -> int:
        """d, see :meth:`with_representation`."""
        return self.spec.network.hidden_sizes[-1]

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
        leading, N, groups = features.shape[:-2], features.shape[-2], self.parameter_sets
        x = self._normalised(features, groups).reshape(-1, N, features.shape[-1])
        if self.memory is None:
            mask = action_mask.reshape(-1, *action_mask.shape[-2:])
            outputs = self._evaluate(x, mask, self.ids, groups)
            return outputs.view(*leading, N, outputs.shape[-1]), None
        assert hidden is not None
        seen = self.body(self._identified(x, self.ids), groups)
        hidden = self.memory(seen, hidden.reshape(x.shape[0], N, -1), groups)
        outputs = self._outputs(hidden, action_mask.reshape(x.shape[0], N, -1), groups)
        return outputs.view(*leading, N, -1), hidden.view(*leading, N, -1)

    def with_representation(self, features: Tensor, action_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs, and what the last layer makes them from.

        Of networks without a memory: the last hidden layer of those of layers, the attention
        feature of a pointer network, the outputs themselves of networks over queues.

        Args:
            features: ``[..., N, F]``.
            action_mask: ``[..., N, A]`` bool.

        Returns:
            ``[..., N, A]`` and ``[..., N, d]``.
        """
        shape, groups = features.shape[:-1], self.parameter_sets
        x = self._normalised(features, groups).reshape(-1, *features.shape[-2:])
        mask = action_mask.reshape(-1, *action_mask.shape[-2:])
        outputs, seen = self._represented(x, mask, self.ids, groups)
        return outputs.view(*shape, outputs.shape[-1]), seen.view(*shape, seen.shape[-1])

    def greedy(self, outputs: Tensor, action_mask: Tensor, random: Tensor | float = 0.5) -> Tensor:
        """The legal actions with the largest outputs.

        A pointer network first decides whether to point at all, by the probability of its last
        action, waiting. Many equally good servers share what is placed, each of them less likely
        than to wait. Whether to wait is drawn: who waits is soon asked the same again, so that a
        probability of 0.6 says for how long; the likelier answer would be to wait for ever.

        Args:
            outputs: ``[..., A]``.
            action_mask: ``[..., A]`` bool.
            random: ``[...]`` uniform in [0, 1); at 0.5 the likelier is done.

        Returns:
            ``[...]``.
        """
        masked = outputs.masked_fill(~action_mask, MASKED)
        if self.pointer is None:
            return masked.argmax(-1)
        servers, waiting = masked[..., :-1], masked[..., -1]
        waits = torch.sigmoid(waiting - servers.logsumexp(-1)) > random
        return torch.where(waits, servers.shape[-1], servers.argmax(-1))

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
        groups = self.parameter_sets
        x = self._normalised(features, groups).reshape(B * L, N, -1)
        x = self.body(self._identified(x, self.ids), groups)
        x = x.view(B, L, N, -1)
        kept = (~first).to(x.dtype)[..., None, None]
        states = []
        for step in range(L):
            hidden = self.memory(x[:, step], hidden * kept[:, step], groups)
            states.append(hidden)
        remembered = torch.stack(states, dim=1).view(B * L, N, -1)
        mask = action_mask.reshape(B * L, N, -1)
        return self._outputs(remembered, mask, groups).view(B, L, N, -1)

    def where_chosen(self, features: Tensor, action_mask: Tensor) -> Tensor:
        """Outputs where an agent has a choice; anything where it has none.

        Nodes wait for tasks most of the time: to evaluate what can decide nothing would take as
        long as all the rest. Not with a memory.

        Args:
            features: ``[..., N, F]``.
            action_mask: ``[..., N, A]`` bool.

        Returns:
            ``[..., N, A]``.
        """
        N, A = action_mask.shape[-2:]
        n_rows = action_mask.numel() // A
        if n_rows <= _FEW:
            return self(features, action_mask)[0]
        rows = (action_mask.sum(-1) > 1).flatten().nonzero().squeeze(1)
        if len(rows) >= _MOST * n_rows:
            return self(features, action_mask)[0]
        flat, masks = features.reshape(n_rows, -1), action_mask.reshape(n_rows, A)
        found = self.of_rows(AgentRows(flat[rows], masks[rows], rows % N))
        return self.ids.new_zeros(n_rows, A).index_copy(0, rows, found).view(action_mask.shape)

    def of_rows(self, rows: AgentRows) -> Tensor:
        """Outputs ``[K, A]`` of single agents, in any order. Not with a memory."""
        return self._by_group(lambda x, mask, ids: (self._evaluate(x, mask, ids, None),), rows)[0]

    def rows_with_representation(self, rows: AgentRows) -> tuple[Tensor, Tensor]:
        """:meth:`with_representation` of single agents, in any order: ``[K, A]``, ``[K, d]``."""
        outputs, seen = self._by_group(
            lambda x, mask, ids: self._represented(x, mask, ids, None), rows
        )
        return outputs, seen

    def _by_group(
        self, evaluate: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]], rows: AgentRows
    ) -> tuple[Tensor, ...]:
        """Evaluate features, masks and identities of one agent of each group, ``[P, G, ...]``."""
        groups = None if self.n_groups == 1 else self.groups[rows.agents]
        return by_group(
            lambda features, *seen: evaluate(self._normalised(features, None), *seen),
            groups, self.n_groups, rows.features, rows.action_mask, self.ids[rows.agents],
        )  # fmt: skip

    def resized(self, n: int) -> Actor:
        """The same weights for another number of servers, or for longer queues.

        Args:
            n: how many servers, or jobs, there are to choose from.

        Raises:
            InputError: for a network that has weights for each of them.
        """
        spec = self.spec
        if n + 1 == spec.n_actions:
            return self
        if spec.network.kind not in ("pointer", "attention"):
            raise InputError(
                f"network.kind: expected pointer or attention to choose from {n} instead of "
                f"{spec.n_actions - 1}, found {spec.network.kind}"
            )
        shape = (spec.observation_shape[0] + n + 1 - spec.n_actions, spec.observation_shape[1])
        actor = Actor(spec.model_copy(update={"observation_shape": shape, "n_actions": n + 1}))
        actor.load_state_dict(self.state_dict())
        return actor

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
                    buffer.copy_(getattr(self.normaliser, name)[group : group + 1])
        return part

    def _evaluate(
        self, x: Tensor, action_mask: Tensor, ids: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Outputs, without a memory.

        Args:
            x: ``[R, N, F]``, normalised.
            action_mask: ``[R, N, A]``.
            ids: ``[..., N, n_ids]``.
            groups: ``[N]`` or None.

        Returns:
            ``[R, N, A]``.
        """
        if not self._is_mlp:
            return self._represented(x, action_mask, ids, groups)[0]
        layers = [*self.body.layers, self.head]
        return through_layers(self._identified(x, ids), layers, groups, self.body.activation)

    def _represented(
        self, x: Tensor, action_mask: Tensor, ids: Tensor, groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs and representation, without a memory; shapes as :meth:`_evaluate`."""
        if self.queue is not None:
            jobs = x.unflatten(-1, (-1, self.spec.observation_shape[1]))
            outputs: Tensor = self.queue(jobs, action_mask[..., :-1], ids, groups)
            return outputs, outputs
        if self.pointer is not None:
            rows = x.unflatten(-1, (-1, self.spec.observation_shape[1]))
            found: tuple[Tensor, Tensor] = self.pointer(rows, action_mask[..., :-1], ids, groups)
            return found
        seen = self.body(self._identified(x, ids), groups)
        return self._outputs(seen, action_mask, groups), seen

    def _outputs(self, seen: Tensor, action_mask: Tensor, groups: Tensor | None) -> Tensor:
        """What the last layer makes of ``seen [R, N, d]``: ``[R, N, A]``."""
        outputs: Tensor = self.head(seen, groups)
        if self.value is None:
            return outputs
        legal = action_mask.to(outputs.dtype)
        mean = (outputs * legal).sum(-1, keepdim=True) / legal.sum(-1, keepdim=True)
        return self.value(seen, groups) + outputs - mean

    def _identified(self, x: Tensor, ids: Tensor) -> Tensor:
        """``x [R, N, F]`` with the identities behind it, if there are any."""
        if not self.spec.n_ids:
            return x
        return torch.cat([x, ids.expand(*x.shape[:2], -1)], dim=-1)

    def _floats(self, features: Tensor) -> Tensor:
        """The same; 8-bit pictures become floats only where they are looked at."""
        return features.to(self.ids.dtype)

    def _normalised(self, features: Tensor, groups: Tensor | None) -> Tensor:
        """``features [..., N, F]`` of agents of these groups, None: one of each."""
        features = self._floats(features)
        if self.normaliser is None:
            return features
        return self.normaliser.normalise(features, groups if self.n_groups > 1 else None)


def _body(spec: ActorSpec, n_groups: int) -> GroupedMLP | StructuredMLP:
    """The layers below the last one, or below the memory."""
    network = spec.network
    if network.kind == "structured_mlp":
        n_rows, n_task = spec.observation_shape
        return StructuredMLP(
            n_groups, n_task, (n_rows - 1) * n_task, spec.n_ids, network.hidden_sizes,
            network.activation,
        )  # fmt: skip
    sizes = (spec.n_features + spec.n_ids, *network.hidden_sizes)
    return GroupedMLP(n_groups, sizes, network.activation, activate_last=True)
