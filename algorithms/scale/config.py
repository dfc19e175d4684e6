"""Configuration of SCALE."""

from __future__ import annotations

import math
from typing import Any

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.algorithms.scale.algorithm import SCALE
from edge_marl.algorithms.scale.learner import SCALELearner
from edge_marl.algorithms.scale.module import SCALEModule
from edge_marl.algorithms.scale.options import SEGMENTS, SCALEOptions


class SCALEConfig(MAPPOConfig):
    """SCALE: PPO with a cross-attention pointer network and a regularised attention feature.

    "SCALE: Scalable Cross-Attention Learning with Extrapolation for Agentic Workflow Scheduling",
    section 4. The actor scores servers by :class:`.PointerNetwork`, whose weights fit any number
    of them; the critic, three layers with 64 units between them, sees the attention feature ``f``
    alone, and both train the network below. The loss of a minibatch is PPO's and

    ``w (srr_decorrelation_coeff L_c + srr_kl_coeff L_d)`` (equation 5),

    - ``L_c``, the sum of ``|C_ij|`` for i other than j, of the covariance ``C`` of ``f``,
    - ``L_d = 1 / (2 d) sum_k (mu_k^2 + var_k - ln var_k - 1)``,
    - ``w = min(1, max(0, (e - srr_start_iteration) / srr_warmup_iterations))`` of iteration e,

    statistics over the minibatch's steps in which an agent had a choice, for every network by
    itself where agents share none. Both, and the mean ``|C_ij|``, are among the learner's metrics.

    The methods that the paper compares with are ``srr=False`` (CrossAttn) and
    ``network={"kind": "structured_mlp"}`` with SRR on its last hidden layer (PPO+SRR) or without
    (PPO).

    Algorithm 1 anneals the learning rate by half a cosine. Here that has to be asked for, with the
    steps that it takes: an algorithm does not know how long it is trained for, and a rate that is 0
    too early teaches nothing.

    The discount, the sizes of the network and the weights of SRR are the paper's. Its other
    hyperparameters are not given (Table 2 is missing from the text), nor is how values are
    scaled. The paper samples 4 environments at once, here it is 64. Where an environment tells how
    much time a step takes, as ``dag_placement_v0`` does in event time, discount and ``lambda_`` are
    per second: 0.7 and 0.8 did best there.
    """

    options_model = SCALEOptions
    algorithm_class = SCALE
    joint_learner_class = SCALELearner
    joint_module_class = SCALEModule

    @property
    def annealed_lr(self) -> Any:
        """``lr``, or the cosine that begins there, as RLlib's schedules take it."""
        if self.cosine_steps == 0:
            return self.lr
        angles = [(k / SEGMENTS, math.pi * k / SEGMENTS) for k in range(SEGMENTS + 1)]
        return [
            (round(part * self.cosine_steps), self.lr * (1.0 + math.cos(angle)) / 2.0)
            for part, angle in angles
        ]
