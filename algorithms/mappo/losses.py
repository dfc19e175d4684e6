"""Compute the loss of PPO (Schulman et al. 2017) as RLlib does, its gradient written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor

from edge_marl.algorithms.mappo.distribution import SMALL, MaskedCategorical
from edge_marl.algorithms.mappo.rows import PENALTIES, VALUE_WEIGHTS
from edge_marl.algorithms.networks.normalisation import Total, unchanged
from edge_marl.algorithms.networks.vectors import BetaVectors
from edge_marl.algorithms.sampling.columns import Fragment


class Coefficients(NamedTuple):
    """Hold the coefficients of the loss under RLlib's names."""

    clip_param: float
    """How far a ratio may move from 1 and still matter."""
    vf_clip_param: float
    """Largest squared error that teaches."""
    vf_loss_coeff: float
    entropy_coeff: float


def ppo_loss(
    outputs: Tensor,
    values: Tensor,
    batch: Mapping[str, Tensor],
    coefficients: Coefficients,
    *,
    n_choices: float | Tensor,
    n_values: float | Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Combine the clipped surrogate, the squared error of the values and the entropy.

    The policy chooses by ``softmax(outputs + penalties)`` and draws a vector, if there is one, from
    Beta distributions; its ratio is that of both together. Squared errors are clipped at
    ``vf_clip_param``.

    Args:
        outputs: ``[K, A + 2d]`` of the actor, where an agent had a choice.
        values: of the critic, of any shape.
        batch: ``PENALTIES [K, A]``, ``ACTIONS``, ``ACTION_LOGP`` and ``ADVANTAGES`` ``[K]``, and
            ``VECTORS [K, d]`` where there are any; ``VALUE_TARGETS`` in the shape of the values,
            and perhaps ``VALUE_WEIGHTS``.
        coefficients: of the terms.
        n_choices: what sums over K are divided by, K where there is one learner; or what each row
            is divided by, ``[K]``, for a sum of means.
        n_values: what sums over the values are divided by, the sum of their weights; or what each
            value is divided by.

    Returns:
        The loss, and its terms under RLlib's names.
    """
    scores, of_vectors = outputs, (None, None)
    if Fragment.VECTORS in batch:
        scores, parameters = outputs.tensor_split([batch[PENALTIES].shape[-1]], dim=-1)
        distributions, vectors = BetaVectors.of_outputs(parameters), batch[Fragment.VECTORS]
        of_vectors = distributions.log_probabilities(vectors), distributions.entropies(vectors)
    loss, *terms = _PPOLoss.apply(
        scores, values, *of_vectors, batch, coefficients, n_choices, n_values
    )
    return loss, dict(zip(_TERMS, terms, strict=True))


_TERMS = "policy_loss", "vf_loss", "vf_loss_unclipped", "entropy"


class _PPOLoss(torch.autograd.Function):
    """Compute :func:`ppo_loss` in a fraction of the time that autograd takes.

    Actions are the first axis, because reductions and broadcasts over a last axis this short are
    not vectorised.
    """

    @staticmethod
    def forward(
        ctx: Any,
        outputs: Tensor,
        values: Tensor,
        vector_logp: Tensor | None,
        vector_entropies: Tensor | None,
        batch: Mapping[str, Tensor],
        coefficients: Coefficients,
        n_choices: float | Tensor,
        n_values: float | Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the loss and its terms, and save the gradient up to a factor.

        Log-probabilities and entropies ``[K]`` of vectors add to those of choices.
        """
        clip, vf_clip, vf_loss_coeff, entropy_coeff = coefficients
        actions, advantages = batch[Columns.ACTIONS], batch[Postprocessing.ADVANTAGES]
        logits = (outputs + batch[PENALTIES]).T.contiguous()  # [A, K]
        logarithms = torch.log_softmax(logits, 0).clamp_(min=SMALL)
        probabilities = logarithms.exp()
        negative_entropies = (probabilities * logarithms).sum(0)
        chosen = logarithms.gather(0, actions[None])[0]
        entropy = -_mean(negative_entropies, n_choices)
        if vector_logp is not None and vector_entropies is not None:
            chosen = chosen + vector_logp
            entropy = entropy + _mean(vector_entropies, n_choices)
        ratios = (chosen - batch[Columns.ACTION_LOGP]).exp_()
        surrogate, clipped = ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages
        policy_loss = -_mean(torch.minimum(surrogate, clipped), n_choices)

        errors = values - batch[Postprocessing.VALUE_TARGETS]
        weights = batch.get(VALUE_WEIGHTS)
        weighted = errors if weights is None else errors * weights
        vf_loss = vf_loss_unclipped = _mean(errors * weighted, n_values)
        too_large = errors.square() > vf_clip
        if bool(too_large.any()):
            clipped_away = ((errors.square() - vf_clip) * too_large).mul_(
                1.0 if weights is None else weights
            )
            vf_loss = vf_loss_unclipped - _mean(clipped_away, n_values)
            weighted = weighted * ~too_large

        # d log p_a = e_a - p and d sum p log p = p (log p - sum p log p), by the logits.
        of_chosen = torch.where(surrogate <= clipped, surrogate, 0.0) / -n_choices
        of_entropies = entropy_coeff / n_choices
        gradient = logarithms.sub_(negative_entropies).mul_(of_entropies)
        gradient -= of_chosen
        gradient *= probabilities
        gradient.scatter_add_(0, actions[None], of_chosen[None])
        of_vectors: tuple[Tensor, ...] = ()
        if vector_logp is not None:
            of_vectors = (of_chosen, -of_entropies * torch.ones_like(of_chosen))
        ctx.save_for_backward(gradient.T, weighted * (2.0 * vf_loss_coeff / n_values), *of_vectors)
        loss = policy_loss + vf_loss_coeff * vf_loss - entropy_coeff * entropy
        terms = policy_loss, vf_loss, vf_loss_unclipped.clone(), entropy
        ctx.mark_non_differentiable(*terms)
        return loss, *terms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Return the gradients with respect to outputs, values and what vectors add."""
        found = [gradient * gradients[0] for gradient in ctx.saved_tensors]
        return *found, *(None,) * (8 - len(found))


def divergences(outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the Kullback-Leibler divergences ``[K]`` of a policy from the one that sampled.

    Args:
        outputs: ``[K, A + 2d]``, as for :func:`ppo_loss`.
        batch: ``PENALTIES``, ``ACTION_DIST_INPUTS [K, A + 2d]`` and, where there are any,
            ``VECTORS``.
    """
    A = batch[PENALTIES].shape[-1]
    before, now = batch[Columns.ACTION_DIST_INPUTS], outputs
    choices_before = MaskedCategorical(before[..., :A])
    found: Tensor = choices_before.kl(MaskedCategorical(now[..., :A] + batch[PENALTIES]))
    if Fragment.VECTORS in batch:
        vectors_before = BetaVectors.of_outputs(before[..., A:])
        vectors_now = BetaVectors.of_outputs(now[..., A:])
        found = found + vectors_before.divergences(vectors_now, batch[Fragment.VECTORS])
    return found


def _mean(numbers: Tensor, n: float | Tensor) -> Tensor:
    """Return a sum over n, or the sum of numbers over their own ns."""
    return (numbers / n).sum() if isinstance(n, Tensor) else numbers.sum() / n


def explained_variance(targets: Tensor, values: Tensor, total: Total = unchanged) -> Tensor:
    """Return the share of the variance of ``targets [R]`` that ``values [R]`` explain, at least -1.

    Args:
        targets: of this learner.
        values: of this learner.
        total: adds up over all learners.
    """
    both = torch.stack([targets, targets - values]).double()
    n = total(both.new_tensor(float(len(targets)))).clamp(min=1)
    means = total(both.sum(1)) / n
    variance, unexplained = total((both - means[:, None]).square().sum(1)) / n
    return (1.0 - unexplained / variance.clamp(min=1e-12)).clamp(min=-1.0)
