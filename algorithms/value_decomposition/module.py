"""Define the module of value decomposition: action values, the mixer, and targets of both."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from torch import Tensor, nn

from edge_marl.algorithms.actors import chosen_values, greedy
from edge_marl.algorithms.core.module import ValueModule
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.replay.columns import JointTransition
from edge_marl.algorithms.value_decomposition.mixers import QMixer, SumMixer, make_mixer

PREDICTED = "predicted"
"""``[M, L]`` joint values of the actions played, from ``forward_train``."""
TARGET_VALUES = "target_values"
"""``[M, L, N, A]`` action values of observations 1 to L, from ``forward_target``."""
FOLLOWING = "following"
"""``[M, L]`` target networks' joint values of the best actions at observations 1 to L, from
``forward_train``."""


class ValueDecompositionModule(ValueModule, TargetNetworkAPI):
    """Hold an actor whose outputs are action values, and a mixer that only training needs."""

    target_actor: Actor
    target_mixer: SumMixer | QMixer

    def setup(self) -> None:
        """Build actor and mixer."""
        super().setup()
        options, space = self.model_config, self.observation_space
        self.mixer = make_mixer(
            options["mixer"],
            n_agents=space.n_agents,
            state_size=space.state_size,
            embedding=options["mixer_embedding"],
            hypernet=options["mixer_hypernet"],
        )
        # States come in units of their own and hypernetworks multiply them: always standardised.
        self.state_normaliser = RunningMoments((space.state_size,))

    def get_non_inference_attributes(self) -> list[str]:
        """Name the parts that environment runners do without."""
        return ["mixer", "state_normaliser", "target_actor", "target_mixer"]

    # Training ------------------------------------------------------------------------------

    def _forward_train(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Compute ``PREDICTED`` and ``FOLLOWING`` from the columns of ``JointTransition``.

        Args:
            batch: with standardised states, and with what :meth:`forward_target` returns.
        """
        values, selecting = self._values(batch)
        chosen = chosen_values(values, batch[JointTransition.ACTIONS])
        predicted = self.mixer(
            chosen, batch[JointTransition.PRESENT], batch[JointTransition.STATE][:, :-1]
        )
        with torch.no_grad():
            best = greedy(selecting, batch[JointTransition.ACTION_MASK][:, 1:])
            best_values = chosen_values(batch[TARGET_VALUES], best)
            following = self.target_mixer.mix(best_values, batch[JointTransition.REMAINING], batch)
        return {PREDICTED: predicted, FOLLOWING: following}

    def _values(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return two tensors of action values, ``[M, L, N, A]`` each.

        The first holds those of observations 0 to L - 1, the second those of observations 1 to L by
        which the actions to bootstrap from are selected.
        """
        features, mask = batch[JointTransition.FEATURES], batch[JointTransition.ACTION_MASK]
        double_q = self.model_config["double_q"]
        if self.actor.is_recurrent:
            values = self.actor.unroll(
                features, mask, batch[JointTransition.FIRST], batch[JointTransition.HIDDEN]
            )
            return values[:, :-1], values[:, 1:].detach() if double_q else batch[TARGET_VALUES]
        values, _ = self.actor(features[:, :-1], mask[:, :-1])
        if not double_q:
            return values, batch[TARGET_VALUES]
        with torch.no_grad():
            # A pass of its own: together with the first, it would cost a backward pass too.
            return values, self.actor(features[:, 1:], mask[:, 1:])[0]

    def make_target_networks(self) -> None:
        """Create the target networks; the learner calls this once."""
        self.target_actor = make_target_network(self.actor)
        self.target_mixer = make_target_network(self.mixer)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return pairs of a network that learns and the target network that follows it."""
        return [(self.actor, self.target_actor), (self.mixer, self.target_mixer)]

    @torch.no_grad()
    def forward_target(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return ``TARGET_VALUES`` and the weights to mix them, which depend on the state alone."""
        features, mask = batch[JointTransition.FEATURES], batch[JointTransition.ACTION_MASK]
        if self.actor.is_recurrent:
            first, hidden = batch[JointTransition.FIRST], batch[JointTransition.HIDDEN]
            values = self.target_actor.unroll(features, mask, first, hidden)[:, 1:]
        else:
            values, _ = self.target_actor(features[:, 1:], mask[:, 1:])
        return {
            TARGET_VALUES: values,
            **self.target_mixer.weights(batch[JointTransition.STATE][:, 1:]),
        }
