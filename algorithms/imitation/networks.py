"""Scoring networks over a queue: one value per queued job, the highest is served."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.tandem import MAX_QUEUE

N_ENCODED = 11
_SLOTS = 40.0  # about the time of one job; keeps linear inputs near 1


def encode(features: Tensor) -> Tensor:
    """Network inputs of raw job features.

    Args:
        features: ``[..., 5]``: ``[d - t, u_comm, u_comp, w_comm, w_comp]`` in slots.

    Returns:
        ``[..., 11]``: the features and the laxity ``d - t - u_comm - u_comp``, linearly scaled;
        logarithms of all but the waiting times, for resolution near zero; and whether the job
        belongs to the first group of Johnson's rule.
    """
    time_left, u_comm, u_comp = features[..., 0:1], features[..., 1:2], features[..., 2:3]
    laxity = time_left - u_comm - u_comp
    linear = torch.cat([features, laxity], dim=-1) / _SLOTS
    logarithmic = torch.log1p(torch.cat([time_left, u_comm, u_comp, laxity], -1).clamp(min=0)) / 3
    return torch.cat([linear, logarithmic, (u_comm < u_comp).float()], dim=-1)


class QueueAttention(nn.Module):
    """Permutation-equivariant: self-attention over the queue, any queue length.

    Args:
        width: of the embedding of a job.
        layers: attention blocks.
        heads: attention heads per block.
    """

    def __init__(self, width: int, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(N_ENCODED, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_AttentionBlock(width, heads) for _ in range(layers))
        self.score = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, features: Tensor, queued: Tensor) -> Tensor:
        """``features [B, Q, 5]``, ``queued [B, Q]`` bool -> scores ``[B, Q]``."""
        hidden = self.embed(encode(features))
        for block in self.blocks:
            hidden = block(hidden, queued)
        return self.score(hidden).squeeze(-1)


class _AttentionBlock(nn.Module):
    """Pre-norm self-attention and feed-forward block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, hidden: Tensor, queued: Tensor) -> Tensor:
        """``hidden [B, Q, width]``; jobs that are not queued are attended to by nobody."""
        B, Q, width = hidden.shape
        qkv = self.qkv(self.norm_attention(hidden)).view(B, Q, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, Q, width / heads]
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=queued[:, None, None, :]
        )
        hidden = hidden + self.project(attended.transpose(1, 2).reshape(B, Q, width))
        return hidden + self.feed_forward(hidden)


class QueueMLP(nn.Module):
    """The queue sorted by deadline, padded to a fixed length and flattened (Figure 5b's MLP).

    Sorting makes it indifferent to the order of the queue, which a plain network would have to
    learn from examples.

    Args:
        width: of the two hidden layers.
        max_queue: length of the queue; jobs behind it are never chosen.
    """

    def __init__(self, width: int, max_queue: int = MAX_QUEUE) -> None:
        super().__init__()
        self.max_queue = max_queue
        inputs = max_queue * (N_ENCODED + 1)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, max_queue),
        )  # fmt: skip

    def forward(self, features: Tensor, queued: Tensor) -> Tensor:
        """``features [B, Q, 5]``, ``queued [B, Q]`` bool -> scores ``[B, Q]``."""
        B, Q = queued.shape
        by_deadline = features[..., 0].masked_fill(~queued, torch.inf).argsort(dim=1)
        features = features.gather(1, by_deadline[..., None].expand_as(features))
        missing = max(self.max_queue - Q, 0)
        present = F.pad(queued.gather(1, by_deadline), (0, missing))[:, : self.max_queue]
        padded = F.pad(features, (0, 0, 0, missing))[:, : self.max_queue]
        inputs = torch.cat([encode(padded), torch.ones_like(padded[..., :1])], dim=-1)
        scores = self.layers((inputs * present[..., None]).reshape(B, -1))[:, :Q]
        scores = F.pad(scores, (0, Q - scores.shape[1]), value=-1e9)
        return torch.empty_like(scores).scatter(1, by_deadline, scores)


def make_network(model: str, width: int) -> QueueAttention | QueueMLP:
    """A fresh network by the name of its model."""
    return QueueAttention(width) if model == "attention" else QueueMLP(4 * width)
