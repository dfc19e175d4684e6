"""Configure the networks of agents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from edge_marl.algorithms.networks.base import ActorNetwork
from edge_marl.algorithms.networks.kinds import KINDS
from edge_marl.errors import InputError
from edge_marl.options import Options

MOST_WIDTH = 100_000
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
"""Units of a layer."""


class NetworkConfig(Options):
    """Configure the network of every agent; agents of one group share its parameters."""

    kind: str = Field(
        default="mlp",
        description="; ".join(f"{name}: {kind.description}" for name, kind in KINDS.items()),
    )
    hidden_sizes: tuple[Width, ...] = Field(
        default=(64, 64),
        min_length=1,
        max_length=100,
        description="layers of mlp; of structured_mlp, whose first is there twice, for the task "
        "and for the servers; attention, pointer: the width, per block",
    )
    activation: Literal["relu", "tanh", "silu"] = Field("relu", description="between the layers")
    gru: int = Field(
        default=0, ge=0, le=MOST_WIDTH, description="size of the memory of mlp; 0: none"
    )
    dueling: bool = Field(
        default=False,
        description="mlp, structured_mlp: outputs are a value plus advantages of mean 0 over the "
        "legal actions (Wang et al., 2016, equation 9)",
    )
    agent_id: bool = Field(
        default=True, description="tell agents that share parameters which of them they are"
    )

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            raise InputError(f"expected one of {', '.join(KINDS)}, found {kind!r}")
        return kind

    @property
    def network_class(self) -> type[ActorNetwork]:
        """Return the class of the kind, which knows what the kind expects."""
        return KINDS[self.kind]
