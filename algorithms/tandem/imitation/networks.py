"""Define scoring networks over a queue: one value per queued job; the highest is served."""

from __future__ import annotations

from torch import Tensor, nn

from edge_marl.algorithms.tandem.queues import QueueAttention, QueueMLP
from edge_marl.tandem import MAX_QUEUE


class QueueScorer(nn.Module):
    """Score the jobs of one scheduler's queue with a queue network (idling needs no score).

    Args:
        network: one with a single set of parameters.
    """

    def __init__(self, network: QueueAttention | QueueMLP) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor, queued: Tensor) -> Tensor:
        """Map ``features [B, Q, 5]`` and ``queued [B, Q]`` bool to scores ``[B, Q]``."""
        no_ids = features.new_zeros(1, 0)
        return self.network.outputs(features[:, None], queued[:, None], no_ids, None)[:, 0, :-1]


def make_network(model: str, width: int) -> QueueScorer:
    """Make an untrained network by the name of its model."""
    if model == "attention":
        return QueueScorer(QueueAttention(1, (width, width)))
    return QueueScorer(QueueMLP(1, (4 * width, 4 * width), MAX_QUEUE))
