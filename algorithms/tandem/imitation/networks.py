"""Scoring networks over a queue: one value per queued job, the highest is served."""

from __future__ import annotations

from torch import Tensor, nn

from edge_marl.algorithms.tandem.queues import QueueAttention, QueueMLP
from edge_marl.tandem import MAX_QUEUE


class QueueScorer(nn.Module):
    """A queue network of one scheduler, for the jobs alone (idling needs no score).

    Args:
        network: with one set of parameters.
    """

    def __init__(self, network: QueueAttention | QueueMLP) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, queued: Tensor) -> Tensor:
        """``features [B, Q, 5]``, ``queued [B, Q]`` bool -> scores ``[B, Q]``."""
        no_ids = features.new_zeros(1, 0)
        return self.network.outputs(features[:, None], queued[:, None], no_ids, None)[:, 0, :-1]


def make_network(model: str, width: int) -> QueueScorer:
    """A fresh network by the name of its model."""
    if model == "attention":
        return QueueScorer(QueueAttention(1, (width, width)))
    return QueueScorer(QueueMLP(1, (4 * width, 4 * width), MAX_QUEUE))
