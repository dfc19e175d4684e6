"""Configuration of O2O-DRL."""

from __future__ import annotations

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.algorithms.o2o.algorithm import O2O
from edge_marl.algorithms.o2o.learner import O2OLearner
from edge_marl.algorithms.o2o.module import O2OModule
from edge_marl.algorithms.o2o.options import O2OOptions


class O2OConfig(MAPPOConfig):
    """O2O-DRL: reinforcement learning from the logs of a heuristic, then online.

    "Offline-to-online deep reinforcement learning for decentralized task offloading", section
    IV-C and Algorithms 1 and 2. One model is shared by all nodes.

    Offline, on rows drawn from ``log``: discrete soft actor-critic. With twin networks ``Q_i`` and
    targets ``Qbar_i`` that follow them, over legal actions only,

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))``, ``y = r + gamma V(o')``,

    every gradient step minimises, all three from the same weights,

    - equation 10, ``(Q_i(o, a) - y)^2 + lambda_c (log sum_b exp Q_i(o, b) - Q_i(o, a))``,
    - equation 11, ``-V(o')``, by the actor; and ``-V(o)``, because first observations of episodes
      follow no other, and some episodes are only as long,
    - equation 12, ``(V_omega(o) - y)^2``, by a critic of its own.

    When ``offline_updates`` are done the online phase begins by itself: PPO with GAE (equations 13
    to 19, :class:`MAPPOConfig` with ``critic="local"``) from the actor and the critic as they are,
    with an optimiser that starts anew. Without a log, or with ``offline_updates=0``, there is only
    that phase.

    Deployed, nodes sample their actions, as the paper's do; evaluate with
    ``.evaluation(evaluation_interval=..., evaluation_config={"explore": True})``. Defaults are
    those of section V-A where it has one.
    """

    options_model = O2OOptions
    algorithm_class = O2O
    joint_learner_class = O2OLearner
    joint_module_class = O2OModule
