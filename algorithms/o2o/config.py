"""Configure O2O-DRL."""

from __future__ import annotations

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.algorithms.o2o.algorithm import O2O
from edge_marl.algorithms.o2o.learner import O2OLearner
from edge_marl.algorithms.o2o.module import O2OModule
from edge_marl.algorithms.o2o.options import O2OOptions


class O2OConfig(MAPPOConfig):
    """Configure O2O-DRL: reinforcement learning from the logs of a heuristic, then online.

    The method is that of "Offline-to-online deep reinforcement learning for decentralized task
    offloading", section IV-C and Algorithms 1 and 2. One model is shared by all nodes.

    Offline, discrete soft actor-critic learns from rows drawn from ``log``, unless
    ``offline_method`` chooses another method. It uses twin networks ``Q_i`` and targets
    ``Qbar_i`` that follow them. Over legal actions only, let

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))`` and ``y = r + gamma V(o')``.

    Every gradient step then minimises three terms, all computed from the same weights:

    - equation 10, ``(Q_i(o, a) - y)^2 + lambda_c (log sum_b exp Q_i(o, b) - Q_i(o, a))``,
    - equation 11, ``-V(o')``, for the actor; and ``-V(o)``, because the first observation of an
      episode follows no other, and some episodes have only that one,
    - equation 12, ``(V_omega(o) - y)^2``, for a critic of its own.

    When ``offline_updates`` gradient steps are done, the online phase begins by itself: PPO with
    GAE (equations 13 to 19, :class:`MAPPOConfig` with ``critic="local"``) continues from the actor
    and the critic as they are, with a new optimiser. Without a log, or with ``offline_updates=0``,
    there is only that phase.

    Deployed nodes sample their actions, as those of the paper do; evaluate with
    ``.evaluation(evaluation_interval=..., evaluation_config={"explore": True})``. Defaults are
    those of section V-A where it gives one.
    """

    options_model = O2OOptions
    algorithm_class = O2O
    joint_learner_class = O2OLearner
    joint_module_class = O2OModule
    learns_vectors = False
