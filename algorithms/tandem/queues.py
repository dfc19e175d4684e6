"""Define networks over a tandem scheduler's queue: one output per job, and one for idling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.base import ActorNetwork, check_widths
from edge_marl.algorithms.networks.grouped import GroupedLinear, GroupedMLP
from edge_marl.errors import InputError
from edge_marl.tandem.simulator import JOB_FEATURES

if TYPE_CHECKING:
    from edge_marl.algorithms.networks.config import NetworkConfig
    from edge_marl.algorithms.networks.spec import ActorSpec

N_ENCODED = 11
_HEADS = 4
_SLOTS = 40.0  # about the time of one job; keeps linear inputs near 1


def encode(features: Tensor) -> Tensor:
    """Turn raw job features into network inputs.

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


class QueueNetwork(ActorNetwork):
    """Map a queue to one output per job and one for idling; the base of all queue networks."""

    attribute = "queue"

    @classmethod
    def check(
        cls, network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
    ) -> None:
        """Refuse observations that are not a queue, see :meth:`.ActorNetwork.check`."""
        shape = observation_shape
        if len(shape) != 2 or shape[1] != JOB_FEATURES or n_actions != shape[0] + 1:
            raise InputError(
                f"network.kind: {network.kind} expects a queue of jobs, observations "
                f"[Q, {JOB_FEATURES}] and Q + 1 actions; found {list(shape)} and {n_actions}"
            )

    def outputs(
        self, features: Tensor, queued: Tensor, ids: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Return one output per job and one for idling.

        Args:
            features: ``[R, N, Q, 5]``.
            queued: ``[R, N, Q]`` bool.
            ids: ``[R, N, n_ids]``, or what broadcasts to it.
            groups: ``[N]`` or None, see :mod:`edge_marl.algorithms.networks.grouped`.

        Returns:
            ``[R, N, Q + 1]``.
        """
        raise NotImplementedError

    def forward(
        self, features: Tensor, queued: Tensor, ids: Tensor, groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs twice, because they are their own representation."""
        outputs = self.outputs(features, queued, ids, groups)
        return outputs, outputs


class QueueMLP(QueueNetwork):
    """Apply an MLP to the queue, sorted by deadline, padded and flattened (Figure 5b's MLP).

    Sorting makes the network indifferent to the order of the queue, which a plain one would have
    to learn from examples.

    Args:
        n_groups: parameter sets.
        hidden_sizes: of the hidden layers.
        max_queue: length of the padded queue; jobs beyond it are never chosen.
        n_ids: length of what tells agents apart.
        activation: by name.
    """

    description = "a queue of jobs sorted by deadline"

    def __init__(
        self,
        n_groups: int,
        hidden_sizes: tuple[int, ...],
        max_queue: int,
        n_ids: int = 0,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.max_queue = max_queue
        n_in = max_queue * (N_ENCODED + 1) + n_ids
        self.layers = GroupedMLP(n_groups, (n_in, *hidden_sizes, max_queue + 1), activation)

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> QueueMLP:
        """Build the network of an actor, see :meth:`.ActorNetwork.of_spec`."""
        network, max_queue = spec.network, spec.observation_shape[0]
        return cls(n_groups, network.hidden_sizes, max_queue, spec.n_ids, network.activation)

    def outputs(
        self, features: Tensor, queued: Tensor, ids: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Compute the outputs, see :meth:`QueueNetwork.outputs`."""
        R, N, Q = queued.shape
        # A large number, not infinity: exported graphs must sort it alike everywhere.
        by_deadline = features[..., 0].masked_fill(~queued, -MASKED).argsort(dim=-1)
        features = features.gather(2, by_deadline[..., None].expand_as(features))
        missing = max(self.max_queue - Q, 0)
        present = F.pad(queued.gather(2, by_deadline), (0, missing))[..., : self.max_queue]
        padded = F.pad(features, (0, 0, 0, missing))[..., : self.max_queue, :]
        inputs = torch.cat([encode(padded), torch.ones_like(padded[..., :1])], dim=-1)
        flat = (inputs * present[..., None]).flatten(2)
        outputs = self.layers(torch.cat([flat, ids.expand(R, N, -1)], dim=-1), groups)
        scores, idle = outputs[..., :-1][..., :Q], outputs[..., -1:]
        scores = F.pad(scores, (0, Q - scores.shape[-1]), value=MASKED)
        return torch.cat([torch.zeros_like(scores).scatter(2, by_deadline, scores), idle], dim=-1)


class QueueAttention(QueueNetwork):
    """Apply permutation-equivariant self-attention to a queue of any length.

    Args:
        n_groups: parameter sets.
        widths: of the attention blocks, all the same.
        n_ids: length of what tells agents apart.
    """

    description = "over the jobs of a queue of any length"
    fits_any_size = True

    def __init__(self, n_groups: int, widths: tuple[int, ...], n_ids: int = 0) -> None:
        super().__init__()
        width = widths[0]
        self.embed = GroupedMLP(n_groups, (N_ENCODED + n_ids, width, width), "silu")
        self.blocks = nn.ModuleList(_AttentionBlock(n_groups, width) for _ in widths)
        self.score = GroupedLinear(n_groups, width, 1)
        self.value = GroupedMLP(n_groups, (width + n_ids, width, 1), "silu")

    @classmethod
    def check(
        cls, network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
    ) -> None:
        """Refuse unsuitable block widths as well, see :meth:`.ActorNetwork.check`."""
        check_widths(network, _HEADS)
        super().check(network, observation_shape, n_actions)

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> QueueAttention:
        """Build the network of an actor, see :meth:`.ActorNetwork.of_spec`."""
        return cls(n_groups, spec.network.hidden_sizes, spec.n_ids)

    def outputs(
        self, features: Tensor, queued: Tensor, ids: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Compute the outputs, see :meth:`QueueNetwork.outputs`; all share a value of the queue."""
        R, N, Q = queued.shape
        ids = ids.expand(R, N, -1)
        per_job = ids[:, :, None].expand(R, N, Q, ids.shape[-1])
        hidden = self.embed(torch.cat([encode(features), per_job], dim=-1), groups)
        for block in self.blocks:
            hidden = block(hidden, queued, groups)
        hidden = F.layer_norm(hidden, hidden.shape[-1:])
        present = queued[..., None].to(hidden.dtype)
        pooled = (hidden * present).sum(2) / present.sum(2).clamp(min=1)
        value = self.value(torch.cat([pooled, ids], dim=-1), groups)
        scores = self.score(hidden, groups).squeeze(-1)
        return torch.cat([scores + value, value], dim=-1)


class _AttentionBlock(nn.Module):
    """Apply pre-norm self-attention and a feed-forward network, each with a residual connection."""

    def __init__(self, n_groups: int, width: int) -> None:
        super().__init__()
        self.qkv = GroupedLinear(n_groups, width, 3 * width)
        self.project = GroupedLinear(n_groups, width, width)
        self.feed_forward = GroupedMLP(n_groups, (width, 2 * width, width), "silu")

    def forward(self, hidden: Tensor, queued: Tensor, groups: Tensor | None) -> Tensor:
        """Map ``hidden [R, N, Q, width]`` to the same shape, attending to queued jobs only."""
        R, N, Q, width = hidden.shape
        # Linear layers follow each norm, so the norms need no parameters of their own.
        qkv = self.qkv(F.layer_norm(hidden, (width,)), groups)
        # One leading axis: torch's fused kernels and its ONNX exporter know no other form.
        query, key, value = qkv.reshape(R * N, Q, 3, _HEADS, width // _HEADS).permute(2, 0, 3, 1, 4)
        # An empty queue attends to everything, for a softmax over nothing is NaN.
        attended_to = queued | ~queued.any(-1, keepdim=True)
        attended = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attended_to.reshape(R * N, 1, 1, Q)
        )
        attended = attended.transpose(1, 2).reshape(R, N, Q, width)
        hidden = hidden + self.project(attended, groups)
        return hidden + self.feed_forward(F.layer_norm(hidden, (width,)), groups)
