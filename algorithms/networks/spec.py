"""Describe what an actor is built from, as its card keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_marl.algorithms.networks.allocation import AllocatorSpec
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.errors import InputError
from edge_marl.validation import shown

ParameterSharing = Literal["shared", "independent"] | Mapping[str, str]
"""One network for all agents, one each, or the name of each agent's group."""


def agent_groups(sharing: ParameterSharing, agents: Sequence[str]) -> tuple[int, ...]:
    """Return which parameter set each agent uses, ``[N]``, numbered in order of appearance.

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
    """Describe everything needed to build an :class:`.agents.Actor`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agents: tuple[str, ...] = Field(min_length=1)
    observation_shape: tuple[Annotated[int, Field(ge=1)], ...]
    """The shape of one agent's observation before it is flattened."""
    n_actions: int = Field(ge=1)
    boxes: tuple[tuple[tuple[float, float], ...], ...] = ()
    """``[N, d]`` bounds of the numbers of each agent's vector; empty where actions are choices."""
    groups: tuple[int, ...]
    network: NetworkConfig
    normalise: bool = False
    n_ids: int = Field(default=0, ge=0)
    """Length of the identity given to agents that share parameters; 0: none."""
    allocator: AllocatorSpec | None = None
    """Of the network that decides on vectors when choices are made; None: heads do, beside them."""

    @model_validator(mode="after")
    def _fits(self) -> ActorSpec:
        network, N = self.network, len(self.agents)
        if len(self.groups) != N or not all(0 <= group < N for group in self.groups):
            raise InputError(
                f"groups: expected one from 0 to {N - 1} for each of {N} agents, "
                f"found {shown(self.groups)}"
            )
        if self.boxes and (len(self.boxes) != N or len(set(map(len, self.boxes))) > 1):
            raise InputError(
                f"boxes: expected as many bounds for each of {N} agents, found {shown(self.boxes)}"
            )
        if not all(
            math.isfinite(high - low) and low <= high for box in self.boxes for low, high in box
        ):
            raise InputError(
                f"boxes: expected a lower and an upper bound each, found {shown(self.boxes)}"
            )
        if self.allocator and not self.boxes:
            raise InputError("allocator: expected none without boxes, found one")
        by_heads = bool(self.boxes) and self.allocator is None
        if by_heads and network.dueling:
            raise InputError("network.dueling: expected false for actions with vectors, found true")
        if not network.network_class.has_head:
            if by_heads:
                raise InputError(
                    f"network.kind: expected a kind with a head, such as mlp, for actions with "
                    f"vectors, found {network.kind}"
                )
            for name, found in (("gru", network.gru), ("dueling", network.dueling)):
                if found:
                    raise InputError(
                        f"network.{name}: expected none with kind {network.kind}, found {found}"
                    )
        network.network_class.check(network, self.observation_shape, self.n_actions)
        return self

    @property
    def vector_size(self) -> int:
        """Return d, numbers of the vector that belongs to an action."""
        return len(self.boxes[0]) if self.boxes else 0

    @property
    def n_outputs(self) -> int:
        """Return how many outputs an agent has: of every choice, and two of every number.

        An allocator has the latter to itself.
        """
        return self.n_actions + (0 if self.allocator else 2 * self.vector_size)

    @property
    def n_features(self) -> int:
        """Return F, the length of a flattened observation."""
        return math.prod(self.observation_shape)
