"""Configure FAuNO."""

from __future__ import annotations

from typing import Any

from edge_marl.algorithms.fauno.algorithm import FAuNO
from edge_marl.algorithms.fauno.learner import FAuNOLearner
from edge_marl.algorithms.fauno.options import FAuNOOptions
from edge_marl.algorithms.mappo.config import MAPPOConfig


class FAuNOConfig(MAPPOConfig):
    """Configure FAuNO (Metelo et al. 2026): independent PPO with a federated critic.

    Every agent is a client with an actor and a critic of its own. After each train batch it sends
    what its critic has learned to a manager, which buffers the newest update of every client and,
    once K clients have sent one, adds their weighted mean to the shared critic (equation 15). A
    client goes on from the newest version that has reached it, and waits for none.

    Updates travel over the network that the environment simulates, if it does, and take their time:
    a tick is a step of the environment. The federation is the same whatever computes it.
    """

    options_model = FAuNOOptions
    algorithm_class = FAuNO
    joint_learner_class = FAuNOLearner

    def get_default_learner_class(self) -> Any:
        """Return the class of the learner."""
        return self.joint_learner_class
