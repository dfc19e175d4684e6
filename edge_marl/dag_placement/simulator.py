"""The batched simulator of DAG placement (SCALE paper, sections 3 and 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from edge_marl.dag_placement import kernels
from edge_marl.dag_placement.kernels import reset_kernel, step_kernel
from edge_marl.dag_placement.readers import read_workflows
from edge_marl.dag_placement.records import Law, Lists, Progress, Servers, Tasks, together
from edge_marl.dag_placement.scenario import DagScenario, RandomWorkflows, RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.dag_placement.workload import Generator
from edge_marl.episodes import copied, restore
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.options import NotNegative, Options, Positive
from edge_marl.validation import checked_seeds

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

Features = Literal["extended", "paper"]
Selector = Literal["longest_path", "learned"]

N_FEATURES: Mapping[Features, int] = {"paper": 5, "extended": 10}
"""F, columns of an observation's rows."""


class RewardTerms(Options):
    """Equation 2 and its constants."""

    w_tau: NotNegative = Field(1.0, description="weight of the execution time")
    s_tau_s: Positive = Field(1.0, description="s_tau")
    alpha: NotNegative = Field(0.1, description="weight of the communication delay")
    beta: NotNegative = Field(0.0, description="weight of the energy")


Reward = Literal["response", "paper"]
"""What placements earn.

- ``"response"``: by how much a decision, and the time until the next, delay what is there: minus
  the increase of the least sum of response times that is still possible, divided by N. A primitive
  that waits or is placed on a slow server costs its own delay and that of all that cannot start
  before it is done. The sum over an episode is minus the sum of all response times, plus what it
  would be if every primitive ran at once on the fastest server.
- ``"paper"``: equation 2 for a placement, -0.001 for an invalid action, nothing for waiting.
"""


class Observation(NamedTuple):
    """What the agents see: views of the simulator's buffers, overwritten by the next step."""

    features: FloatArray
    """``[B, agents, 1 + N, F]``. The placer's first row is of the primitive to place, row 1 + j of
    server j; zeros where there is none, such as a server that is away. Columns (section 4.1.1), of
    the primitive: compute as the time it takes the fastest server, memory and successors as shares
    of the largest server's and of 5, share of its workflow that is done, output in GB; of a server:
    capacity, memory and power drawn as shares of the largest, seconds until it is idle (third), and
    delay in seconds from the predecessor that finished first (last). ``extended`` keeps what is
    unbounded from looking far away: seconds s become log(1 + s), counts n become n / (n + 5). It
    adds, of the primitive: hops to the end, primitives left in its workflow (as counts), log of how
    many times longer than on the best server it takes to finish it on the best idle one, primitives
    ready and primitives not placed, x per server, as x / (x + 1); of a server: whether it is idle,
    whether the memory suffices, seconds that the primitive would occupy it, seconds until it would
    be finished there, and log of how many times longer that is than on the best server, idle or
    not.
    The selector's first row is of the cluster (ready primitives, idle servers, busy servers per
    server), row 1 + k of the k-th primitive to choose from, as the placer's first row."""
    action_mask: BoolArray
    """``[B, agents, N + 1]``: the placer's server, or N, wait; the selector's primitive; who is not
    to decide has the one legal action N."""
    state: FloatArray
    """``[B, agents * (1 + N) * F]``: all features."""


class Transition(NamedTuple):
    """Outcome of a step; arrays are overwritten by the next step."""

    observation: Observation
    reward: FloatArray
    """``[B, agents]``: :data:`Reward`, the same for both; zero for finished episodes."""
    terminated: BoolArray
    """``[B]``: all that arrives in the episode is done."""
    truncated: BoolArray
    """``[B]``: it was cut off, after its decisions (time=paper) or at the time limit."""
    elapsed: FloatArray | None
    """``[B]``: time that passed. Most decisions take none: discounted by their number, it would
    pay to make many by waiting. None with time=paper, where discounting is the paper's."""


@dataclass
class EpisodeResults:
    """Results of the episodes so far. All arrays are ``[B]``."""

    response_s: NDArray[np.float64]
    """Objective of equation 1: mean over completed primitives of ``f_i - a_k``; NaN without any."""
    workflow_response_s: NDArray[np.float64]
    """Mean over completed workflows, from arrival to the end of their last primitive."""
    ratio_to_bound: NDArray[np.float64]
    """Mean over completed workflows of that time divided by its lower bound, at least 1."""
    completed: NDArray[np.int64]
    """Primitives."""
    workflows: NDArray[np.int64]
    """Completed ones."""
    unfinished: NDArray[np.int64]
    """Primitives of workflows that have arrived that are not completed."""
    lost: NDArray[np.int64]
    """Executions cut off by failures."""
    decisions: NDArray[np.int64]
    waits: NDArray[np.int64]
    """Decisions to wait (time=event) and invalid actions (time=paper)."""
    duration_s: NDArray[np.float64]
    utilisation: NDArray[np.float64]
    """Share of the time that servers are occupied, mean over servers."""
    communication_s: NDArray[np.float64]
    """Mean over placements of the delay in equation 2."""
    energy_j: NDArray[np.float64]
    """Of executions."""


