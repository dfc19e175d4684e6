"""Define the modules of MADQN, MADDPG and CTO."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor, nn

from edge_marl.algorithms.actors import decide
from edge_marl.algorithms.core.module import JointModule, ValueModule
from edge_marl.algorithms.cto.critics import CriticSpec, JointCritic
from edge_marl.algorithms.cto.noise import next_noise
from edge_marl.algorithms.networks import has_choice
from edge_marl.algorithms.networks.allocation import AllocatorSpec
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.vectors import ABSENT
from edge_marl.algorithms.sampling.actions import sample_actions
from edge_marl.algorithms.sampling.columns import Fragment


class MADQNModule(ValueModule):
    """Hold actors whose outputs are action values."""

    def setup(self) -> None:
        """Build the actor, and moments of states that nobody looks at."""
        super().setup()
        self.critics = nn.ModuleList()
        self.state_moments = RunningMoments((self.actor.n_groups, 0))

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that only learners have."""
        return ["critics", "state_moments"]


class MADDPGModule(JointModule, InferenceOnlyAPI):
    """Hold actors that allocate when they have chosen, and critics of what all do."""

    def setup(self) -> None:
        """Build actor and critics."""
        super().setup()
        options, space = self.model_config, self.observation_space
        spec = CriticSpec(
            state_size=space.state_size,
            n_agents=space.n_agents,
            n_choices=space.action_spec.n,
            vector_size=space.action_spec.vector_size,
            n_told=1 if space.takes_turns else space.n_agents,
            hidden_sizes=options["critic_hidden_sizes"],
            activation=self.actor.spec.network.activation,
            embedding=options["choice_embedding"],
        )
        self.critics = nn.ModuleList(
            JointCritic(self.actor.n_groups, spec) for _ in range(1 + options["twin_critics"])
        )
        # States come in units of their own: always standardised.
        self.state_moments = RunningMoments((self.actor.n_groups, space.state_size))
        self.noise_scale = Scheduler(options["noise_scale"])

    @property
    def allocator_spec(self) -> AllocatorSpec | None:
        """Return that vectors, if there are any, are decided on when choices are made."""
        options = self.model_config
        if not self.observation_space.action_spec.vector_size:
            return None
        return AllocatorSpec(
            hidden_sizes=options["allocator_hidden_sizes"],
            activation=options["network"]["activation"],
            embedding=options["choice_embedding"],
        )

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that only learners have."""
        return ["critics", "state_moments"]

    def initial_memory(self, n_episodes: int) -> Tensor | None:
        """Return the noise of each agent's last decision, which starts at 0."""
        d = self.actor.spec.vector_size
        return torch.zeros(n_episodes, len(self.actor.spec.agents), d) if d else None

    def _forward_inference(self, batch: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        """Decide as the actors do when they are deployed, see :func:`.actors.decide`."""
        outputs = self.evaluate(batch)[0]
        seen = batch[Columns.OBS]
        mask = seen[Fragment.ACTION_MASK]
        decision = decide(self.actor, seen[Fragment.FEATURES], outputs, mask)
        chosen: dict[str, Tensor] = {Columns.ACTIONS: decision.actions}
        if decision.vectors is not None:
            chosen[Fragment.VECTORS] = decision.vectors
        return chosen

    def _forward_exploration(
        self, batch: dict[str, Any], t: int = 0, **_: Any
    ) -> dict[str, Tensor]:
        """Choose at random by the outputs, and add noise to what is allocated."""
        outputs = self.evaluate(batch)[0]
        seen = batch[Columns.OBS]
        features, mask = seen[Fragment.FEATURES], seen[Fragment.ACTION_MASK]
        actions = self.explored(outputs, mask, t)
        chosen: dict[str, Tensor] = {Columns.ACTIONS: actions}
        before = batch.get(Columns.STATE_IN)
        if before is None:
            return chosen
        decides = has_choice(mask, vectors=True)
        options = self.model_config
        noise = next_noise(before, options["noise"], options["noise_theta"])
        noise = torch.where(decides[..., None], noise, before)
        vectors = self.actor.allocations_where(features, actions, decides)
        vectors += self.noise_scale.update(t) * noise
        absent = ~decides[..., None] | self.actor.fixed_numbers
        chosen[Fragment.VECTORS] = vectors.clamp(0.0, 1.0).masked_fill(absent, ABSENT)
        chosen[Columns.STATE_OUT] = noise
        return chosen

    def explored(self, outputs: Tensor, action_mask: Tensor, t: int) -> Tensor:
        """Draw choices ``[...]`` from the softmax of outputs ``[..., A]`` that are legal."""
        return sample_actions(outputs, action_mask)[0]


class CTOModule(MADDPGModule, ValueModule):
    """Hold actors that choose by action values, and allocate as those of MADDPG do."""

    def explored(self, outputs: Tensor, action_mask: Tensor, t: int) -> Tensor:
        """Return the best choices or, with probability epsilon, random ones."""
        return ValueModule.explored(self, outputs, action_mask, t)
