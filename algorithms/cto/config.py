"""Configure MADQN, MADDPG and CTO."""

from __future__ import annotations

from edge_marl.algorithms.cto.algorithm import CTO, MADDPG, MADQN
from edge_marl.algorithms.cto.learner import DecisionLearner
from edge_marl.algorithms.cto.module import CTOModule, MADDPGModule, MADQNModule
from edge_marl.algorithms.cto.options import CTOOptions, MADDPGOptions, MADQNOptions
from edge_marl.algorithms.replay.config import DecisionConfig
from edge_marl.envs.batched import BatchedEnv
from edge_marl.errors import InputError


class MADQNConfig(DecisionConfig):
    """Configure MADQN: every agent learns action values from what it sees and earns itself.

    Networks are dueling ones and targets those of double Q-learning by default, see
    :class:`.block.DecisionBlock`. In the CTO-TP paper they choose who helps with a task.
    """

    options_model = MADQNOptions
    joint_learner_class = DecisionLearner
    algorithm_class = MADQN
    joint_module_class = MADQNModule

    @property
    def uses_state(self) -> bool:
        """Return False: agents see no more than their observations."""
        return False


class MADDPGConfig(DecisionConfig):
    """Configure MADDPG (Lowe et al., 2017): actors that ascend central critics.

    Vectors are what an allocator makes of an observation and a choice, choices are drawn from a
    Gumbel-softmax while learning; either may be all that there is. See
    :class:`.block.DecisionBlock`; ``twin_critics`` and ``policy_delay`` are those of TD3.
    """

    options_model = MADDPGOptions
    joint_learner_class = DecisionLearner
    algorithm_class = MADDPG
    joint_module_class = MADDPGModule
    learns_vectors = True


class CTOConfig(DecisionConfig):
    """Configure the hybrid of the CTO-TP paper: MADQN chooses, MADDPG allocates for the choice.

    Both learn from the same transitions, the critics of MADDPG from the global state, which holds
    predictions if the environment makes any. See :class:`.block.DecisionBlock`.
    """

    options_model = CTOOptions
    joint_learner_class = DecisionLearner
    algorithm_class = CTO
    joint_module_class = CTOModule
    learns_vectors = True

    def check_sampled(self, env: BatchedEnv) -> None:
        """Refuse actions without vectors, see :meth:`JointConfig.check_sampled`."""
        if not env.action_spec.boxes:
            raise InputError(
                "env: expected actions with numbers in a box, found choices alone; MADQN learns "
                "these"
            )
        super().check_sampled(env)
