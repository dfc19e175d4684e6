"""Implement the cross-attention pointer network of SCALE, for any number of servers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.base import (
    ActorNetwork,
    check_task_and_servers,
    check_widths,
)
from edge_marl.algorithms.networks.grouped import (
    GroupedLayerNorm,
    GroupedLinear,
    GroupedMLP,
    grouped_product,
    through_layers,
)

if TYPE_CHECKING:
    from edge_marl.algorithms.networks.config import NetworkConfig
    from edge_marl.algorithms.networks.spec import ActorSpec

HEADS = 4

WAITING = -1.0
"""Log odds of waiting at the beginning: it is done one time in four."""


class PointerNetwork(ActorNetwork):
    """Score waiting and each of any number of servers, which may come in any order.

    This is section 4.2 of the SCALE paper. The task (row 0) and the servers (rows 1 to n) are
    embedded separately, ``q = g_p(phi)`` and ``z_j = g_s(psi_j)``, each by two linear layers with
    an activation between them. In every block the task attends to the servers (equation 3,
    ``HEADS`` heads) and passes through a feed-forward layer of four times the width with GELU, both
    with a residual connection and followed by layer normalisation. The last block returns the
    attention feature ``f``, and the score of server j is ``(W_q f)^T (W_k z_j)`` (equation 4).

    Waiting, which the paper does not have, scores the ``log sum exp`` of the legal servers' scores
    plus ``(W_q f)^T k + b``, with a learned key ``k`` and bias ``b``: the latter is the log odds of
    waiting, however many servers there are. A plain score next to theirs would compete with each of
    them alone. ``b`` begins as ``WAITING``: a policy that waits half of the time learns little
    else.

    The weights do not depend on n. A server whose first feature is 0 does not exist: the task does
    not attend to it, and its score means nothing. If none exists, the task attends to the embedding
    of zeros.

    There is one query per row. ``(W_Q q)^T (W_K z_j) = (W_K^T W_Q q)^T z_j`` and
    ``W_O sum_j a_j W_V z_j = W_O W_V sum_j a_j z_j``: with the products of the weights formed
    first, the same attention needs no projection of any server, only two products of the width per
    head and server. As in the paper's equations, the projections have no biases.

    The paper does not say how weights begin: here all begin as those of ``torch.nn.Linear`` (scores
    then differ by about 0.15 between servers: the first policy is close to uniform), and layer
    normalisation begins with scale 1 and shift 0.

    Args:
        n_groups: parameter sets.
        n_features: F, of a row.
        widths: d of each block, all the same, a multiple of ``HEADS``.
        n_ids: length of what tells agents apart, seen with the task.
        activation: of the embeddings, by name.
    """

    description = "a task and any number of servers"
    attribute = "pointer"
    fits_any_size = True
    gives_log_probabilities = True
    is_stochastic = True

    def __init__(
        self,
        n_groups: int,
        n_features: int,
        widths: tuple[int, ...],
        n_ids: int = 0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        d = widths[0]
        self.embed_task = GroupedMLP(n_groups, (n_features + n_ids, d, d), activation)
        self.embed_server = GroupedMLP(n_groups, (n_features, d, d), activation)
        self.blocks = nn.ModuleList(_CrossAttentionBlock(n_groups, d) for _ in widths)
        self.query = GroupedLinear(n_groups, d, d, bias=False)
        self.key = GroupedLinear(n_groups, d, d, bias=False)
        bound = 1.0 / math.sqrt(d)
        self.wait_key = nn.Parameter(torch.empty(n_groups, d).uniform_(-bound, bound))
        self.wait_bias = nn.Parameter(torch.full((n_groups, 1), WAITING))

    @classmethod
    def check(
        cls, network: NetworkConfig, observation_shape: Sequence[int], n_actions: int
    ) -> None:
        """See :meth:`.ActorNetwork.check`."""
        check_widths(network, HEADS)
        check_task_and_servers(network, observation_shape, n_actions)

    @classmethod
    def of_spec(cls, spec: ActorSpec, n_groups: int) -> PointerNetwork:
        """See :meth:`.ActorNetwork.of_spec`."""
        network = spec.network
        return cls(
            n_groups, spec.observation_shape[1], network.hidden_sizes, spec.n_ids,
            network.activation,
        )  # fmt: skip

    @staticmethod
    def greedy(masked: Tensor, random: Tensor | float) -> Tensor:
        """Choose the best server, or waiting, which is drawn with its probability.

        Many equally good servers share the probability of placing, each of them less probable than
        waiting, so the network first decides whether to place at all. That is drawn: an agent that
        waits is soon asked the same again, so a probability of 0.6 determines for how long it
        waits; always taking the more probable answer would be to wait for ever.

        Args:
            masked: see :meth:`.ActorNetwork.greedy`; the last action is waiting.
            random: ``[...]`` uniform in [0, 1); 0.5 chooses what is more probable.
        """
        servers, waiting = masked[..., :-1], masked[..., -1]
        waits = torch.sigmoid(waiting - servers.logsumexp(-1)) > random
        return torch.where(waits, servers.shape[-1], servers.argmax(-1))

    def forward(
        self, rows: Tensor, legal: Tensor, ids: Tensor, groups: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return scores, and the attention feature that they come from.

        Args:
            rows: ``[R, N, 1 + n, F]``.
            legal: ``[R, N, n]`` bool: servers that may be chosen.
            ids: ``[R, N, n_ids]``, or what broadcasts to it.
            groups: ``[N]`` or None, see :mod:`edge_marl.algorithms.networks.grouped`.

        Returns:
            ``[R, N, n + 1]`` scores of the servers and of waiting, and ``f [R, N, d]``.
        """
        R, N = rows.shape[:2]
        task = torch.cat([rows[:, :, 0], ids.expand(R, N, -1)], dim=-1)
        feature = self.embed_task(task, groups)
        servers = rows[:, :, 1:].contiguous()
        missing = (servers[..., 0] == 0).to(servers.dtype) * MASKED
        embedded = self.embed_server(servers, groups)
        for block in self.blocks:
            feature = block(feature, embedded, missing, groups)
        return self.scores(feature, embedded, legal, groups), feature

    def scores(
        self, feature: Tensor, embedded: Tensor, legal: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Return the scores of the servers (equation 4) and of waiting.

        Args:
            feature: f ``[R, N, d]``.
            embedded: z ``[R, N, n, d]``.
            legal: ``[R, N, n]`` bool.
            groups: ``[N]`` or None.

        Returns:
            ``[R, N, n + 1]``.
        """
        query = self.query(feature, groups)
        folded = grouped_product(query, self.key.weight.transpose(1, 2), None, groups)
        # Not as a product of matrices: its gradient would be one of a column and a row each.
        of_servers = (embedded * folded[:, :, None]).sum(-1)
        penalties = (1.0 - legal.to(of_servers.dtype)) * MASKED
        placing = (of_servers + penalties).logsumexp(-1, keepdim=True)
        placing = torch.where(legal.any(-1, keepdim=True), placing, 0.0)
        log_odds = grouped_product(query, self.wait_key[:, None], self.wait_bias, groups)
        return torch.cat([of_servers, placing + log_odds], dim=-1)


class _CrossAttentionBlock(nn.Module):
    """Let the task attend to the servers, then apply a feed-forward layer; normalise after each."""

    def __init__(self, n_groups: int, d: int) -> None:
        super().__init__()
        self.query = GroupedLinear(n_groups, d, d, bias=False)
        self.key = GroupedLinear(n_groups, d, d, bias=False)
        self.value = GroupedLinear(n_groups, d, d, bias=False)
        self.project = GroupedLinear(n_groups, d, d, bias=False)
        self.attention_norm = GroupedLayerNorm(n_groups, d)
        self.widen = GroupedLinear(n_groups, d, 4 * d)
        self.narrow = GroupedLinear(n_groups, 4 * d, d)
        self.norm = GroupedLayerNorm(n_groups, d)

    def forward(
        self, task: Tensor, servers: Tensor, missing: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Return the task's next feature ``[R, N, d]``; see :meth:`attend` for the arguments."""
        task = self.attention_norm(task + self.attend(task, servers, missing, groups), groups)
        thought = through_layers(task, [self.widen, self.narrow], groups, "gelu")
        return self.norm(task + thought, groups)

    def attend(
        self, task: Tensor, servers: Tensor, missing: Tensor, groups: Tensor | None
    ) -> Tensor:
        """Return the multi-head attention of the task to the servers.

        Args:
            task: ``[R, N, d]``.
            servers: ``[R, N, n, d]``.
            missing: ``[R, N, n]``: 0 for servers that exist, ``MASKED`` for others; a number
                instead of minus infinity, since a softmax over nothing is NaN.
            groups: ``[N]`` or None.

        Returns:
            ``[R, N, d]``.
        """
        R, N, n, d = servers.shape
        G, d_head = len(self.query.weight), d // HEADS
        to_query, to_key, to_value = (
            layer.weight.view(G, HEADS, d_head, d) for layer in (self.query, self.key, self.value)
        )
        # [G, HEADS * d, d]: W_K^T W_Q of every head, one below the other.
        folded = (to_key.transpose(2, 3) @ to_query).flatten(1, 2)
        queries = grouped_product(task, folded, None, groups).reshape(R * N, HEADS, d)
        # The heads are rows of one attention: folded, all of them look at the same vectors.
        look = _Attention.apply if torch.is_grad_enabled() else _attention
        seen = look(
            queries, servers.reshape(R * N, n, d), missing.view(R * N, 1, n), d_head**-0.5
        )  # fmt: skip
        # [G, d, HEADS * d]: W_O W_V of every head, one beside the other.
        outward = self.project.weight.view(G, d, HEADS, d_head).transpose(1, 2)
        folded = (outward @ to_value).transpose(1, 2).flatten(2)
        return grouped_product(seen.reshape(R, N, HEADS * d), folded, None, groups)


def _attention(queries: Tensor, seen: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Return ``softmax(scale q s^T + bias) s``.

    Args:
        queries: q ``[K, HEADS, d]``.
        seen: s ``[K, n, d]``, keys and values alike.
        bias: ``[K, 1, n]``.
        scale: of the products.

    Returns:
        ``[K, HEADS, d]``.
    """
    return _shares(queries, seen, bias, scale) @ seen


def _shares(queries: Tensor, seen: Tensor, bias: Tensor, scale: float) -> Tensor:
    scores = torch.baddbmm(bias, queries, seen.transpose(1, 2), alpha=scale)
    return torch.softmax(scores, dim=-1)


class _Attention(torch.autograd.Function):
    """Compute :func:`_attention` with the backward pass written out.

    Torch's own attention is made for long sequences. With a few queries it takes twice as long.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, seen: Tensor, bias: Tensor, scale: float) -> Tensor:
        """See :func:`_attention`."""
        shares = _shares(queries, seen, bias, scale)
        ctx.save_for_backward(queries, seen, shares)
        ctx.scale = scale
        return shares @ seen

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients of ``queries`` and ``seen``."""
        (gradient,), (queries, seen, shares) = gradients, ctx.saved_tensors
        of_shares = gradient @ seen.transpose(1, 2)
        of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_seen = shares.transpose(1, 2) @ gradient
        of_seen.baddbmm_(of_scores.transpose(1, 2), queries, alpha=ctx.scale)
        return (of_scores @ seen).mul_(ctx.scale), of_seen, None, None
