"""Map local observations to outputs for actions: the decentralised part of every algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.allocation import Allocator
from edge_marl.algorithms.networks.grouped import GroupedGRUCell, GroupedLinear, by_group
from edge_marl.algorithms.networks.kinds import KINDS
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.algorithms.networks.vectors import BetaVectors
from edge_marl.errors import InputError

_FEW, _MOST = 400, 0.8
"""Rows up to which, and share of rows from which, to evaluate all is quicker than to pick them."""


class AgentRows(NamedTuple):
    """Hold observations of single agents, one per row."""

    features: Tensor
    """``[K, F]``"""
    action_mask: Tensor
    """``[K, A]`` bool"""
    agents: Tensor
    """``[K]`` the position of each row's agent."""


class Actor(nn.Module):
    """Map each agent's own observation to one output per choice, and two per number of a vector.

    Actors are decentralised by construction: nothing here mixes agents. Outputs for choices are
    logits or action values, as the algorithm trains them, and are not masked; those for vectors,
    which come last, are the parameters of :mod:`.vectors`. Wherever outputs ``[..., A]`` are spoken
    of, A includes the latter. With an allocator, outputs are of choices alone, and it decides on
    the vectors when these are made.
    """

    groups: Tensor
    ids: Tensor
    lowest: Tensor
    """``[N, d]``: bounds of the vectors."""
    highest: Tensor

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
        bounds = torch.tensor(spec.boxes).view(N, spec.vector_size, 2)
        self.register_buffer("lowest", bounds[..., 0], persistent=False)
        self.register_buffer("highest", bounds[..., 1], persistent=False)
        self._one_each = spec.groups == tuple(range(N))
        self.n_groups = n_groups
        self.normaliser = RunningMoments((n_groups, spec.n_features)) if spec.normalise else None
        self.memory: GroupedGRUCell | None = None
        self.value: GroupedLinear | None = None
        self.kind = network.network_class
        self.add_module(self.kind.attribute, self.kind.of_spec(spec, n_groups))
        if self.kind.has_head:
            last = network.hidden_sizes[-1]
            if network.gru:
                self.memory = GroupedGRUCell(n_groups, last, network.gru)
            self.head = GroupedLinear(n_groups, network.gru or last, spec.n_outputs)
            if network.dueling:
                self.value = GroupedLinear(n_groups, network.gru or last, 1)
        self.allocator: Allocator | None = None
        if spec.allocator:
            self.allocator = Allocator(
                n_groups, spec.n_features + spec.n_ids, spec.n_actions, spec.vector_size,
                spec.allocator,
            )  # fmt: skip

    @property
    def network(self) -> Any:
        """Return the network of the kind, which is below the head where there is one."""
        return self._modules[self.kind.attribute]

    @property
    def parameter_sets(self) -> Tensor | None:
        """Return the group of each agent, ``[N]``, as grouped layers take it; None: one each."""
        return None if self._one_each else self.groups

    @property
    def fixed_numbers(self) -> Tensor:
        """Return which numbers of the agents' vectors are none, or cannot vary, ``[N, d]``."""
        return self.lowest == self.highest

    @property
    def representation_size(self) -> int:
        """Return d of :meth:`with_representation`, for all networks but those over queues."""
        return self.spec.network.hidden_sizes[-1]

    @property
    def hidden_size(self) -> int:
        """Return H, the size of the memory; 0 if there is none."""
        return self.spec.network.gru

    @property
    def is_recurrent(self) -> bool:
        """Return whether there is a memory."""
        return self.hidden_size > 0

    def initial_hidden(self, *leading: int) -> Tensor:
        """Return zeros ``[*leading, N, H]``, the memory at the start of an episode."""
        return torch.zeros(*leading, len(self.spec.agents), self.hidden_size)

    def forward(
        self, features: Tensor, action_mask: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Evaluate one step.

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
        seen = self.network(self._identified(x, self.ids), groups)
        hidden = self.memory(seen, hidden.reshape(x.shape[0], N, -1), groups)
        outputs = self._outputs(hidden, action_mask.reshape(x.shape[0], N, -1), groups)
        return outputs.view(*leading, N, -1), hidden.view(*leading, N, -1)

    def of_some(self, features: Tensor, action_mask: Tensor, agents: Tensor) -> Tensor:
        """Return outputs ``[P, S, A]`` of some agents without a memory, in P steps.

        Args:
            features: ``[P, S, F]``, from :meth:`normalised`.
            action_mask: ``[P, S, A]`` bool.
            agents: ``[S]``.
        """
        return self._evaluate(features, action_mask, self.ids[agents], self.groups[agents])

    def normalised(self, features: Tensor, agents: Tensor) -> Tensor:
        """Return features ``[K, F]`` of ``agents [K]`` as their networks take them."""
        return self._normalised(features, self.groups[agents])

    def with_representation(self, features: Tensor, action_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs, and the representation that the last layer makes them from.

        Networks with a head return what the head sees, their last hidden layer. A pointer network
        returns its attention feature, a network over a queue its outputs (d is then A). Actors with
        a memory do not support this.

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

    def parts(self, outputs: Tensor) -> tuple[Tensor, BetaVectors | None]:
        """Split outputs into those of choices, ``[..., A]``, and the distributions of vectors."""
        d = self.spec.vector_size
        if not d or self.allocator is not None:
            return outputs, None
        return outputs[..., : -2 * d], BetaVectors.of_outputs(outputs[..., -2 * d :])

    def allocations(self, features: Tensor, choices: Tensor) -> Tensor:
        """Return the vectors ``[..., N, d]`` that the allocator goes with choices.

        Args:
            features: ``[..., N, F]``.
            choices: ``[..., N]``.
        """
        assert self.allocator is not None
        N, groups = features.shape[-2], self.parameter_sets
        x = self._normalised(features, groups).reshape(-1, N, features.shape[-1])
        seen = self._identified(x, self.ids)
        vectors: Tensor = self.allocator(seen, choices.reshape(-1, N), groups)
        return vectors.view(*features.shape[:-1], vectors.shape[-1])

    def allocations_where(self, features: Tensor, choices: Tensor, decides: Tensor) -> Tensor:
        """Return :meth:`allocations` where bool ``decides [..., N]``, and zeros elsewhere."""
        assert self.allocator is not None
        allocator, N = self.allocator, features.shape[-2]
        vectors = torch.zeros(*choices.shape, self.spec.vector_size)
        agents = torch.arange(N).expand(decides.shape)[decides]

        def evaluate(x: Tensor, ids: Tensor, chosen: Tensor) -> tuple[Tensor]:
            seen = self._identified(self._normalised(x, None), ids)
            return (allocator(seen, chosen.squeeze(-1), None),)

        groups = None if self.n_groups == 1 else self.groups[agents]
        (vectors[decides],) = by_group(
            evaluate, groups, self.n_groups, features[decides], self.ids[agents],
            choices[decides][:, None],
        )  # fmt: skip
        return vectors

    def of_sets(self, rows: AgentRows) -> Tensor:
        """Return outputs ``[K, G, A]`` of one agent of each parameter set, without a memory.

        Args:
            rows: ``[K, G, ...]``; the agents of column g are of set g.
        """
        x = self._normalised(rows.features, None)
        return self._evaluate(x, rows.action_mask, self._ids_of(rows.agents), None)

    def allocations_of_sets(self, rows: AgentRows, choices: Tensor) -> Tensor:
        """Return vectors ``[K, G, d]`` of one agent of each parameter set.

        Args:
            rows: as for :meth:`of_sets`.
            choices: ``[K, G]``, or probabilities ``[K, G, A]``.
        """
        assert self.allocator is not None
        seen = self._identified(self._normalised(rows.features, None), self._ids_of(rows.agents))
        vectors: Tensor = self.allocator(seen, choices, None)
        return vectors

    def decided_by_sets(self, rows: AgentRows) -> tuple[Tensor, Tensor]:
        """Return choices ``[K, G]`` and the allocator's vectors ``[K, G, d]``, see :meth:`of_sets`.

        Without an allocator, d is 0.
        """
        x = self._normalised(rows.features, None)
        return self._decided(x, rows.action_mask, self._ids_of(rows.agents))

    def decided_by_rows(self, rows: AgentRows) -> tuple[Tensor, Tensor]:
        """Return choices ``[K]`` and vectors ``[K, d]`` of agents in any order."""
        choices, vectors = self._by_group(self._decided, rows)
        return choices, vectors

    def _decided(self, x: Tensor, action_mask: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Decide for one agent of each parameter set; for shapes see :meth:`_evaluate`."""
        choices = self.greedy(self._evaluate(x, action_mask, ids, None), action_mask)
        if self.allocator is None:
            return choices, x.new_zeros(*choices.shape, 0)
        return choices, self.allocator(self._identified(x, ids), choices, None)

    def greedy(self, outputs: Tensor, action_mask: Tensor, random: Tensor | float = 0.5) -> Tensor:
        """Return the legal actions with the largest outputs, or as the kind of network decides.

        Args:
            outputs: ``[..., A]``.
            action_mask: ``[..., A]`` bool.
            random: ``[...]`` uniform in [0, 1), which decides where the kind draws, see
                :meth:`.ActorNetwork.greedy`; 0.5 chooses what is more probable.

        Returns:
            ``[...]``.
        """
        return self.kind.greedy(outputs.masked_fill(~action_mask, MASKED), random)

    def unroll(
        self, features: Tensor, action_mask: Tensor, first: Tensor, hidden: Tensor
    ) -> Tensor:
        """Evaluate a recurrent actor over whole fragments.

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
        x = self.network(self._identified(x, self.ids), groups)
        x = x.view(B, L, N, -1)
        kept = (~first).to(x.dtype)[..., None, None]
        states = []
        for step in range(L):
            hidden = self.memory(x[:, step], hidden * kept[:, step], groups)
            states.append(hidden)
        remembered = torch.stack(states, dim=1).view(B * L, N, -1)
        mask = action_mask.reshape(B * L, N, -1)
        return self._outputs(remembered, mask, groups).view(B, L, N, -1)

    def where_chosen(self, features: Tensor, action_mask: Tensor, decides: Tensor) -> Tensor:
        """Return outputs where an agent has a choice, and arbitrary numbers where it has none.

        Nodes wait for tasks most of the time: evaluating observations without a choice would take
        as long as all the rest. Actors with a memory do not support this.

        Args:
            features: ``[..., N, F]``.
            action_mask: ``[..., N, A]`` bool.
            decides: ``[..., N]`` bool: where an agent has a choice.

        Returns:
            ``[..., N, A]``, as :meth:`forward`.
        """
        N, A = action_mask.shape[-2:]
        n_rows = action_mask.numel() // A
        if n_rows <= _FEW:
            return self(features, action_mask)[0]
        rows = decides.flatten().nonzero().squeeze(1)
        if len(rows) >= _MOST * n_rows:
            return self(features, action_mask)[0]
        flat, masks = features.reshape(n_rows, -1), action_mask.reshape(n_rows, A)
        found = self.of_rows(AgentRows(flat[rows], masks[rows], rows % N))
        outputs = found.new_zeros(n_rows, found.shape[-1]).index_copy_(0, rows, found)
        return outputs.view(*action_mask.shape[:-1], -1)

    def of_rows(self, rows: AgentRows) -> Tensor:
        """Return outputs ``[K, A]`` of single agents without a memory, in any order."""
        return self._by_group(lambda x, mask, ids: (self._evaluate(x, mask, ids, None),), rows)[0]

    def rows_with_representation(self, rows: AgentRows) -> tuple[Tensor, Tensor]:
        """Return outputs ``[K, A]`` and representations ``[K, d]`` of agents in any order."""
        outputs, seen = self._by_group(
            lambda x, mask, ids: self._represented(x, mask, ids, None), rows
        )
        return outputs, seen

    def _by_group(
        self, evaluate: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]], rows: AgentRows
    ) -> tuple[Tensor, ...]:
        """Evaluate features, masks and identities as ``[P, G, ...]``, one agent of each group."""
        groups = None if self.n_groups == 1 else self.groups[rows.agents]
        return by_group(
            lambda features, *seen: evaluate(self._normalised(features, None), *seen),
            groups, self.n_groups, rows.features, rows.action_mask, self.ids[rows.agents],
        )  # fmt: skip

    def resized(self, n: int) -> Actor:
        """Return an actor with the same weights for another number of servers, or of queued jobs.

        Args:
            n: how many servers, or jobs, there are to choose from.

        Raises:
            InputError: for a network whose weights depend on how many there are.
        """
        spec = self.spec
        if n + 1 == spec.n_actions:
            return self
        if not self.kind.fits_any_size or self.allocator is not None:
            fitting = [name for name, kind in KINDS.items() if kind.fits_any_size]
            raise InputError(
                f"network.kind: expected {' or '.join(fitting)} to choose from {n} instead of "
                f"{spec.n_actions - 1}, found {spec.network.kind}"
            )
        shape = (spec.observation_shape[0] + n + 1 - spec.n_actions, spec.observation_shape[1])
        actor = Actor(spec.model_copy(update={"observation_shape": shape, "n_actions": n + 1}))
        actor.load_state_dict(self.state_dict())
        return actor

    def single(self, agent: int) -> Actor:
        """Return a copy that holds the parameters of one agent only, as its node would run it."""
        spec = self.spec
        own = {"agents": (spec.agents[agent],), "groups": (0,)}
        part = Actor(spec.model_copy(update=own | {"boxes": spec.boxes[agent : agent + 1]}))
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
        """Return the outputs of an actor without a memory.

        Args:
            x: ``[R, N, F]``, normalised.
            action_mask: ``[R, N, A]``.
            ids: ``[..., N, n_ids]``.
            groups: ``[N]`` or None.

        Returns:
            ``[R, N, A]``.
        """
        if self.value is not None or not self.kind.has_head:
            return self._represented(x, action_mask, ids, groups)[0]
        outputs: Tensor = self.network.with_head(self._identified(x, ids), self.head, groups)
        return outputs

    def _represented(
        self, x: Tensor, action_mask: Tensor, ids: Tensor, groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return outputs and representation, without a memory; for shapes see :meth:`_evaluate`."""
        if not self.kind.has_head:
            rows = x.unflatten(-1, (-1, self.spec.observation_shape[1]))
            found: tuple[Tensor, Tensor] = self.network(rows, action_mask[..., :-1], ids, groups)
            return found
        seen = self.network(self._identified(x, ids), groups)
        return self._outputs(seen, action_mask, groups), seen

    def _outputs(self, seen: Tensor, action_mask: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``seen [R, N, d]`` to outputs ``[R, N, A]`` by the head, and the value if dueling."""
        outputs: Tensor = self.head(seen, groups)
        if self.value is None:
            return outputs
        legal = action_mask.to(outputs.dtype)
        mean = (outputs * legal).sum(-1, keepdim=True) / legal.sum(-1, keepdim=True)
        return self.value(seen, groups) + outputs - mean

    def _identified(self, x: Tensor, ids: Tensor) -> Tensor:
        """Append the identities to ``x [R, N, F]``, if there are any."""
        if not self.spec.n_ids:
            return x
        return torch.cat([x, ids.expand(*x.shape[:2], -1)], dim=-1)

    def _ids_of(self, agents: Tensor) -> Tensor:
        """Return the identities of ``agents [K, G]``; where there are none, agents may be any."""
        return self.ids[agents] if self.spec.n_ids else self.ids

    def _floats(self, features: Tensor) -> Tensor:
        """Convert features to floats: 8-bit pictures become floats only where they are used."""
        return features.to(self.ids.dtype)

    def _normalised(self, features: Tensor, groups: Tensor | None) -> Tensor:
        """Normalise ``features [..., N, F]`` of agents of these groups; None: one of each group."""
        features = self._floats(features)
        if self.normaliser is None:
            return features
        return self.normaliser.normalise(features, groups if self.n_groups > 1 else None)
