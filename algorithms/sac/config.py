"""Configuration of discrete soft actor-critic."""

from __future__ import annotations

from edge_marl.algorithms.replay.config import OffPolicyConfig
from edge_marl.algorithms.sac.algorithm import DiscreteSAC
from edge_marl.algorithms.sac.learner import DiscreteSACLearner
from edge_marl.algorithms.sac.module import DiscreteSACModule
from edge_marl.algorithms.sac.options import DiscreteSACOptions


class DiscreteSACConfig(OffPolicyConfig):
    """Soft actor-critic for discrete actions (Haarnoja et al. 2018; Christodoulou 2019).

    Decentralised: every agent learns from its own observations and the team's reward, one network
    for all. With twin networks ``Q_i`` and targets ``Qbar_i`` that follow them, over legal actions
    only,

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))``, ``y = r + gamma V(o')``,

    every update minimises ``(Q_i(o, a) - y)^2`` and, by the actor, ``-V(o) - V(o')``: what O2O-DRL
    does offline, without its regulariser. That the actor learns from the targets is equation 11 of
    the O2O-DRL paper, and both phases are to have one method; Christodoulou's actor learns from the
    twins themselves. With ``target_entropy`` the temperature ``alpha`` learns too, by
    ``log alpha (H(o) - target_entropy log n(o))`` where ``n(o) > 1`` actions are legal; without, it
    stays at ``alpha``.
    """

    options_model = DiscreteSACOptions
    algorithm_class = DiscreteSAC
    joint_learner_class = DiscreteSACLearner
    joint_module_class = DiscreteSACModule

    @property
    def uses_state(self) -> bool:
        """Never: critics are decentralised."""
        return False
