"""Hold a block of agents with networks of their own, each of which learns alone.

Nothing that one agent learns depends, to the last bit, on which others are in its block: what
decides on the order of sums is the same in every block, and each agent draws from its own stream.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import Tensor, nn

from edge_marl.algorithms.core.algorithm import JointAlgorithm
from edge_marl.algorithms.core.learner import DivergenceError, JointLearner
from edge_marl.algorithms.core.optimiser import rows_by_group
from edge_marl.errors import InputError

_BLOCK = "block"


class Block:
    """Hold the weights, optimisers and random streams of G agents.

    Args:
        networks: by name, with a parameter set of each agent.
        seeds: of each agent's stream.
    """

    def __init__(self, networks: Mapping[str, nn.Module], seeds: Sequence[int]) -> None:
        self.seeds = seeds
        self.n_agents = len(seeds)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights: dict[str, Tensor] = {}
        """``[G, P]`` of each network."""
        self._gradients: dict[str, Tensor] = {}
        self._optimisers: dict[str, torch.optim.Adam] = {}
        for name, network in networks.items():
            weights, gradients = rows_by_group([*network.parameters()])
            self.weights[name], self._gradients[name] = weights, gradients
            rows = [nn.Parameter(row) for row in weights]  # one each: Adam counts steps by agent
            self._optimisers[name] = torch.optim.Adam(rows, fused=True)
        self._anchors: dict[str, Tensor] = {}

    def anchor(self, name: str, weights: Tensor) -> None:
        """Keep a network near these weights ``[G, P]``, as the proximal term asks for."""
        self._anchors[name] = weights.clone()

    def gradient_step(
        self,
        loss: Tensor,
        present: Tensor,
        *,
        lr: Mapping[str, float],
        grad_clip: float | None,
        proximal: float = 0.0,
    ) -> Tensor:
        """Make one gradient step of some agents; the others' weights and moments stay as they are.

        Args:
            loss: the sum of the agents' losses.
            present: bool ``[G]``: who makes a step.
            lr: of each network that makes one.
            grad_clip: largest norm of an agent's gradient, of all these networks together.
            proximal: ``mu`` of the FAuNO paper's equation 21, which keeps networks near what
                :meth:`anchor` was given.

        Returns:
            The mean norm of the gradients of those who make a step.

        Raises:
            DivergenceError: for gradients that are not finite.
        """
        for gradients in self._gradients.values():
            gradients.zero_()
        loss.backward()
        if proximal:
            for name, anchor in self._anchors.items():
                self._gradients[name].add_(self.weights[name] - anchor, alpha=proximal)
        moved = [self._gradients[name] for name in lr]
        norms = torch.stack([g.square().sum(1) for g in moved]).sum(0).sqrt()
        if not torch.isfinite(norms).all():
            raise DivergenceError("the gradient is not finite")
        if grad_clip is not None:
            scales = (grad_clip / norms.clamp(min=1e-12)).clamp(max=1.0)
            for gradients in moved:
                gradients.mul_(scales[:, None])
        for name, rate in lr.items():
            optimiser = self._optimisers[name]
            (group,) = optimiser.param_groups
            group["lr"] = rate
            for row, gradient, there in zip(
                group["params"], self._gradients[name], present.tolist(), strict=True
            ):
                row.grad = gradient if there else None
            optimiser.step()
        return norms[present].mean() if present.any() else norms.sum()

    # Checkpoints ---------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what is not among the weights of the networks: optimisers, streams, anchors."""
        return {
            "optimisers": {
                name: copy.deepcopy(own.state_dict()["state"])
                for name, own in self._optimisers.items()
            },
            "generators": [generator.get_state().numpy() for generator in self.generators],
            "anchors": {name: anchor.numpy() for name, anchor in self._anchors.items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from where ``state`` was taken, with the weights of then."""
        for name, own in self._optimisers.items():
            groups = own.state_dict()["param_groups"]
            own.load_state_dict({"state": state["optimisers"][name], "param_groups": groups})
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(torch.from_numpy(np.asarray(saved)))
        self._anchors = {
            name: torch.from_numpy(np.array(anchor)) for name, anchor in state["anchors"].items()
        }


def check_single_learner(config: Any) -> None:
    """Refuse several learners for agents of which each learns alone.

    Raises:
        InputError: if there are any.
    """
    if config.num_learners > 1:
        raise InputError(
            "num_learners: expected at most 1 for agents that learn alone, "
            f"found {config.num_learners}"
        )


class BlockAlgorithm(JointAlgorithm):
    """Extend an algorithm whose learner is a :class:`BlockLearner`."""

    def save_to_path(self, *args: Any, **kwargs: Any) -> Any:
        """Save a checkpoint, once all that is at work has ended."""
        self._settle()
        return super().save_to_path(*args, **kwargs)

    def restore_from_path(self, *args: Any, **kwargs: Any) -> None:
        """Continue from a checkpoint, once all that is at work has ended."""
        self._settle()
        super().restore_from_path(*args, **kwargs)

    def _settle(self) -> None:
        # RLlib saves and restores parts of a learner one by one: no weight may change meanwhile.
        self.learner_group.foreach_learner(lambda own: own.settle())

    def cleanup(self) -> None:
        """Release all resources."""
        if getattr(self, "learner_group", None) is not None:
            self.learner_group.foreach_learner(lambda own: own.disconnect())
        super().cleanup()


class BlockLearner(JointLearner):
    """Extend a learner: a block of agents has the optimisers."""

    block: Any

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Make a block of all agents."""
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        seeds = torch.randint(2**62, (len(module.actor.spec.agents),)).tolist()
        self.block = self.make_block(module, seeds, config)

    def make_block(self, module: Any, seeds: list[int], config: Any) -> Any:
        """Return what trains the agents of a module, with their seeds."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait for what is at work elsewhere, if anything can be while nobody calls."""

    def disconnect(self) -> None:
        """Release what is elsewhere."""

    def own_state(self) -> dict[str, Any]:
        """Return what is in no component of RLlib's learner."""
        return {_BLOCK: self.block.get_state()}

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return what :meth:`set_state` needs."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        # For weights alone, which runners are sent after every update, nothing else is collected.
        if self._check_component(_BLOCK, components, not_components):
            state |= self.own_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from where ``state`` was taken."""
        super().set_state(state)
        if _BLOCK in state:
            self.block.set_state(state[_BLOCK])
