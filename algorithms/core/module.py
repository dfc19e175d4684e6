"""Hold all agents in one RLModule."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import Tensor

from edge_marl.algorithms.actors import decide, greedy, is_stochastic
from edge_marl.algorithms.core.spaces import JointObservation
from edge_marl.algorithms.networks import MASKED, has_choice
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.allocation import AllocatorSpec
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.spec import ActorSpec, agent_groups
from edge_marl.algorithms.networks.vectors import ABSENT, BetaVectors
from edge_marl.algorithms.sampling.actions import sample_actions
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.validation import invalid


class JointModule(TorchRLModule):
    """Hold all agents in one module, so that they are evaluated together.

    Parameters are shared, or not, inside :class:`edge_marl.algorithms.networks.agents.Actor`.
    Subclasses define ``_forward_inference``, ``_forward_exploration`` (which is told ``t``, the
    environment steps sampled so far) and ``_forward_train``.
    """

    observation_space: JointObservation

    def setup(self) -> None:
        """Build the actor; subclasses add critics, mixers, targets.

        Raises:
            InputError: for a network that does not fit the observations.
        """
        space = self.observation_space
        network = NetworkConfig.model_validate(self.model_config["network"])
        groups = agent_groups(self.model_config["parameter_sharing"], space.agents)
        shared = len(set(groups)) < len(groups)
        try:
            spec = ActorSpec(
                agents=space.agents,
                observation_shape=space.observation_shape,
                n_actions=space.action_spec.n,
                boxes=space.action_spec.boxes,
                groups=groups,
                network=network,
                # Networks over sets take every element alike; those over queues scale jobs too.
                normalise=self.model_config["observation_normalisation"]
                and network.network_class.has_head,
                n_ids=space.n_agents if network.agent_id and shared else 0,
                allocator=self.allocator_spec,
            )
        except ValidationError as error:
            raise invalid(error) from None
        self.actor = Actor(spec)

    @property
    def allocator_spec(self) -> AllocatorSpec | None:
        """Return what decides on vectors when choices are made; None: the actor's heads."""
        return None

    def initial_memory(self, n_episodes: int) -> Tensor | None:
        """Return what is kept from one step of the episodes to the next, at their start.

        Returns:
            Zeros ``[B, N, H]``; None if nothing is.
        """
        return self.actor.initial_hidden(n_episodes) if self.actor.is_recurrent else None

    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Decide without RLlib's switch of all submodules to evaluation mode and back.

        No layer here acts differently in training.
        """
        return self._forward_inference(batch, **kwargs)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Do the same as :meth:`forward_inference`, but explore."""
        return self._forward_exploration(batch, **kwargs)

    def evaluate(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Return the actor's outputs ``[..., N, A]`` and, if it has one, its next memory.

        Without a memory, outputs are arbitrary where an agent has no choice.
        """
        seen = batch[Columns.OBS]
        features, mask = seen[Fragment.FEATURES], seen[Fragment.ACTION_MASK]
        with torch.no_grad():
            if not self.actor.is_recurrent:
                decides = has_choice(mask, vectors=self.actor.spec.vector_size > 0)
                return self.actor.where_chosen(features, mask, decides), None
            outputs: tuple[Tensor, Tensor | None] = self.actor(
                features, mask, batch.get(Columns.STATE_IN)
            )
        return outputs


class PolicyModule(JointModule, InferenceOnlyAPI):
    """Take the actor's outputs as logits: draw actions to explore, else decide as when deployed."""

    def _forward_inference(
        self, batch: dict[str, Any], generator: torch.Generator | None = None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Decide as the actors do when they are deployed, see :func:`.actors.decide`."""
        outputs, hidden = self.evaluate(batch)
        random: Tensor | float = 0.5
        if is_stochastic(self.actor, sampled=False):
            random = torch.rand(outputs.shape[:-1], generator=generator)
        seen = batch[Columns.OBS]
        decision = decide(
            self.actor, seen[Fragment.FEATURES], outputs, seen[Fragment.ACTION_MASK], random
        )
        chosen = {Columns.ACTIONS: decision.actions}
        if decision.vectors is not None:
            chosen[Fragment.VECTORS] = decision.vectors
        return _with_state(chosen, hidden)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Draw actions from the policy, and return them with their log-probabilities."""
        outputs, hidden = self.evaluate(batch)
        mask = batch[Columns.OBS][Fragment.ACTION_MASK]
        scores, distributions = self.actor.parts(outputs)
        actions, log_probabilities = sample_actions(scores, mask)
        chosen = {Columns.ACTIONS: actions, Columns.ACTION_LOGP: log_probabilities}
        if self.model_config.get("records_logits", False):
            inputs = [scores.masked_fill(~mask, MASKED), outputs[..., scores.shape[-1] :]]
            chosen[Columns.ACTION_DIST_INPUTS] = torch.cat(inputs, dim=-1)
        if distributions is not None:
            decides = has_choice(mask, vectors=True)
            some = BetaVectors(*(part[decides] for part in distributions))
            vectors = torch.full_like(distributions.alpha, ABSENT)
            vectors[decides] = some.sample()
            vectors.masked_fill_(self.actor.fixed_numbers, ABSENT)
            log_probabilities[decides] += some.log_probabilities(vectors[decides])
            chosen[Fragment.VECTORS] = vectors
        return _with_state(chosen, hidden)


class ValueModule(JointModule, InferenceOnlyAPI):
    """Take the actor's outputs as values of actions: choose the best, explore at random.

    A subclass has the option ``epsilon``, the share of random actions or its schedule.
    """

    def setup(self) -> None:
        """Build the actor."""
        super().setup()
        self.epsilon = Scheduler(self.model_config["epsilon"])

    def _forward_inference(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Choose the best legal action for each agent."""
        values, hidden = self.evaluate(batch)
        actions = greedy(values, batch[Columns.OBS][Fragment.ACTION_MASK])
        return _with_state({Columns.ACTIONS: actions}, hidden)

    def _forward_exploration(self, batch: dict[str, Any], t: int = 0, **_: Any) -> dict[str, Any]:
        """Choose each agent's best legal action or, with probability epsilon, a random one."""
        values, hidden = self.evaluate(batch)
        actions = self.explored(values, batch[Columns.OBS][Fragment.ACTION_MASK], t)
        return _with_state({Columns.ACTIONS: actions}, hidden)

    def explored(self, values: Tensor, action_mask: Tensor, t: int) -> Tensor:
        """Return the best legal actions ``[...]`` or, with probability epsilon, random ones.

        Args:
            values: ``[..., A]``.
            action_mask: ``[..., A]`` bool.
            t: environment steps sampled so far.
        """
        best = greedy(values, action_mask)
        # Uniform numbers in [1, 2) for legal actions, in [0, 1) for all others.
        random = (torch.rand(action_mask.shape) + action_mask).argmax(-1)
        explore = torch.rand(best.shape) < self.epsilon.update(t)
        explore &= action_mask.any(-1)  # some agents have fewer actions: none may be theirs
        return torch.where(explore, random, best)


def _with_state(outputs: dict[str, Tensor], hidden: Tensor | None) -> dict[str, Tensor]:
    return outputs if hidden is None else {**outputs, Columns.STATE_OUT: hidden}
