"""Draw the actions of many agents from their logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_marl.compiled import compiled


def sample_actions(logits: Tensor, action_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Draw actions from the softmax of the legal logits; return them and their log-probabilities.

    Each row takes one pass of a compiled kernel: tensor operations of this size are all overhead.

    Args:
        logits: ``[..., A]``.
        action_mask: ``[..., A]`` bool; where none is legal, the first is returned.

    Returns:
        Actions ``[...]`` and their log-probabilities ``[...]``.
    """
    shape, A = logits.shape[:-1], logits.shape[-1]
    random = torch.rand(shape).numpy().ravel()
    actions = np.empty(random.shape, np.int64)
    log_probabilities = np.empty(random.shape, np.float32)
    _draw(
        logits.contiguous().numpy().reshape(-1, A), action_mask.numpy().reshape(-1, A),
        random, actions, log_probabilities,
    )  # fmt: skip
    return torch.from_numpy(actions).view(shape), torch.from_numpy(log_probabilities).view(shape)


@compiled(entry=True)
def _draw(logits: Any, action_mask: Any, random: Any, actions: Any, log_probabilities: Any) -> None:
    K, A = logits.shape
    for k in range(K):
        n_legal, largest, last = 0, -np.inf, 0
        for a in range(A):
            if action_mask[k, a]:
                n_legal += 1
                last = a
                largest = max(largest, logits[k, a])
        if n_legal <= 1:
            actions[k], log_probabilities[k] = last, 0.0
            continue
        total = 0.0
        for a in range(A):
            if action_mask[k, a]:
                total += np.exp(logits[k, a] - largest)
        left, chosen = random[k] * total, last
        for a in range(A):
            if action_mask[k, a]:
                weight = np.exp(logits[k, a] - largest)
                if weight > 0.0:
                    chosen = a  # rounding may leave a little after the last
                    left -= weight
                    if left < 0.0:
                        break
        actions[k] = chosen
        log_probabilities[k] = logits[k, chosen] - largest - np.log(total)
