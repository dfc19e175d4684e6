"""Configure SCALE."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.algorithms.scale.algorithm import SCALE
from edge_marl.algorithms.scale.learner import SCALELearner
from edge_marl.algorithms.scale.module import SCALEModule
from edge_marl.algorithms.scale.options import SEGMENTS, SCALEOptions


class SCALEConfig(MAPPOConfig):
    """Configure SCALE: PPO with a pointer network and a regularised attention feature.

    The method is that of section 4 of "SCALE: Scalable Cross-Attention Learning with Extrapolation
    for Agentic Workflow Scheduling". The actor scores servers by a cross-attention network,
    :class:`.PointerNetwork`, whose weights fit any number of them. The critic, three layers with 64
    units between them, sees the attention feature ``f`` alone; both train the network below it. The
    loss of a minibatch is PPO's plus

    ``w (srr_decorrelation_coeff L_c + srr_kl_coeff L_d)`` (equation 5), where

    - ``L_c`` is the sum of ``|C_ij|`` over i other than j, for the covariance ``C`` of ``f``,
    - ``L_d = 1 / (2 d) sum_k (mu_k^2 + var_k - ln var_k - 1)``,
    - ``w = min(1, max(0, (e - srr_start_iteration) / srr_warmup_iterations))`` of iteration e.

    The statistics are taken over the minibatch's steps in which an agent had a choice, separately
    for every network where agents share none. ``L_c``, ``L_d`` and the mean ``|C_ij|`` are among
    the learner's metrics.

    The methods that the paper compares with are ``srr=False`` (CrossAttn) and
    ``network={"kind": "structured_mlp"}`` with SRR on its last hidden layer (PPO+SRR) or without
    (PPO).

    Algorithm 1 anneals the learning rate by half a cosine. Here it has to be asked for with
    ``cosine_steps``: an algorithm does not know how long it will be trained, and once the rate is 0
    nothing more is learned.

    The discount, the sizes of the network and the weights of SRR are the paper's. Its other
    hyperparameters are not given (Table 2 is missing from the text), nor is how values are
    scaled. The paper samples 4 environments at once, here it is 64. Where an environment tells how
    much time a step takes, as ``dag_placement_v0`` does in event time, the discount and ``lambda_``
    apply per second: 0.7 and 0.8 did best there.
    """

    options_model = SCALEOptions
    algorithm_class = SCALE
    joint_learner_class = SCALELearner
    joint_module_class = SCALEModule
    learns_vectors = False

    @property
    def annealed_lr(self) -> Any:
        """Return ``lr``, or the cosine that begins there, in the form of RLlib's schedules."""
        if self.cosine_steps == 0:
            return self.lr
        angles = [(k / SEGMENTS, math.pi * k / SEGMENTS) for k in range(SEGMENTS + 1)]
        return [
            (round(part * self.cosine_steps), self.lr * (1.0 + math.cos(angle)) / 2.0)
            for part, angle in angles
        ]
