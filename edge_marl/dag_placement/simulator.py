"""Simulate batches of episodes of DAG placement (SCALE paper, sections 3 and 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from edge_marl.dag_placement import kernels
from edge_marl.dag_placement.readers import read_workflows
from edge_marl.dag_placement.records import (
    Observation,
    Parameters,
    Progress,
    Queues,
    Servers,
    Tasks,
)
from edge_marl.dag_placement.scenario import DagScenario, RandomWorkflows, RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.dag_placement.workload import Generator
from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.options import NotNegative, Options, Positive
from edge_marl.record_arrays import one_by_one, side_by_side
from edge_marl.simulation import Simulator, Transition

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
BoolArray = NDArray[np.bool_]

Features = Literal["extended", "paper"]
Selector = Literal["longest_path", "learned"]

N_FEATURES: Mapping[Features, int] = {"paper": 5, "extended": 10}
"""F, columns of an observation's rows."""


class RewardTerms(Options):
    """Configure the constants of equation 2."""

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


@dataclass
class EpisodeResults:
    """Hold the metrics of the episodes so far; all arrays are ``[B]``."""

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


class DagPlacementSimulator(Simulator[Observation, EpisodeResults]):
    """Simulate B episodes of a cluster of N servers at which workflows arrive.

    One step is one decision on one ready primitive. A placed primitive occupies its server at once;
    its inputs are sent side by side from the servers of its predecessors, then it is executed. In
    ``time="event"`` decisions are offered only where there is something to decide: primitives that
    fit an idle server, longest path first. A primitive that is to wait is set aside. It is offered
    again when a server with enough memory becomes idle, when a server goes or comes back, and when
    nothing is being executed any more. Outputs outlive the servers that made them.

    Actions ``[B, agents]`` are those of :attr:`Observation.action_mask`. With ``time="event"`` the
    placer's may also be N + 1 + i, to wait for the end of primitive i, for policies that know what
    they wait for: the primitive is offered again when i is done, instead of when any server becomes
    idle. This is legal if i is another primitive that has arrived and is not done, and if waiting
    is legal or there is another primitive to decide on at this moment.

    Rewards ``[B, agents]`` are :data:`Reward`, the same for both agents. Episodes terminate when
    all that arrives in them is done. They are truncated after their decisions (``time="paper"``) or
    at the time limit. Elapsed time is counted in seconds: most decisions take none, and if rewards
    were discounted by the number of decisions, it would pay to make many by waiting. With
    ``time="paper"`` discounting is the paper's, by decisions.

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
        InputError: for a batch size below 1, and for a file of workflows that is invalid or has a
            primitive that fits no server.
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
        super().__init__(batch_size, agents_of(selector))
        self.scenario = scenario
        source = scenario.workflows
        recorded = None if isinstance(source, RandomWorkflows) else _recorded(source)
        self._generator = Generator(scenario, recorded)
        self.parameters = _parameters(
            scenario, self._generator, terms or RewardTerms(),
            reward=reward, extended=features == "extended", selects=selector == "learned",
        )  # fmt: skip
        B, N, F = batch_size, scenario.servers, N_FEATURES[features]
        n_agents = len(self.agents)
        self.workload = self._generator.empty(B)
        """What arrives."""
        self.tasks: Tasks = side_by_side(Tasks, *self.workload.hops.shape)
        """What has become of it."""
        self.servers: Servers = one_by_one(Servers, B, N)
        self.progress: Progress = one_by_one(Progress, B)
        self.queues = Queues(
            ready=np.zeros(self.workload.hops.shape, dtype=np.int32),
            valued=np.zeros(self.workload.arrival_s.shape, dtype=np.int32),
            left=np.zeros(self.workload.arrival_s.shape, dtype=np.int32),
            offered=np.zeros((B, N), dtype=np.int32),
        )
        check_memory(float(B) * n_agents * (1 + N) * (4 * F + 1), f"{B} episodes of {N} servers")
        seen = np.zeros((B, n_agents, 1 + N, F), dtype=np.float32)
        self.observation = Observation(
            features=seen,
            action_mask=np.zeros((B, n_agents, N + 1), dtype=np.bool_),
            state=seen.reshape(B, -1),
        )
        self.transition = Transition(
            self.observation,
            reward=np.zeros((B, n_agents), dtype=np.float32),
            terminated=np.zeros(B, dtype=np.bool_),
            truncated=np.zeros(B, dtype=np.bool_),
            elapsed=np.zeros(B, dtype=np.float32) if self.parameters.event else None,
        )
        # Always of one type, however time is counted, so that kernels are compiled once.
        self._outcome = self.transition._replace(elapsed=None)

    def _start(self, where: BoolArray) -> None:
        self._generator.draw(where, self.seeds, self.workload)
        kernels.reset_kernel(
            where, self.seeds, self.done, self.parameters, self.workload, self.tasks,
            self.servers, self.progress, self.queues, self.observation,
        )  # fmt: skip

    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        mask = self.observation.action_mask
        illegal = kernels.first_illegal(
            actions, self.done, mask, self.parameters, self.workload, self.tasks, self.progress
        )
        if illegal >= 0:
            b, i = divmod(illegal, len(self.agents))
            raise InputError(
                f"action of {self.agents[i]} in episode {b}: expected one of the legal actions "
                f"{np.flatnonzero(mask[b, i]).tolist()}, found {actions[b, i]}"
            )

    def _advance(self, actions: NDArray[np.int32]) -> None:
        before_s = self.progress.now_s.copy()
        kernels.step_kernel(
            actions, self.seeds, self.done, self.parameters, self.workload, self.tasks,
            self.servers, self.progress, self.queues, self._outcome,
        )  # fmt: skip
        if self.transition.elapsed is not None:
            self.transition.elapsed[:] = self.progress.now_s - before_s

    @property
    def results(self) -> EpisodeResults:
        """Return copies of the metrics of every episode up to now."""
        progress = self.progress
        here_s = np.maximum(progress.now_s, 1e-12)
        # What will be occupied after now is no part of the past.
        ahead_s = np.where(
            self.servers.running >= 0, self.servers.free_s - progress.now_s[:, None], 0.0
        )
        busy_s = (self.servers.busy_s - ahead_s).mean(axis=1)
        placements = progress.n_completed + progress.n_running + progress.n_lost
        with np.errstate(invalid="ignore"):
            return EpisodeResults(
                response_s=progress.response_s / progress.n_completed,
                workflow_response_s=progress.workflow_response_s / progress.n_workflows_done,
                ratio_to_bound=progress.ratio / progress.n_workflows_done,
                completed=progress.n_completed.astype(np.int64),
                workflows=progress.n_workflows_done.astype(np.int64),
                unfinished=(progress.n_unplaced + progress.n_running).astype(np.int64),
                lost=progress.n_lost.astype(np.int64),
                decisions=progress.n_decisions.astype(np.int64),
                waits=(progress.n_waits + progress.n_invalid).astype(np.int64),
                duration_s=progress.now_s.copy(),
                utilisation=busy_s / here_s,
                communication_s=progress.communication_s / placements,
                energy_j=progress.energy_j.copy(),
            )

    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        return {
            "workload": self.workload._asdict(),
            "tasks": self.tasks._asdict(),
            "servers": self.servers._asdict(),
            "progress": self.progress._asdict(),
            "queues": self.queues._asdict(),
            "observation": self.observation._asdict(),
        }


def agents_of(selector: Selector) -> tuple[str, ...]:
    """Return the names of the agents, in the order of the arrays."""
    return ("placer", "selector") if selector == "learned" else ("placer",)


@lru_cache(maxsize=8)
def _recorded(source: RecordedWorkflows) -> Workflows:
    """Read a file's workflows, only once however many simulators a process makes."""
    return read_workflows(source)[0]


def _parameters(
    scenario: DagScenario,
    generator: Generator,
    terms: RewardTerms,
    *,
    reward: Reward | None,
    extended: bool,
    selects: bool,
) -> Parameters:
    capacity_gflops = scenario.of_servers("capacity_gflops")
    power_w = scenario.of_servers("power_w")
    largest_delay_s = generator.largest_output_gb / scenario.bandwidth_gb_per_s + scenario.latency_s
    return Parameters(
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
