"""Twenty edge nodes that offload tasks to one another: a stand-in to measure speed with.

It has the sizes of the O2O-DRL paper's environment (sections IV-B and V-A, parameters of V-A): 20
nodes, 100 slots of 0.5 s, 21 actions, 65 numbers observed. Its physics is only roughly the
paper's: waiting work is counted in seconds, and a task's outcome is known when it is sent.
Nothing should be learned from a policy trained here.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numba import njit
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from edge_marl.envs.batched import BatchedObservation, BatchedTransition, BoolArray
from edge_marl.errors import InputError
from edge_marl.random_stream import uniform

NAME = "offloading_stand_in"
NODES = 20
N_FEATURES = 4 + 2 * (NODES - 1) + 3 + NODES
"""Of a node (section IV-B1): arrival probability, failure rate, capacity, execution queue (4);
receiving queue of and transmission rate to each other node; size, complexity and deadline of the
task (3); one-hot index of the node (section IV-C2)."""
N_ACTIONS = NODES + 1
"""The node to send the task to, or none when no task has arrived (section IV-B2)."""
SLOTS = 100
SLOT_S = 0.5
DEADLINE_S = 4.0

_QUEUE, _TASK, _INDEX = 3, 4 + 2 * (NODES - 1), 4 + 2 * (NODES - 1) + 3
_CYCLES_PER_KB_BIT = 8000.0
_DRAWS = 8 * NODES + NODES * NODES  # counters per slot, the first of them for the network


@njit(cache=True)
def _start(where, seeds, episodes):  # type: ignore[no-untyped-def]
    """Draw the network of every episode that starts, and its first tasks."""
    network, rates, queue_s, link_s, _, slot, done, features, _ = episodes
    for b in np.flatnonzero(where):
        slot[b], done[b] = 0, False
        queue_s[b], link_s[b], features[b] = 0.0, 0.0, 0.0
        for i in range(NODES):
            network[b, i, 0] = uniform(seeds[b], 4 * i)
            network[b, i, 1] = 0.1 * uniform(seeds[b], 4 * i + 1)
            cores = max(4.0, 4.0 * math.floor(9.0 * uniform(seeds[b], 4 * i + 2)))
            network[b, i, 2] = 3e9 * cores
            features[b, i, 0] = network[b, i, 0]
            features[b, i, 1] = network[b, i, 1] / 0.1
            features[b, i, 2] = cores / 32.0
            features[b, i, _INDEX + i] = 1.0
            k = 4 + NODES - 1
            for j in range(NODES):
                mb_per_s = 10.0 + 30.0 * uniform(seeds[b], 8 * NODES + NODES * i + j)
                rates[b, i, j] = mb_per_s
                if j != i:
                    features[b, i, k] = mb_per_s / 40.0
                    k += 1
        _arrive(b, seeds, episodes)


@njit(cache=True, inline="always")
def _arrive(b, seeds, episodes):  # type: ignore[no-untyped-def]
    """Draw the tasks of a slot; write what each node sees and may do."""
    network, _, queue_s, link_s, task, slot, _, features, mask = episodes
    counter = _DRAWS * (slot[b] + 1)
    for i in range(NODES):
        arrived = uniform(seeds[b], counter + 4 * i) < network[b, i, 0]
        size = complexity = 0.0
        if arrived:
            size = 1000.0 + 7000.0 * uniform(seeds[b], counter + 4 * i + 1)
            complexity = 800.0 + 1600.0 * uniform(seeds[b], counter + 4 * i + 2)
        task[b, i, 0], task[b, i, 1] = size, complexity
        features[b, i, _TASK] = size / 8000.0
        features[b, i, _TASK + 1] = complexity / 2400.0
        features[b, i, _TASK + 2] = 1.0 if arrived else 0.0
        features[b, i, _QUEUE] = min(queue_s[b, i] / DEADLINE_S, 1.0)
        k = 4
        for j in range(NODES):
            mask[b, i, j] = arrived and (j == i or queue_s[b, j] < DEADLINE_S)
            if j != i:
                features[b, i, k] = min(link_s[b, j, i] / DEADLINE_S, 1.0)
                k += 1
        mask[b, i, NODES] = not arrived


@njit(cache=True)
def _play(actions, seeds, episodes, reward):  # type: ignore[no-untyped-def]
    """One slot of every episode under way; returns where an illegal action is, or -1."""
    network, rates, queue_s, link_s, task, slot, done, _, mask = episodes
    for b in range(len(done)):
        reward[b] = 0.0
        if done[b]:
            continue
        feedback = 0.0
        for i in range(NODES):
            j = actions[b, i]
            if j < 0 or j > NODES or not mask[b, i, j]:
                return b * NODES + i
            if j == NODES:
                continue
            compute_s = task[b, i, 0] * task[b, i, 1] * _CYCLES_PER_KB_BIT / network[b, j, 2]
            arrival_s = 0.0
            if j != i:
                link_s[b, i, j] += task[b, i, 0] / 1000.0 / rates[b, i, j]
                arrival_s = link_s[b, i, j]
            queue_s[b, j] = max(queue_s[b, j], arrival_s) + compute_s
            survives = uniform(seeds[b], _DRAWS * (slot[b] + 1) + 4 * i + 3) < math.exp(
                -network[b, j, 1] * compute_s
            )
            feedback += 1.0 if survives and queue_s[b, j] <= DEADLINE_S else -1.0
        reward[b] = feedback
        for i in range(NODES):
            queue_s[b, i] = max(queue_s[b, i] - SLOT_S, 0.0)
            for j in range(NODES):
                link_s[b, i, j] = max(link_s[b, i, j] - SLOT_S, 0.0)
        slot[b] += 1
        done[b] = slot[b] == SLOTS
        _arrive(b, seeds, episodes)
    return -1


class StandInBatch:
    """B episodes as a :class:`edge_marl.envs.batched.BatchedEnv`; all are truncated at the end.

    The state is all observations; the reward of a node is the team's feedback (section IV-B3).
    """

    agents = tuple(f"node_{i}" for i in range(NODES))
    observation_shape = (N_FEATURES,)
    n_actions = N_ACTIONS
    state_size = NODES * N_FEATURES

    def __init__(self, batch_size: int) -> None:
        B, N = batch_size, NODES
        self.batch_size = B
        self._seeds = np.zeros(B, dtype=np.int64)
        self._arrays = (
            np.zeros((B, N, 3)),  # arrival probability, failure rate (1/s), capacity (cycles/s)
            np.zeros((B, N, N)),  # transmission rate, MB/s
            np.zeros((B, N)),  # work waiting for execution, s
            np.zeros((B, N, N)),  # work waiting on each link, s
            np.zeros((B, N, 2)),  # task: size (KB), complexity (cycles/bit)
            np.zeros(B, dtype=np.int64),  # slot
            np.ones(B, dtype=np.bool_),  # done
            np.zeros((B, N, N_FEATURES), dtype=np.float32),
            np.zeros((B, N, N_ACTIONS), dtype=np.bool_),
        )
        *_, self._done, features, mask = self._arrays
        self._observation = BatchedObservation(
            features, mask, features.reshape(B, -1), np.zeros((B, N), dtype=np.bool_)
        )
        self._feedback = np.zeros(B, dtype=np.float32)
        self._truncated = np.zeros((B, N), dtype=np.bool_)
        self._terminated = np.zeros((B, N), dtype=np.bool_)

    @property
    def done(self) -> BoolArray:
        """``[B]``: episodes that are over."""
        return self._done

    def reset(self, seeds: NDArray[np.int64], where: BoolArray | None = None) -> BatchedObservation:
        """Start episodes anew, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        if where is None:
            where = np.ones(self.batch_size, dtype=np.bool_)
        self._seeds[where] = seeds[where]
        _start(where, self._seeds, self._arrays)
        self._observation.active[where] = True
        return self._observation

    def step(self, actions: NDArray[np.integer[Any]]) -> BatchedTransition:
        """Play one slot, see :class:`edge_marl.envs.batched.BatchedEnv`."""
        over = self._done.copy()
        illegal = _play(actions, self._seeds, self._arrays, self._feedback)
        if illegal >= 0:
            b, i = divmod(illegal, NODES)
            raise InputError(
                f"{NAME}: action of {self.agents[i]} in episode {b}: expected a legal one, "
                f"found {actions[b, i]}"
            )
        self._truncated[:] = (self._done & ~over)[:, None]
        reward = np.repeat(self._feedback[:, None], NODES, axis=1)
        return BatchedTransition(self._observation, reward, self._terminated, self._truncated)

    def metrics(self, where: BoolArray) -> dict[str, NDArray[np.float64]]:
        """None: only its speed is of interest."""
        return {}

    def get_state(self) -> Any:
        """Copies of all arrays."""
        return [array.copy() for array in self._everything]

    def set_state(self, state: Any) -> None:
        """Go on where ``state`` was taken."""
        for array, kept in zip(self._everything, state, strict=True):
            array[:] = kept

    @property
    def _everything(self) -> tuple[NDArray[Any], ...]:
        return self._seeds, *self._arrays, self._observation.active


