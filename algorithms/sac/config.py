"""Configure discrete soft actor-critic."""

from __future__ import annotations

from edge_marl.algorithms.replay.config import OffPolicyConfig
from edge_marl.algorithms.sac.algorithm import DiscreteSAC
from edge_marl.algorithms.sac.learner import DiscreteSACLearner
from edge_marl.algorithms.sac.module import DiscreteSACModule
from edge_marl.algorithms.sac.options import DiscreteSACOptions


class DiscreteSACConfig(OffPolicyConfig):
    """Configure soft actor-critic for discrete actions (Haarnoja et al. 2018; Christodoulou 2019).

    Learning is decentralised: every agent learns from its own observations and the team's reward,
    and all agents share one network. With twin networks ``Q_i`` and targets ``Qbar_i`` that
    follow them, and over legal actions only, let

    ``V(o) = pi(o)^T (min_i Qbar_i(o) - alpha log pi(o))`` and ``y = r + gamma V(o')``.

    Every update then minimises ``(Q_i(o, a) - y)^2`` and, for the actor, the mean of ``-V(o)`` and
    ``-V(o')``. This is what O2O-DRL does offline, but without its regulariser. The actor learns
    from the targets, as in equation 11 of the O2O-DRL paper, so that both algorithms share one
    objective; Christodoulou's actor learns from the twins themselves.

    With ``target_entropy``, the temperature is learned too, by minimising
    ``log alpha (H(o) - target_entropy log n(o))`` where ``n(o) > 1`` actions are legal; without
    it, the temperature stays at ``alpha``.
    """

    options_model = DiscreteSACOptions
    algorithm_class = DiscreteSAC
    joint_learner_class = DiscreteSACLearner
    joint_module_class = DiscreteSACModule

    @property
    def uses_state(self) -> bool:
        """Return False, because critics are decentralised."""
        return False
