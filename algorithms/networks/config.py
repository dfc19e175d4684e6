"""What network an agent has."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class NetworkConfig(BaseModel):
    """The network of every agent; agents of one group share its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mlp", "queue_mlp", "attention"] = Field(
        default="mlp",
        description="mlp: any observation; queue_mlp: a queue of jobs sorted by deadline; "
        "attention: over the jobs of a queue of any length",
    )
    hidden_sizes: tuple[int, ...] = Field(
        default=(64, 64), min_length=1, description="layers of mlp; attention: its width, per block"
    )
    activation: Literal["relu", "tanh", "silu"] = "relu"
    gru: int = Field(default=0, ge=0, description="size of the memory of mlp; 0: none")
    agent_id: bool = Field(
        default=True, description="tell agents that share parameters which of them they are"
    )
