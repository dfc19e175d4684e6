"""Simulate edge servers that share their tasks and resources (CTO-TP paper).

The paper is known by a summary that names its quantities. What it leaves open was chosen here:
what a grant does, how energy depends on it, when rewards are paid, and all numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.cooperative_offloading import kernels
from edge_marl.cooperative_offloading.observing import n_features, n_of_state
from edge_marl.cooperative_offloading.predictions import PER_SERVER, Predictions
from edge_marl.cooperative_offloading.records import (
    ALLOCATION,
    NOBODY,
    Events,
    Homes,
    Observation,
    Parameters,
    Parts,
    Progress,
    Resources,
    Tasks,
    Workload,
)
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.cooperative_offloading.workload import Generator
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.record_arrays import one_by_one, side_by_side
from edge_marl.simulation import Simulator, Transition

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

Reward = Literal["cost", "saving", "ratio"]
"""What the home of a task is paid.

- ``"cost"``: minus what becomes known in a step of ``lambda L / E[L*] + rho E / E[E*]``. When a
  part asks for a resource, how long it will wait and what it will be granted is known, for what
  waits is served in turn (:mod:`.turns`). So a decision is charged at once with the latency and
  energy that its task will have if helpers, and links back from them, are idle when its parts ask
  for them; and when they do, with what they add to that, or save. The sum over agents and steps is
  minus ``lambda sum L / E[L*] + rho sum E / E[E*]``, the weighted cost of the episode up to the
  expected instead of the drawn demands.
- ``"saving"``: the same, and with each decision what its task costs alone at home, on an idle
  server. That is none of the policy's doing, so that the same policies are best; but it is most of
  what makes tasks differ in their cost, of which some have a hundred times as much as others.
- ``"ratio"``: the paper's, ``lambda L* / L + rho E* / E`` when the task is done. As energy falls
  with the square of the speed, its second term grows without bound for the smallest grants.
