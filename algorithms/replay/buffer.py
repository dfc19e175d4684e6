"""Keep fragments in a replay buffer, and sample joint transitions or whole sequences from it.

A row of the ring is a fragment: T steps one after another and T + 1 observations, so that what
follows step t is always at t + 1. All samples have one form, L steps and L + 1 observations:
L = T for sequences, and L = 1 for single transitions, whose second observation is then the one to
bootstrap from, up to n steps on. One loss serves both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.algorithms.replay.columns import JointTransition
from edge_marl.algorithms.replay.sum_tree import SumTree
from edge_marl.algorithms.sampling.columns import Fragment
from edge_marl.errors import InputError
from edge_marl.memory import check_memory

Array = NDArray[Any]
Columns = dict[str, Array]
TeamReward = Literal["sum", "shared"]

_OBSERVED = ("features", "action_mask", "state")
_SMALLEST_ERROR = 1e-6  # a step whose error is 0 stays drawable


def team_rewards(rewards: Array, present: Array, kind: TeamReward) -> Array:
    """Return one reward ``[...]`` of the team from the agents' ``rewards [..., N]``.

    Args:
        rewards: of each agent.
        present: bool ``[..., N]``, agents that played.
        kind: ``sum`` of the agents' rewards, or ``shared``: each agent was given the team's.
    """
    total = (rewards * present).sum(-1, dtype=np.float32)
    return total if kind == "sum" else total / np.maximum(present.sum(-1), 1, dtype=np.float32)


def n_step_returns(
    rewards: Array,
    elapsed: Array,
    ends: Array,
    rows: Array,
    steps: Array,
    *,
    gamma: float,
    n_step: int,
) -> tuple[Array, Array, Array]:
    """Sum up to n discounted rewards, fewer where the episode or the fragment ends before.

    Args:
        rewards: ``[R, T]`` of the team.
        elapsed: ``[R, T]`` how often the discount applies in a step.
        ends: bool ``[R, T]``, steps after which nothing more follows in the row; T - 1 is one.
        rows: ``[...]`` rows of the steps to start at.
        steps: ``[...]`` these steps.
        gamma: discount.
        n_step: n.

    Returns:
        the sums ``[...]``, the last step of each ``[...]``, and the discount ``[...]`` of what
        follows it.
    """
    returns = rewards[rows, steps].astype(np.float32)
    passed = elapsed[rows, steps].astype(np.float64)
    last = steps.copy()
    for _ in range(1, n_step):
        goes_on = ~ends[rows, last]
        last += goes_on
        returns += (gamma**passed).astype(np.float32) * rewards[rows, last] * goes_on
        passed += elapsed[rows, last] * goes_on
    return returns, last, (gamma**passed).astype(np.float32)


class FragmentBuffer:
    """Keep the last fragments in a ring, in which new ones replace the oldest.

    Draws are uniform over the steps that were played (over fragments for sequences), or, with
    ``alpha`` above 0, prioritised by the last known error to the power of alpha with importance
    weights (Schaul et al., 2016, section 3). New steps get the highest priority so far. The ring
    has a random generator of its own and takes memory only as it fills.

    Args:
        capacity: environment steps to hold, rounded down to whole fragments.
        seed: of the draws.
        sequences: draw whole fragments instead of single transitions.
        alpha: 0 for uniform draws.
        team_reward: see :func:`team_rewards`.
    """

    def __init__(
        self,
        capacity: int,
        *,
        seed: int,
        sequences: bool = False,
        alpha: float = 0.0,
        team_reward: TeamReward = "sum",
    ) -> None:
        self._capacity = capacity
        self._rng = np.random.default_rng(seed)
        self._sequences = sequences
        self._alpha = alpha
        self._team_reward: TeamReward = team_reward
        self._ring: Columns = {}
        self._tree: SumTree | None = None
        self._next = 0  # row to write next
        self._size = 0  # rows filled
        self._highest = 1.0  # priority, before alpha

    @property
    def n_steps(self) -> int:
        """Return the number of environment steps held."""
        return int(self._ring["played"][: self._size].sum()) if self._ring else 0

    @property
    def step_bytes(self) -> int:
        """Return the bytes of what is observed in a step; the buffer must hold something."""
        return sum(self._ring[name][0, 0].nbytes for name in _OBSERVED)

    def add(self, fragments: Mapping[str, Array]) -> None:
        """Take in B fragments, in the columns that the environment runners return.

        Raises:
            InputError: if the ring is shorter than one fragment, or holds other shapes or types.
        """
        new = self._compact(fragments)
        if not self._ring:
            self._allocate(new)
        n_rows, T = self._ring["played"].shape
        for name, column in new.items():
            ring = self._ring[name]
            if (ring.shape[1:], ring.dtype) != (column.shape[1:], column.dtype):
                raise InputError(
                    f"replay: {name}: expected {ring.dtype} of shape {ring.shape[1:]} as it holds "
                    f"already, found {column.dtype} of shape {column.shape[1:]}"
                )
        new = {name: column[-n_rows:] for name, column in new.items()}
        B = len(new["played"])
        rows = (self._next + np.arange(B)) % n_rows
        for name, column in new.items():
            self._ring[name][rows] = column
        self._next = int(self._next + B) % n_rows
        self._size = min(self._size + B, n_rows)
        if self._tree is None:
            return
        if self._sequences:
            slots, drawable = rows, new["played"].any(1)
        else:
            slots, drawable = (rows[:, None] * T + np.arange(T)).ravel(), new["played"].ravel()
        self._tree.assign(slots, self._highest**self._alpha * drawable)

    def sample(
        self, n_batches: int, batch_size: int, *, gamma: float, n_step: int, beta: float = 0.0
    ) -> Columns:
        """Sample, with replacement, what several updates learn from; a step at least must be held.

        Args:
            n_batches: K updates.
            batch_size: transitions, or sequences, of each.
            gamma: discount, once per step or as often as the fragments say.
            n_step: longest number of steps to sum rewards over.
            beta: strength of the correction of prioritised draws, 1 for a full one.

        Returns:
            the columns of :class:`JointTransition`, ``M = K * batch_size`` rows, one update's
            after the other's.
        """
        if self._tree is None:
            slots = self._sample_uniformly(n_batches * batch_size)
            correction = np.ones(len(slots), dtype=np.float32)
        else:
            slots, correction = self._sample_by_priority(n_batches, batch_size, beta)
        ring, T = self._ring, self._ring["played"].shape[1]
        if self._sequences:
            rows, steps = np.broadcast_arrays(slots[:, None], np.arange(T))
        else:
            rows, steps = (slots // T)[:, None], (slots % T)[:, None]
        returns, last, discounts = n_step_returns(
            ring["rewards"], ring["elapsed"], ring["ends"], rows, steps, gamma=gamma, n_step=n_step
        )
        bootstrapped = ring["remaining"][rows, last].any(-1)
        sampled = {
            JointTransition.ACTIONS: ring["actions"][rows, steps].astype(np.int64),
            JointTransition.PRESENT: ring["present"][rows, steps],
            JointTransition.RETURNS: returns,
            JointTransition.DISCOUNTS: discounts * bootstrapped,
            JointTransition.WEIGHTS: correction[:, None] * ring["played"][rows, steps],
            JointTransition.SLOT: slots,
        }
        if self._sequences:
            sampled |= {name: ring[name][slots] for name in (*_OBSERVED, JointTransition.FIRST)}
            sampled |= {
                JointTransition.BOOTSTRAP: last,
                JointTransition.REMAINING: ring["remaining"][slots],
                JointTransition.HIDDEN: ring["hidden"][slots],
            }
        else:
            # Observations counted through the ring: the one at the step, the one to bootstrap from.
            seen = rows * (T + 1) + np.concatenate([steps, last + 1], axis=1)
            for name in _OBSERVED:
                n_rows, _, *shape = ring[name].shape
                one_by_one = ring[name].reshape(n_rows * (T + 1), *shape)
                sampled[name] = one_by_one.take(seen, axis=0)
            sampled |= {
                JointTransition.BOOTSTRAP: np.zeros_like(last),
                JointTransition.REMAINING: ring["remaining"][rows, last],
            }
        return sampled

    def update_priorities(self, slots: Array, errors: Array) -> None:
        """Set the priorities of the sampled ``slots [M]`` by their absolute ``errors [M]``."""
        if self._tree is None:
            return
        priorities = errors.astype(np.float64) + _SMALLEST_ERROR
        self._highest = max(self._highest, float(priorities.max()))
        self._tree.assign(slots, priorities**self._alpha)

    def get_state(self) -> dict[str, Any]:
        """Return everything needed to continue with the same draws."""
        return {
            "layout": self._layout,
            "ring": {name: column[: self._size].copy() for name, column in self._ring.items()},
            "priorities": None if self._tree is None else self._tree.priorities.copy(),
            "alpha": self._alpha,
            "highest": self._highest,
            "next": self._next,
            "n_rows": len(self._ring["played"]) if self._ring else 0,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`get_state` returned.

        A smaller capacity keeps the latest of what was held.

        Raises:
            InputError: if that was a replay with other options.
        """
        for name, expected in self._layout.items():
            if (found := state["layout"].get(name)) != expected:
                raise InputError(f"{name}: expected {found!r}, as in the checkpoint's replay, "
                                 f"found {expected!r}")  # fmt: skip
        self._rng.bit_generator.state = state["rng"]
        self._ring, self._tree, self._next, self._size = {}, None, 0, 0
        self._highest = state["highest"]
        held = state["ring"]
        if not held:
            return
        # The oldest first: where there is room for fewer they are the ones to go.
        n_held, T = held["played"].shape
        oldest = state["next"] if n_held == state["n_rows"] else 0
        order = np.roll(np.arange(n_held), -oldest)
        self._allocate(held)
        n_rows = len(self._ring["played"])
        kept = order[-n_rows:]
        if n_rows == state["n_rows"]:
            kept, self._next = np.arange(n_held), state["next"]
        else:
            self._next = len(kept) % n_rows
        self._size = len(kept)
        for name, column in held.items():
            self._ring[name][: self._size] = column[kept]
        if self._tree is None:
            return
        per_row = 1 if self._sequences else T
        drawable = held["played"].any(1) if self._sequences else held["played"]
        priorities = self._highest**self._alpha * drawable
        if state["priorities"] is not None:
            changed = self._alpha / state["alpha"]
            priorities = state["priorities"][: n_held * per_row] ** changed
        priorities = priorities.reshape(n_held, per_row)[kept].ravel()
        self._tree.assign(np.arange(len(priorities)), priorities)

    @property
    def _layout(self) -> dict[str, Any]:
        return {
            "sequences": self._sequences,
            "team_reward": self._team_reward,
        }

    def _compact(self, fragments: Mapping[str, Array]) -> Columns:
        """Return the columns of the ring: what draws need of the fragments, and no more."""
        T = fragments[Fragment.VALID].shape[1]
        played = fragments[Fragment.VALID]
        active, terminated = fragments[Fragment.ACTIVE], fragments[Fragment.TERMINATED]
        present = active[:, :T] & played[..., None]
        cut_off = present & fragments[Fragment.TRUNCATED]
        ends = np.ones_like(played)
        ends[:, :-1] = ~played[:, 1:]
        columns = {
            JointTransition.FEATURES: fragments[Fragment.FEATURES],
            JointTransition.ACTION_MASK: fragments[Fragment.ACTION_MASK],
            JointTransition.STATE: fragments[Fragment.STATE],
            JointTransition.ACTIONS: fragments[Fragment.ACTIONS].astype(
                np.int16 if fragments[Fragment.ACTION_MASK].shape[-1] <= 2**15 else np.int32
            ),
            JointTransition.PRESENT: present,
            # Whoever acts next has a future, be it that it has just arrived, and so has whoever
            # was cut off.
            JointTransition.REMAINING: (active[:, 1:] & played[..., None] | cut_off) & ~terminated,
            "rewards": team_rewards(fragments[Fragment.REWARDS], present, self._team_reward),
            "elapsed": fragments.get(Fragment.ELAPSED, np.ones(played.shape, np.float32)),
            "played": played,
            "ends": ends,
        }
        if self._sequences:
            columns |= {name: fragments[name] for name in (Fragment.FIRST, Fragment.HIDDEN)}
        return columns

    def _allocate(self, like: Columns) -> None:
        T = like["played"].shape[1]
        n_rows = self._capacity // T
        if n_rows == 0:
            raise InputError(
                f"replay_capacity: expected at least one fragment of {T} steps, "
                f"found {self._capacity}"
            )
        per_row = sum(math.prod(c.shape[1:]) * c.dtype.itemsize for c in like.values())
        check_memory(float(n_rows) * per_row, f"the replay of {n_rows * T} steps (replay_capacity)")
        self._ring = {
            name: np.zeros((n_rows, *column.shape[1:]), column.dtype)
            for name, column in like.items()
        }
        if self._alpha > 0:
            self._tree = SumTree(n_rows if self._sequences else n_rows * T)

    def _sample_uniformly(self, n: int) -> Array:
        if self._sequences:
            return self._rng.integers(self._size, size=n)
        played = self._ring["played"][: self._size].ravel()
        slots = self._rng.integers(len(played), size=n)
        while not (accepted := played[slots]).all():
            slots[~accepted] = self._rng.integers(len(played), size=int((~accepted).sum()))
        return slots

    def _sample_by_priority(self, K: int, batch_size: int, beta: float) -> tuple[Array, Array]:
        """Draw slots by priority; return them and importance weights, ``[K * batch_size]`` each."""
        assert self._tree is not None
        # One draw from each of batch_size equal parts of the total, for every update.
        shares = (np.arange(batch_size) + self._rng.random((K, batch_size))) / batch_size
        slots = self._tree.find(shares.ravel())
        priorities = self._tree.priorities[slots].reshape(K, batch_size)
        # (n P)^-beta over its largest value in the batch, from which n and the total cancel.
        weights = (priorities / priorities.min(axis=1, keepdims=True)) ** -beta
        return slots, weights.ravel().astype(np.float32)
