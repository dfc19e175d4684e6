"""What network an agent has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edge_marl.options import Options

LAYERED = ("mlp", "structured_mlp")
"""Kinds of a fixed number of inputs and outputs, which scale nothing of their own."""

MOST_WIDTH = 100_000
Width = Annotated[int, Field(ge=1, le=MOST_WIDTH)]
"""Units of a layer."""


class NetworkConfig(Options):
    """The network of every agent; agents of one group share its parameters."""

    kind: Literal["mlp", "structured_mlp", "queue_mlp", "attention", "pointer"] = Field(
        default="mlp",
        description="mlp: any observation; structured_mlp: a task and a fixed number of servers; "
        "queue_mlp: a queue of jobs sorted by deadline; attention: over the jobs of a queue of any "
        "length; pointer: a task and any number of servers",
    )
    hidden_sizes: tuple[Width, ...] = Field(
        default=(64, 64),
        min_length=1,
        max_length=100,
        description="layers of mlp; of structured_mlp, whose first is there twice, for the task "
        "and for the servers; attention, pointer: the width, per block",
    )
    activation: Literal["relu", "tanh", "silu"] = "relu"
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