METRICS = (
    "response_s", "workflow_response_s", "ratio_to_bound", "completed", "workflows", "unfinished",
    "lost", "decisions", "waits", "duration_s", "utilisation", "communication_s", "energy_j",
)  # fmt: skip
"""Numbers of :class:`EpisodeResults` that are reported of every episode."""


class DagPlacementSimulator:
    """B episodes of a cluster of N servers at which workflows arrive.

    One step is one decision on one ready primitive. A placed primitive occupies its server at once;
    its inputs are sent side by side from the servers of its predecessors, then it is executed. In
    ``time="event"`` decisions are offered only where there is something to decide: primitives that
    fit an idle server, longest path first. One that is to wait is set aside. It is offered again
    while a server with the memory is idle that has become so since, when a server goes or comes
    back, and when nothing is executed any more. Outputs outlive the servers that made them.

    What arrives, and when servers come and go, does not depend on decisions: the same seed has the
    same workflows and failures under every policy.

    Args:
        scenario: what episodes are drawn from.
        batch_size: B.
        reward: see :data:`Reward`; None: all are zero, where nobody reads them.
        terms: constants of equation 2.
        features: see :class:`Observation`.
        selector: "longest_path" (section 4.1), or "learned": a second agent chooses the primitive
            among the N ready ones with the longest paths.

    Raises:
        InputError: for a batch size below 1, and for a file of workflows that is none or whose
            primitives do not fit any server.
    """

    def __init__(
        self,
        scenario: DagScenario,
        batch_size: int,
        *,
        reward: Reward | None = "response",
        terms: RewardTerms | None = None,
        features: Features = "extended",
        selector: Selector = "longest_path",
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, found {batch_size}")
        self.scenario = scenario
        self.batch_size = batch_size
        source = scenario.workflows
        recorded = None if isinstance(source, RandomWorkflows) else _recorded(source)
        self._generator = Generator(scenario, recorded)
        self.law = _law(
            scenario, self._generator, terms or RewardTerms(),
            reward=reward, extended=features == "extended", selects=selector == "learned",
        )  # fmt: skip
        B, N, F = batch_size, scenario.servers, N_FEATURES[features]
        self.n_agents = 2 if selector == "learned" else 1
        self.seeds = np.zeros(B, dtype=np.int64)
        """``[B]``"""
        self.done = np.ones(B, dtype=np.bool_)
        """``[B]``: episodes that have ended and wait for a reset."""
        self.workload = self._generator.empty(B)
        """What arrives."""
        self.tasks: Tasks = together(Tasks, *self.workload.hops.shape)
        """What has become of it."""
        self.servers: Servers = together(Servers, B, N)
        self.progress: Progress = together(Progress, B)
        self.lists = Lists(
            ready=np.zeros(self.workload.hops.shape, dtype=np.int32),
            valued=np.zeros(self.workload.arrival_s.shape, dtype=np.int32),
            left=np.zeros(self.workload.arrival_s.shape, dtype=np.int32),
            offered=np.zeros((B, N), dtype=np.int32),
        )
        check_memory(
            float(B) * self.n_agents * (1 + N) * (4 * F + 1), f"{B} episodes of {N} servers"
        )
        seen = np.zeros((B, self.n_agents, 1 + N, F), dtype=np.float32)
        self.observation = Observation(
            features=seen,
            action_mask=np.zeros((B, self.n_agents, N + 1), dtype=np.bool_),
            state=seen.reshape(B, -1),
        )
        self._transition = Transition(
            self.observation,
            np.zeros((B, self.n_agents), dtype=np.float32),
            np.zeros(B, dtype=np.bool_),
            np.zeros(B, dtype=np.bool_),
            np.zeros(B, dtype=np.float32) if self.law.event else None,
        )

    def reset(self, seeds: ArrayLike, where: BoolArray | None = None) -> Observation:
        """Start episodes anew.

        Args:
            seeds: ``[B]`` one seed per episode, at least 0; an episode depends on its seed alone.
            where: ``[B]`` episodes to reset; the others go on. All when None.

        Raises:
            InputError: when there is not one non-negative integer per episode.
        """
        seeds = checked_seeds(seeds, self.batch_size)
        if where is None:
            where = np.ones(self.batch_size, dtype=np.bool_)
        self.seeds[where] = seeds[where]
        self._generator.draw(where, self.seeds, self.workload)
        reset_kernel(
            where, self.seeds, self.done, self.law, self.workload, self.tasks, self.servers,
            self.progress, self.lists, *self.observation[:2],
        )  # fmt: skip
        return self.observation

    def step(self, actions: NDArray[np.integer[Any]]) -> Transition:
        """Carry out one decision in every episode.

        Args:
            actions: ``[B, agents]``, see :attr:`Observation.action_mask`. With ``time="event"`` the
                placer's may also be N + 1 + i, wait for the end of primitive i, for policies that
                know what they wait for: the primitive is offered again when i is done, instead of
                when any server gets idle. Legal if i has arrived and is not done, and if
                waiting is legal or there is another primitive to decide on at this moment.
                Actions of finished episodes are ignored.

        Raises:
            InputError: for an action that is not legal, naming episode and agent.
        """
        actions = np.asarray(actions)
        shape = (self.batch_size, self.n_agents)
        if actions.shape != shape or actions.dtype.kind not in "iu":
            raise InputError(f"actions: expected integers of shape {shape}")
        mask = self.observation.action_mask
        illegal = kernels.first_illegal(
            actions, self.done, mask, self.law, self.workload, self.tasks, self.progress
        )
        if illegal >= 0:
            b, i = divmod(illegal, self.n_agents)
            raise InputError(
                f"action of {AGENTS[i]} in episode {b}: expected one of the legal actions "
                f"{np.flatnonzero(mask[b, i]).tolist()}, found {actions[b, i]}"
            )
        before_s = self.progress.now_s.copy()
        step_kernel(
            actions, self.seeds, self.done, self.law, self.workload, self.tasks, self.servers,
            self.progress, self.lists, *self.observation[:2], *self._transition[1:4],
        )  # fmt: skip
        if self._transition.elapsed is not None:
            self._transition.elapsed[:] = self.progress.now_s - before_s
        return self._transition

    @property
    def results(self) -> EpisodeResults:
        """Metrics of every episode up to now (copies)."""
        at = self.progress
        here_s = np.maximum(at.now_s, 1e-12)
        # What will be occupied after now is no part of the past.
        ahead_s = np.where(self.servers.running >= 0, self.servers.free_s - at.now_s[:, None], 0.0)
        busy_s = (self.servers.busy_s - ahead_s).mean(axis=1)
        placements = at.n_completed + at.n_running + at.n_lost
        with np.errstate(invalid="ignore"):
            return EpisodeResults(
                response_s=at.response_s / at.n_completed,
                workflow_response_s=at.workflow_response_s / at.n_workflows_done,
                ratio_to_bound=at.ratio / at.n_workflows_done,
                completed=at.n_completed.astype(np.int64),
                workflows=at.n_workflows_done.astype(np.int64),
                unfinished=(at.n_unplaced + at.n_running).astype(np.int64),
                lost=at.n_lost.astype(np.int64),
                decisions=at.n_decisions.astype(np.int64),
                waits=(at.n_waits + at.n_invalid).astype(np.int64),
                duration_s=at.now_s.copy(),
                utilisation=busy_s / here_s,
                communication_s=at.communication_s / placements,
                energy_j=at.energy_j.copy(),
            )

    def get_state(self) -> dict[str, Any]:
        """Copies of everything that changes while episodes are played."""
        return copied(self._parts)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken, on a simulator of the same sizes.

        Raises:
            InputError: for a state of other sizes.
        """
        restore(self._parts, state)

    @property
    def _parts(self) -> dict[str, tuple[NDArray[Any], ...]]:
        return {
            "episodes": (self.seeds, self.done),
            "workload": self.workload,
            "tasks": self.tasks,
            "servers": self.servers,
            "progress": self.progress,
            "lists": self.lists,
            "observation": self.observation[:2],
        }


AGENTS = ("placer", "selector")
"""In the order of the arrays."""


@lru_cache(maxsize=8)
def _recorded(source: RecordedWorkflows) -> Workflows:
    """A file's workflows; read once, however many simulators a process makes."""
    return read_workflows(source)[0]


def _law(
    scenario: DagScenario,
    generator: Generator,
    terms: RewardTerms,
    *,
    reward: Reward | None,
    extended: bool,
    selects: bool,
) -> Law:
    capacity_gflops = scenario.of_servers("capacity_gflops")
    power_w = scenario.of_servers("power_w")
    largest_delay_s = generator.largest_output_gb / scenario.bandwidth_gb_per_s + scenario.latency_s
    return Law(
        capacity_gflops=capacity_gflops,
        memory_gb=scenario.of_servers("memory_gb"),
        power_w=power_w,
        idle_power_w=scenario.of_servers("idle_power_w"),
        largest_gflops=float(capacity_gflops.max()),
        largest_gb=float(scenario.of_servers("memory_gb").max()),
        largest_power_w=float(power_w.max()),
        bandwidth_gb_per_s=scenario.bandwidth_gb_per_s,
        latency_s=scenario.latency_s,
        physical=scenario.communication == "physical",
        event=scenario.time == "event",
        step_s=scenario.step_s,
        decisions=scenario.decisions,
        time_limit_s=scenario.time_limit_s,
        mean_up_s=np.inf if scenario.mean_up_s is None else scenario.mean_up_s,
        mean_away_s=scenario.mean_away_s,
        failure_share=scenario.failure_share,
        **terms.model_dump(),
        # Not given in the paper: the largest output but for three in a thousand, and a primitive
        # of mean size on the server that it takes most energy on.
        largest_delay_s=largest_delay_s if largest_delay_s > 0 else 1.0,
        largest_energy_j=float((power_w / capacity_gflops).max()) * generator.mean_compute_gflop,
        paper_reward=reward == "paper",
        response_reward=reward == "response",
        extended=extended,
        selects=selects,
        per_server=1.0 / scenario.servers,
    )