class StandInEnv(ParallelEnv[str, dict[str, NDArray[Any]], int]):
    """One episode of :class:`StandInBatch` as PettingZoo shows it."""

    metadata: ClassVar[dict[str, Any]] = {"name": NAME, "is_parallelizable": True}

    def __init__(self, seed: int = 0) -> None:
        self._batch = StandInBatch(1)
        self.possible_agents = list(self._batch.agents)
        self.agents: list[str] = []
        seen = spaces.Dict(
            {
                "observation": spaces.Box(0.0, 1.0, (N_FEATURES,), np.float32),
                "action_mask": spaces.Box(0, 1, (N_ACTIONS,), np.int8),
            }
        )
        self.observation_spaces = dict.fromkeys(self.possible_agents, seen)
        self.action_spaces: dict[str, spaces.Space[Any]] = {
            agent: spaces.Discrete(N_ACTIONS) for agent in self.possible_agents
        }
        self._seed = seed - 1

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """Space of an agent's actions."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Start the episode of ``seed``, or of the seed after the last one's."""
        self._seed = self._seed + 1 if seed is None else seed
        self._batch.reset(np.array([self._seed], dtype=np.int64))
        self.agents = list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        """Play one slot with the actions of all nodes."""
        chosen = np.array([[actions[agent] for agent in self.possible_agents]], dtype=np.int64)
        transition = self._batch.step(chosen)
        over = bool(self._batch.done[0])
        if over:
            self.agents = []
        return (
            self._seen(),
            dict.fromkeys(self.possible_agents, float(transition.reward[0, 0])),
            dict.fromkeys(self.possible_agents, False),
            dict.fromkeys(self.possible_agents, over),
            {agent: {} for agent in self.possible_agents},
        )

    def _seen(self) -> dict[str, dict[str, NDArray[Any]]]:
        features = self._batch._observation.features[0].copy()
        mask = self._batch._observation.action_mask[0].astype(np.int8)
        return {
            agent: {"observation": features[i], "action_mask": mask[i]}
            for i, agent in enumerate(self.possible_agents)
        }


def parallel_env(seed: int = 0) -> StandInEnv:
    """One episode at a time, as stock RLlib steps it; ``seed`` starts the first one."""
    return StandInEnv(seed)


def batched_env(batch_size: int) -> StandInBatch:
    """B episodes at a time."""
    return StandInBatch(batch_size)
