"""Configure VDN and QMIX, the algorithms of value decomposition."""

from __future__ import annotations

from edge_marl.algorithms.replay.config import OffPolicyConfig
from edge_marl.algorithms.value_decomposition.algorithm import ValueDecomposition
from edge_marl.algorithms.value_decomposition.learner import ValueDecompositionLearner
from edge_marl.algorithms.value_decomposition.module import ValueDecompositionModule
from edge_marl.algorithms.value_decomposition.options import QMIXOptions, VDNOptions


class ValueDecompositionConfig(OffPolicyConfig):
    """Configure the learning of action values ``Q_i`` that are mixed into the team's ``Q_tot``.

    Acting is decentralised. Learning minimises, over replayed steps (Rashid et al., 2018,
    equations 5 and 6),

    ``(Q_tot(s_t, u_t) - sum_{k<n} gamma^k r_{t+k} - gamma^n Q'_tot(s_{t+n}, u'))^2``

    or, by default, Huber's loss of the same difference (option ``loss``). Here ``Q'`` are target
    networks and ``u'`` the best legal actions, by the target networks or, with double Q-learning
    (van Hasselt et al., 2016), by the networks that learn. The sum ends early where the episode
    does; a termination ends the bootstrapping, a truncation does not. Agents that have left the
    episode are not mixed. With a GRU (``network={"gru": 64}``), whole fragments are replayed from
    the memory that they were sampled with.

    :class:`VDNConfig` and :class:`QMIXConfig` choose the mixer; both take every option.
    """

    options_model = QMIXOptions
    algorithm_class = ValueDecomposition
    joint_learner_class = ValueDecompositionLearner
    joint_module_class = ValueDecompositionModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.evaluation_config = {"explore": False}  # without random actions

    @property
    def uses_state(self) -> bool:
        """Return whether the mixer looks at the global state."""
        return bool(self.mixer == "qmix")


class VDNConfig(ValueDecompositionConfig):
    """Configure value-decomposition networks (VDN; Sunehag et al., 2017).

    ``Q_tot`` is the sum of the ``Q_i``.
    """

    options_model = VDNOptions


class QMIXConfig(ValueDecompositionConfig):
    """Configure QMIX (Rashid et al., 2018).

    ``Q_tot`` is monotonic in the ``Q_i`` and depends on the global state.
    """