"""

Features = Literal["extended", "paper"]

FixedGrants = Literal["full", "proportional"]
"""Who helps is all that is chosen: home and helpers have the same share of the task, and ask for
all that is left, or for ``c / (c + mean)`` of it for a task of c cycles."""
Grants = Literal["chosen"] | FixedGrants


@dataclass
class EpisodeResults:
    """Hold the metrics of the episodes so far, ``[B]`` each; means are NaN without tasks."""

    cost: FloatArray
    """``lambda sum L / sum L* + rho sum E / sum E*`` of completed tasks and what has begun: 1 is
    what all tasks cost alone at home, on idle servers."""
    latency_s: FloatArray
    """Mean over completed tasks."""
    latency_p95_s: FloatArray
    """95th percentile over completed tasks."""
    energy_j: FloatArray
    """Mean over tasks that were decided on."""
    completed: NDArray[np.int64]
    offloaded: FloatArray
    """Share of a task that leaves, mean over tasks."""
    alone: FloatArray
    """Share of the tasks that nobody helped with."""
    waiting_s: FloatArray
    """Time in lines of all parts of a task, mean over tasks."""
    duration_s: FloatArray


METRICS = (
    "cost", "latency_s", "latency_p95_s", "energy_j", "completed", "offloaded", "alone",
    "waiting_s", "duration_s",
)  # fmt: skip
"""Numbers of :class:`EpisodeResults` that are reported of every episode."""


class CooperativeOffloadingSimulator(Simulator[Observation, EpisodeResults]):
    """Play B episodes of M servers with tasks that they may share, decision by decision.

    A task i of home h has ``c`` cycles, memory ``m``, input ``d`` and output ``o``. When it
    arrives, h chooses the set T of other servers that help and an allocation: the share ``beta``
    that leaves, and the shares ``x_c`` and ``x_b`` of compute and bandwidth. The home executes
    ``1 - beta`` of the task, and each helper ``beta / |T|`` of its cycles, memory, input and output
    alike. With T empty, beta is 0.

    A part of a helper sends its input over the link from the home, is executed, and sends its
    output back; the home's part is only executed. Whenever a part needs a resource of capacity R,
    of which r is left, it is granted ``g = max(kappa x r, smallest R)``, but no more than r, and
    holds it until the transmission or execution is over. Where less than ``smallest R``, or than
    its memory, is left, it waits, first come first served. Transmissions of D take ``D / g``, and
    the latency of the link after that, in which no bandwidth is held. Executions of C cycles take
    ``C / g`` and hold the memory.

    - Latency ``L``: from the arrival to the end of the last part, with all waiting.
    - Energy ``E``: power times time of each transmission, and ``kappa_e g^2`` per cycle.
    - ``L* = c / F_h`` and ``E* = kappa_e F_h^2 c``: alone at home, on all of an idle server. Less
      than a whole server is slower and takes less energy.

    A server that fails (:mod:`.outages`) grants nothing until it is repaired, and its executions
    stand still. What has to wait for longer because of outages is charged when its turn comes, and
    what an execution will lose to them when it begins.

    Time is continuous and goes from event to event. Those of one moment happen in the order of
    tasks and their parts, and before an arrival of that moment. A step is one decision; ``elapsed``
    is the time in seconds to the next. An episode has a fixed number of tasks and terminates when
    the last one is done, so that none is left unfinished.

    What arrives does not depend on decisions: the same seed has the same tasks under every policy.

    Actions are choices ``[B, M]``, numbers of rows in :attr:`CooperativeScenario.subsets`, and
    vectors ``[B, M, 3]``, :data:`.records.ALLOCATION`, if grants are chosen. Those of servers other
    than the home of the task that has arrived are ignored.

    Args:
        scenario: what episodes are drawn from.
        batch_size: B.
        reward: see :data:`Reward`.
        features: "paper": own resources, own links and the task; "extended": see
            :class:`.records.Observation`.
        predictor: folder of a predictor, whose predictions are added to the state.
        actors_foresee: whether those of an agent's own next task are also added to its features.
        grants: "chosen", with the actions, or by a rule, see :data:`FixedGrants`.

    Raises:
        InputError: for a batch size below 1, and for a trace or predictor that cannot be read.
    """

    takes_turns = True

    def __init__(
        self,
        scenario: CooperativeScenario,
        batch_size: int,
        *,
        reward: Reward = "cost",
        features: Features = "extended",
        predictor: Path | None = None,
        actors_foresee: bool = False,
        grants: Grants = "chosen",
    ) -> None:
        is_chosen = grants == "chosen"
        super().__init__(batch_size, agents_of(scenario), len(ALLOCATION) if is_chosen else 0)
        self.scenario = scenario
        self._asks_for_all = grants == "full"
        self._allocations = (
            self.vectors if is_chosen else np.zeros((*self.vectors.shape[:2], len(ALLOCATION)))
        )
        extended = features == "extended"
        self.parameters = _parameters(scenario, reward, extended=extended)
        B, M, K = batch_size, scenario.servers, scenario.tasks
        A, T = self.parameters.subsets.shape
        self._n_of_features = n_features(M, extended=extended)
        P, R = K * (1 + T), len(self.parameters.capacity)
        F = self._n_of_features + (PER_SERVER if actors_foresee else 0)
        per_episode = 88.0 * K + 76.0 * P + 44.0 * R + M * (4.0 * F + A + 52.0)
        check_memory(B * per_episode, f"{B} episodes of {K} tasks and {M} servers (tasks, servers)")
        self._generator = Generator(scenario)
        self._predictions = predictor and Predictions(predictor, scenario, batch_size)
        self._n_of_state = n_of_state(M)
        predicted = PER_SERVER * M if self._predictions else 0
        self.workload: Workload = side_by_side(Workload, B, K)
        """What arrives."""
        self.tasks: Tasks = side_by_side(Tasks, B, K)
        """What has become of it."""
        self.parts: Parts = side_by_side(Parts, B, P)
        self.resources: Resources = side_by_side(Resources, B, R)
        self.events = Events(
            moment_s=np.zeros((B, P + M)),
            part=np.zeros((B, P + M), dtype=np.int32),
            n=np.zeros(B, dtype=np.int32),
        )
        self.homes: Homes = one_by_one(Homes, B, M)
        self.progress: Progress = one_by_one(Progress, B)
        self.observation = Observation(
            features=np.zeros((B, M, F), dtype=np.float32),
            action_mask=np.zeros((B, M, A), dtype=np.bool_),
            state=np.zeros((B, self._n_of_state + predicted), dtype=np.float32),
        )
        self.transition = Transition(
            self.observation,
            reward=np.zeros((B, M), dtype=np.float32),
            terminated=np.zeros(B, dtype=np.bool_),
            truncated=np.zeros(B, dtype=np.bool_),
            elapsed=np.zeros(B, dtype=np.float32),
        )

    def _start(self, where: BoolArray) -> None:
        self._generator.draw(where, self.seeds, self.workload)
        kernels.reset_kernel(
            where, self.seeds, self.done, self.parameters, self.workload, self.parts,
            self.resources, self.events, self.homes, self.progress, self.observation,
        )  # fmt: skip
        if self._predictions:
            self._predictions.start(where)
            self._predict(where)

    def _predict(self, where: BoolArray) -> None:
        """Show predictions, after tasks have arrived in the episodes ``where [B]``."""
        assert self._predictions
        self._predictions.arrive(where, self.workload, self.progress)
        expected = self._predictions.expected(self.progress.now_s)
        features, state = self.observation.features, self.observation.state
        state[:, self._n_of_state :] = expected.reshape(len(state), -1)
        if features.shape[2] > self._n_of_features:
            b = np.flatnonzero(where)
            home = self.workload.home[b, self.progress.task[b]]
            features[b, home, self._n_of_features :] = expected[b, home]

    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        A = len(self.parameters.subsets)
        found = kernels.first_illegal(actions, self.done, self.workload, self.progress, A)
        if found >= 0:
            b, home = divmod(found, len(self.agents))
            raise InputError(
                f"action of {self.agents[home]} in episode {b}: expected 0 to {A - 1}, "
                f"found {actions[b, home]}"
            )

    def _advance(self, actions: NDArray[np.int32]) -> None:
        playing = ~self.done
        if not self.vector_size:
            kernels.allocate_kernel(
                self._asks_for_all, actions, self.done, self.parameters, self.workload,
                self.progress, self._allocations,
            )  # fmt: skip
        kernels.step_kernel(
            actions, self._allocations, self.done, self.parameters, self.workload, self.tasks,
            self.parts, self.resources, self.events, self.homes, self.progress, self.transition,
        )  # fmt: skip
        if self._predictions:
            self._predict(playing & ~self.done)

    @property
    def results(self) -> EpisodeResults:
        """Return copies of the metrics of every episode up to now."""
        progress, weight = self.progress, self.scenario.latency_weight
        latency_s = np.where(self._completed, self.tasks.latency_s, np.nan)
        some = progress.n_completed > 0
        p95_s = np.full(self.batch_size, np.nan)
        p95_s[some] = np.nanpercentile(latency_s[some], 95, axis=1)
        with np.errstate(invalid="ignore"):
            return EpisodeResults(
                cost=weight * progress.latency_s / progress.alone_latency_s
                + (1.0 - weight) * progress.energy_j / progress.alone_energy_j,
                latency_s=progress.latency_s / progress.n_completed,
                latency_p95_s=p95_s,
                energy_j=progress.energy_j / progress.task,
                completed=progress.n_completed.astype(np.int64),
                offloaded=progress.offloaded / progress.task,
                alone=progress.n_alone / progress.task,
                waiting_s=progress.waiting_s / progress.task,
                duration_s=progress.now_s.copy(),
            )

    @property
    def _completed(self) -> BoolArray:
        """Return which tasks are done, ``[B, K]``."""
        K = self.scenario.tasks
        decided = np.arange(K) < self.progress.task[:, None]
        completed: BoolArray = decided & (self.tasks.open == 0)
        return completed

    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        records: dict[str, Any] = {
            name: getattr(self, name)._asdict()
            for name in (
                "workload", "tasks", "parts", "resources", "events", "homes", "progress",
                "observation",
            )
        }  # fmt: skip
        if self._predictions:
            records["predictions"] = self._predictions.memory._asdict()
        return records


def agents_of(scenario: CooperativeScenario) -> tuple[str, ...]:
    """Return the names of the agents, in the order of the arrays."""
    return tuple(f"server_{m}" for m in range(scenario.servers))


def _parameters(scenario: CooperativeScenario, reward: Reward, *, extended: bool) -> Parameters:
    speed = scenario.of_servers("capacity_gcycles_per_s")
    memory_gb = scenario.of_servers("memory_gb")
    capacity = np.concatenate([speed, scenario.of_links("bandwidth_mb_per_s").ravel()])
    subsets = scenario.subsets
    table = np.full((len(subsets), max(1, *map(len, subsets))), NOBODY, dtype=np.int32)
    for a, chosen in enumerate(subsets):
        table[a, : len(chosen)] = chosen
    joule = scenario.joule_per_gcycle_at_1ghz
    arriving = scenario.rates_per_s / scenario.rates_per_s.sum()
    return Parameters(
        capacity=capacity,
        smallest=scenario.smallest_grant * capacity,
        memory_gb=memory_gb,
        latency_s=scenario.of_links("latency_s"),
        power_w=scenario.of_links("transmission_power_w"),
        joule=joule,
        limiting_factor=scenario.limiting_factor,
        subsets=table,
        latency_weight=scenario.latency_weight,
        typical_latency_s=float(arriving @ (scenario.mean_gcycles / speed)),
        typical_energy_j=float(arriving @ (joule * speed**2 * scenario.mean_gcycles)),
        pays_ratio=reward == "ratio",
        pays_saving=reward == "saving",
        extended=extended,
        typical_gcycles=scenario.mean_gcycles,
        typical_mb=scenario.mean_input_mb or 1.0,
        largest_gb=float(memory_gb.max()),
        largest_gcycles_per_s=float(speed.max()),
        mttf_s=scenario.server_mttf_s or np.inf,
        mttr_s=scenario.server_mttr_s,
    )
