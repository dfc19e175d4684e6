"""Options of SCALE."""

from __future__ import annotations

import math
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from edge_marl.algorithms.mappo.config import MAPPOConfig
from edge_marl.errors import InputError
from edge_marl.limits import LARGEST
from edge_marl.options import Count, CountOrZero, NotNegative

_KINDS = ("pointer", "structured_mlp", "mlp")
_SEGMENTS = 64  # of a cosine: off by less than 0.0004 of its height


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

    def __init__(self, algo_class: type | None = None) -> None:
        from edge_marl.algorithms.scale.algorithm import SCALE

        super().__init__(algo_class=algo_class or SCALE)
        self.srr = True
        self.srr_decorrelation_coeff = 0.01
        self.srr_kl_coeff = 0.001
        self.srr_start_iteration = 10
        self.srr_warmup_iterations = 50
        self.cosine_steps = 0
        self.critic = "local"
        self.network = self.network.model_copy(update={"kind": "pointer", "hidden_sizes": (16, 16)})
        # Agents that decide about different things share nothing.
        self.parameter_sharing = "independent"
        self.gamma = 0.99
        # Not given in the paper, from here on.
        self.lr = 1e-3
        self.lambda_ = 0.95
        self.clip_param = 0.2
        self.vf_clip_param = LARGEST  # values are not clipped
        self.vf_loss_coeff = 0.5
        self.entropy_coeff = 0.01
        self.grad_clip = 0.5
        self.num_epochs = 4
        self.train_batch_size_per_learner = 4096
        self.minibatch_size = 512

    def training(
        self,
        *,
        srr: bool = NotProvided,
        srr_decorrelation_coeff: NotNegative = NotProvided,
        srr_kl_coeff: NotNegative = NotProvided,
        srr_start_iteration: CountOrZero = NotProvided,
        srr_warmup_iterations: Count = NotProvided,
        cosine_steps: CountOrZero = NotProvided,
        **kwargs: Any,
    ) -> SCALEConfig:
        """Set training options; those not given stay as they are.

        Args:
            srr: regularise the attention feature.
            srr_decorrelation_coeff: lambda_1.
            srr_kl_coeff: lambda_2.
            srr_start_iteration: E_s, training iterations without.
            srr_warmup_iterations: E_w, iterations from then on to full weights.
            cosine_steps: environment steps over which the learning rate falls from ``lr`` to 0 as
                half a cosine; 0: it stays as ``lr`` says.
            kwargs: options of :class:`MAPPOConfig`.
        """
        given = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "kwargs", "__class__") and value is not NotProvided
        }
        super().training(**kwargs)
        for name, value in given.items():
            setattr(self, name, value)
        return self

    @property
    def annealed_lr(self) -> Any:
        """``lr``, or the cosine that begins there, as RLlib's schedules take it."""
        if self.cosine_steps == 0:
            return self.lr
        angles = [(k / _SEGMENTS, math.pi * k / _SEGMENTS) for k in range(_SEGMENTS + 1)]
        return [
            (round(part * self.cosine_steps), self.lr * (1.0 + math.cos(angle)) / 2.0)
            for part, angle in angles
        ]

    def validate(self) -> None:
        """Check options and their combination.

        Raises:
            InputError: naming the option, what was expected and what was found.
        """
        super().validate()
        self.check(
            ("cosine_steps", self.cosine_steps == 0 or self.cosine_steps >= _SEGMENTS,
             f"0 or at least {_SEGMENTS}"),
            ("lr", self.cosine_steps == 0 or isinstance(self.lr, float | int),
             "a number with cosine_steps"),
            ("critic", self.critic == "local", "local"),
        )  # fmt: skip
        if self.network.kind not in _KINDS or self.network.gru:
            raise InputError(
                f"network.kind: expected {', '.join(_KINDS)}, without a memory, "
                f"found {self.network.kind} with gru {self.network.gru}"
            )

    def get_default_learner_class(self) -> type:
        """MAPPO's learner with SRR."""
        from edge_marl.algorithms.scale.learner import SCALELearner

        return SCALELearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Actor and critic on one feature."""
        from edge_marl.algorithms.scale.module import SCALEModule

        return RLModuleSpec(module_class=SCALEModule)
