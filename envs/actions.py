"""Describe the actions of an environment's agents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edge_marl.errors import InputError

Bounds: TypeAlias = tuple[float, float]


class ActionSpec(NamedTuple):
    """Describe the actions of the agents of a :class:`edge_marl.envs.batched.BatchedEnv`.

    An action is a choice, numbered from 0, and a vector. Whoever has only one or the other has one
    choice, or a vector of no numbers. This is the one place that says so: all code that needs to
    know what an action is asks here.

    The numbers of a vector are shares of the way through their bounds, so that they lie in [0, 1]
    everywhere but in the environment and where an actor is exported.
    """

    n: int
    """A, of the agent with most choices; the others' masks close what they do not have."""
    boxes: tuple[tuple[Bounds, ...], ...] = ()
    """``[N, d]``: bounds of the numbers of each agent's vector, alike behind the last of an agent
    that has fewer; empty if none has any."""

    @property
    def vector_size(self) -> int:
        """Return d."""
        return len(self.boxes[0]) if self.boxes else 0

    @classmethod
    def of_space(cls, space: spaces.Space[Any], agent: str) -> ActionSpec:
        """Read the action space of one agent.

        Raises:
            InputError: for anything but a ``Discrete``, a bounded ``Box``, or a ``Dict`` or
                ``Tuple`` of one of each.
        """
        parts = _parts(space)
        choices = [part for part in parts if isinstance(part, spaces.Discrete)]
        boxes = [part for part in parts if isinstance(part, spaces.Box)]
        if len(choices) + len(boxes) < len(parts) or len(choices) > 1 or len(boxes) > 1:
            raise InputError(
                f"action space of {agent}: expected Discrete, Box or one of each, found {space}"
            )
        n = int(choices[0].n) if choices else 1
        if not boxes:
            return cls(n)
        box = boxes[0]
        if not box.is_bounded() or not np.issubdtype(box.dtype, np.floating):
            raise InputError(
                f"action space of {agent}: expected a Box of bounded floats, found {box}"
            )
        return cls(
            n, (tuple(zip(box.low.ravel().tolist(), box.high.ravel().tolist(), strict=True)),)
        )

    @classmethod
    def of_agents(cls, specs: Iterable[ActionSpec]) -> ActionSpec:
        """Return the specification that has room for the actions of each of several agents."""
        specs = list(specs)
        d = max(spec.vector_size for spec in specs)
        boxes = [(spec.boxes or ((),))[0] for spec in specs]
        filled = tuple(box + ((0.0, 0.0),) * (d - len(box)) for box in boxes)
        return cls(max(spec.n for spec in specs), filled if d else ())

    def joint_space(self, n_agents: int) -> spaces.Space[Any]:
        """Return the space of the actions of all agents together."""
        choices = spaces.MultiDiscrete([self.n] * n_agents)
        if not self.boxes:
            return choices
        vectors = spaces.Box(0.0, 1.0, (n_agents, self.vector_size))
        return spaces.Dict({"choices": choices, "vectors": vectors})


def _parts(space: spaces.Space[Any]) -> tuple[spaces.Space[Any], ...]:
    """Return the spaces that a space of actions consists of."""
    if isinstance(space, spaces.Dict):
        return tuple(space.spaces.values())
    return space.spaces if isinstance(space, spaces.Tuple) else (space,)


def native_action(space: spaces.Space[Any], choice: int, vector: NDArray[np.floating[Any]]) -> Any:
    """Return an agent's action as its environment takes it.

    Args:
        space: of the agent's actions, one that :meth:`ActionSpec.of_space` reads.
        choice: numbered from 0.
        vector: ``[d]`` shares of the way through the bounds, perhaps more of them than the agent's.
    """
    if isinstance(space, spaces.Discrete):
        return int(space.start) + choice
    if isinstance(space, spaces.Dict):
        return {name: native_action(part, choice, vector) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(native_action(part, choice, vector) for part in space.spaces)
    assert isinstance(space, spaces.Box)
    shares = vector[: space.low.size].reshape(space.shape)
    inside = np.clip(space.low + shares * (space.high - space.low), space.low, space.high)
    return inside.astype(space.dtype)
