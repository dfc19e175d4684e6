"""Simulate clients, nodes that execute or forward tasks, and the links between them (FAuNO paper).

A step plays one tick, in this order: every agent keeps its oldest undecided task or sends it to a
neighbour; nodes execute what has been decided on for one tick, one task at a time; clients create
tasks; tasks expire; nodes tell their neighbours the lengths of their queues; the tick ends, and
what has arrived since it began is handed out; idle nodes may start a task, also one that nobody
has decided on; agents observe. Times of execution and transmission are exact within a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from edge_marl.errors import InputError
from edge_marl.graph_offloading import kernels, rewards
from edge_marl.graph_offloading.layout import (
    COUNTS,
    DECISION,
    ENTRY,
    LISTS,
    MESSAGE,
    NODE,
    PART,
    STREAM,
    TASK,
    State,
    aligned,
    fields,
    mail_of,
    pack,
)
from edge_marl.graph_offloading.observing import STATE_PER_NODE, n_features
from edge_marl.graph_offloading.records import (
    FULL_OF_DECISIONS,
    NOBODY,
    Episodes,
    FloatArray,
    IntArray,
    Load,
    Network,
    Nodes,
    Observation,
    Parameters,
    Pools,
    RewardTerms,
    Scales,
    Status,
    Tasks,
)
from edge_marl.graph_offloading.routes import BYTES_PER_MB, manager_of, travel, ways
from edge_marl.graph_offloading.scenario import MOST_TICKS, GraphScenario
from edge_marl.memory import check_memory
from edge_marl.options import NotNegative, Options, Share
from edge_marl.simulation import Simulator, Transition, Travel

BoolArray = NDArray[np.bool_]

_KINDS = {"dense": rewards.DENSE, "sparse": rewards.SPARSE, "own": rewards.OWN}
_DECISIONS_PER_TASK = 4  # on average, of tasks under way
_ENOUGH_TASKS = 256

METRICS = (
    "finished_ratio", "finished_known", "response_ticks", "created", "finished", "refused",
    "expired", "failed", "in_flight", "offloaded", "traffic_mb", "occupancy", "utilisation",
    "offered_load",
)  # fmt: skip
"""Numbers of :class:`EpisodeResults` that are reported of every episode."""


class RewardConfig(Options):
    """Configure rewards; the defaults are those of Tables 30 and 31."""

    kind: Literal["dense", "sparse", "own"] = Field(
        "dense", description="for decisions, for tasks with a potential, or for own outcomes"
    )
    delay_ticks: Annotated[int, Field(ge=0, le=MOST_TICKS)] = Field(
        0, description="own outcomes: paid so many ticks after the decision, unless they are still "
        "open; 0: when they are certain"
    )  # fmt: skip
    utility: NotNegative = Field(100.0, description="U, and alpha of the sparse reward")
    wait: NotNegative = Field(0.6, description="chi_D^wait")
    execution: NotNegative = Field(1.0, description="chi_D^exc")
    communication: NotNegative = Field(1.0, description="chi_D^comm; 0.4 in Table 32")
    overload: NotNegative = Field(60.0, description="chi_O")
    capped: bool = Field(
        False, description="weights cap the terms at U times the weight, as in the authors' code"
    )
    gamma: Share = Field(
        1.0,
        description="discount of own outcomes with a delay, and of the potential: 1 as printed;"
        " the learner's discount changes no optimum",
    )
    weight: NotNegative = Field(1.0, description="w_g, of the potential")
    response: NotNegative = Field(1.0, description="w_r, in the potential")
    processed: NotNegative = Field(1.0, description="w_f, w_p in Table 30, in the potential")
    refused: NotNegative = Field(1.0, description="w_c, of refused tasks, in the potential")
    occupancy: NotNegative = Field(1.0, description="w_o, in the potential")

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.delay_ticks and self.kind != "own":
            raise InputError(f"delay_ticks: expected 0 with kind={self.kind}, "
                             f"found {self.delay_ticks}")  # fmt: skip
        return self


@dataclass
class EpisodeResults:
    """Hold the results of the episodes so far, ``[B]`` each; those of nodes are ``[B, N]``."""

    finished_ratio: FloatArray
    """Of all tasks created; NaN without any."""
    finished_known: FloatArray
    """Of the tasks whose fate is known; NaN without any."""
    response_ticks: FloatArray
    """Mean over finished tasks, from creation until the result is back; NaN without any."""
    created: NDArray[np.int64]
    finished: NDArray[np.int64]
    refused: NDArray[np.int64]
    """Lost at a full queue."""
    expired: NDArray[np.int64]
    """Lost at their deadline."""
    failed: NDArray[np.int64]
    """Lost with the node that they were at."""
    in_flight: NDArray[np.int64]
    decisions: NDArray[np.int64]
    offloaded: FloatArray
    """Share of them that sent a task on; NaN without any."""
    traffic_mb: FloatArray
    """Sum over links of what was sent, results included."""
    occupancy: FloatArray
    """``Q / Q_max``, mean over nodes and ticks."""
    utilisation: FloatArray
    """Share of the time that nodes execute, mean over nodes."""
    offered_load: FloatArray
    """Work of the tasks created, over what all nodes could have done so far."""
    node_received: IntArray
    node_processed: IntArray
    node_refused: IntArray
    node_expired: IntArray
    node_sent: IntArray
    node_occupancy: FloatArray
    node_utilisation: FloatArray


class GraphOffloadingSimulator(Simulator[Observation, EpisodeResults]):
    """Play B episodes of N nodes on a graph, tick by tick.

    Clients send tasks to nodes. A node executes one task at a time, of those that its agent decided
    to keep the last or the first; a task that is sent to a neighbour may be sent on from there.
    Queues are bounded and lose what does not fit. Results go back the way that their task has come,
    without its detours.

    Nodes and links may fail, see :mod:`edge_marl.graph_offloading.failures`.

    Random numbers of a task do not depend on decisions: the same seed has the same tasks under
    every policy.

    Actions ``[B, A]`` of the A agents are 0 to keep the oldest undecided task, or k to send it over
    the node's k-th link; 0 where there is nothing to decide. Episodes are truncated after their
    last tick and never terminate, because the network goes on.

    Args:
        scenario: what episodes are drawn from.
        batch_size: B.
        rewards: see :class:`RewardConfig`.
        extended: observe more than annex 10.2 says, see
            :func:`edge_marl.graph_offloading.observing.n_features`.

    Raises:
        InputError: for a batch size below 1, a file that cannot be read, or rewards that would be
            paid after the end of an episode; from a step, when there is no place for more tasks.
    """

    def __init__(
        self,
        scenario: GraphScenario,
        batch_size: int,
        *,
        rewards: RewardConfig | None = None,
        extended: bool = False,
    ) -> None:
        graph = scenario.graph()
        network, load = scenario.network(graph), scenario.streams(graph)
        super().__init__(batch_size, [graph.nodes[n].name for n in network.node.tolist()])
        self.scenario = scenario
        self.graph = graph
        self.parameters = _parameters(scenario, network, load, rewards or RewardConfig(), extended)
        B, N, A, L = batch_size, len(network.capacity), len(network.node), len(network.neighbour)
        J = 1 if len(load.arrival_ticks) else len(load.target)
        degrees = np.diff(network.first)[network.node]
        D = int(degrees.max(initial=0))
        F = n_features(D, extended)
        P = self.most_tasks = scenario.most_tasks or _ample(scenario, network, load)
        H = _DECISIONS_PER_TASK * P
        n_parts = N + L if self.parameters.rules.can_fail else 0
        delay = self.parameters.rewards.delay
        if delay >= scenario.ticks:
            raise InputError(
                f"rewards.delay_ticks: expected fewer than the {scenario.ticks} ticks of an "
                f"episode, found {delay}"
            )
        per_episode = (
            P * (TASK.itemsize + ENTRY.itemsize) + H * DECISION.itemsize + N * NODE.itemsize
            + J * STREAM.itemsize + LISTS.itemsize + n_parts * PART.itemsize + 8 * L + 4 * delay * A
            + A * (4 * F + D + 1) + 4 * STATE_PER_NODE * N
        )  # fmt: skip
        check_memory(
            float(B) * per_episode,
            f"{B} episodes of {N} nodes and {P} tasks (topology, most_tasks, rate_per_s)",
        )
        self.tick = np.zeros(B, dtype=np.int32)
        """``[B]``: the tick to decide for next."""
        self.observation = Observation(
            features=np.zeros((B, A, F), dtype=np.float32),
            action_mask=np.zeros((B, A, D + 1), dtype=np.bool_),
            state=np.zeros((B, STATE_PER_NODE * N), dtype=np.float32),
            t=self.tick,
        )
        self.transition = Transition(
            self.observation,
            reward=np.zeros((B, A), dtype=np.float32),
            terminated=np.zeros(B, dtype=np.bool_),  # never: the network goes on
            truncated=np.zeros(B, dtype=np.bool_),
            elapsed=None,
        )
        self.packed = pack(self.parameters)
        """:attr:`parameters` and, next, all else as kernels take it."""
        self.state = State(
            self.seeds, self.tick, self.done,
            counts=np.zeros(B, dtype=COUNTS),
            streams=np.zeros((B, J), dtype=STREAM),
            tasks=aligned((B, P), TASK),
            entries=np.zeros((B, P), dtype=ENTRY),
            decisions=np.zeros((B, H), dtype=DECISION),
            nodes=aligned((B, N), NODE),
            lists=np.zeros(B, dtype=LISTS),
            parts=np.zeros((B, n_parts), dtype=PART),
            messages=np.zeros((B, 0), dtype=MESSAGE),
            link_free=np.zeros((B, L)),
            due=np.zeros((B, delay, A), dtype=np.float32),
            reward=self.transition.reward,
        )  # fmt: skip
        self.episodes = Episodes(
            self.seeds, self.tick, self.done, **fields(self.state.counts),
            **fields(self.state.streams),
        )  # fmt: skip
        self.tasks = Tasks(**fields(self.state.tasks))
        self.nodes = Nodes(**fields(self.state.nodes))

    def travel(self, n_bytes: float, every: int | None = None) -> Travel:
        """Return how long a message takes, see :mod:`edge_marl.graph_offloading.routes`.

        With ``every``, messages share the links with tasks from now on, see
        :mod:`edge_marl.graph_offloading.mail`, and the times are means over those that arrived
        since the last call; those without other traffic for agents of which none did.

        Raises:
            InputError: for messages that are to share links that are without contention.
        """
        network = self.parameters.network
        manager = manager_of(self.graph, network)
        found = travel(network, manager, n_bytes)
        alone = Travel(*(ticks[network.node] for ticks in found))
        if every is None:
            return alone
        if not self.scenario.contention:
            raise InputError(
                "scenario.contention: expected true for messages that share links with tasks, "
                "found false"
            )
        self.packed = self.packed._replace(
            ways=ways(network, manager, n_bytes), mail=mail_of(n_bytes / BYTES_PER_MB, every)
        )
        if not self.state.messages.size:
            messages = np.zeros((self.batch_size, len(self.agents)), dtype=MESSAGE)
            self.state = self.state._replace(messages=messages)
        return self._measured(alone)

    def _measured(self, alone: Travel) -> Travel:
        """Return how long messages took since the last call."""
        measured = []
        for name, otherwise in alone._asdict().items():
            ticks, n = self.state.messages[name], self.state.messages[f"n_{name}"]
            with np.errstate(invalid="ignore"):
                mean = ticks.sum(axis=0) / n.sum(axis=0)
            measured.append(np.where(np.isnan(mean), otherwise, mean))
            ticks[:], n[:] = 0.0, 0
        return Travel(*measured)

    def _start(self, where: BoolArray) -> None:
        kernels.reset_kernel(where, self.packed, self.state, self.observation)

    def _check(self, actions: NDArray[np.integer[Any]]) -> None:
        illegal = kernels.first_illegal(actions, self.packed, self.state)
        if illegal >= 0:
            b, a = divmod(illegal, len(self.agents))
            mask = self.observation.action_mask[b, a]
            legal = np.flatnonzero(mask).tolist()
            expected = f"0 to {legal[-1]}" if mask[: legal[-1]].all() else f"one of {legal}"
            if self.nodes.first_undecided[b, self.parameters.network.node[a]] == NOBODY:
                expected = "0, for there is nothing to decide"
            raise InputError(
                f"action of {self.agents[a]} in episode {b}: expected {expected}, "
                f"found {actions[b, a]}"
            )

    def _advance(self, actions: NDArray[np.int32]) -> None:
        kernels.step_kernel(
            actions, self.packed, self.state, self.transition.truncated, self.observation
        )
        if self.episodes.full.any():
            b = int(self.episodes.full.argmax())
            what, most = "tasks", self.most_tasks
            if self.episodes.full[b] == FULL_OF_DECISIONS:
                what, most = "decisions on tasks", _DECISIONS_PER_TASK * most
            raise InputError(
                f"episode {b}, tick {self.tick[b]}: {most} {what} are under way at once, and there "
                f"is no place for more: expected a larger most_tasks than {self.most_tasks}"
            )

    @property
    def results(self) -> EpisodeResults:
        """Return the metrics of every episode up to now (copies)."""
        nodes, outcomes = self.nodes, self.episodes.outcomes
        created = self.episodes.created.copy()
        finished, refused, expired, failed = (
            outcomes[:, status].copy()
            for status in (Status.FINISHED, Status.REFUSED, Status.EXPIRED, Status.FAILED)
        )
        known = finished + refused + expired + failed
        sent = nodes.sent.sum(axis=1)
        decisions = sent + nodes.kept.sum(axis=1)
        played = np.maximum(self.tick, 1).astype(np.float64)
        capacity = self.parameters.network.capacity.sum()
        with np.errstate(invalid="ignore"):
            return EpisodeResults(
                finished_ratio=finished / created,
                finished_known=finished / known,
                response_ticks=self.episodes.response_ticks / finished,
                created=created,
                finished=finished,
                refused=refused,
                expired=expired,
                failed=failed,
                in_flight=created - known,
                decisions=decisions,
                offloaded=sent / decisions,
                traffic_mb=self.episodes.traffic_mb.copy(),
                occupancy=nodes.occupied.mean(axis=1) / played,
                utilisation=nodes.busy.mean(axis=1) / played,
                offered_load=self.episodes.work / played / capacity,
                node_received=nodes.received.copy(),
                node_processed=nodes.processed.copy(),
                node_refused=nodes.refused.copy(),
                node_expired=nodes.expired.copy(),
                node_sent=nodes.sent.copy(),
                node_occupancy=nodes.occupied / played[:, None],
                node_utilisation=nodes.busy / played[:, None],
            )

    def _records(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        return {
            "episodes": self.episodes._asdict(),
            "tasks": self.tasks._asdict(),
            "entries": fields(self.state.entries),
            "decisions": fields(self.state.decisions),
            "nodes": self.nodes._asdict(),
            "parts": fields(self.state.parts),
            "messages": fields(self.state.messages),
            "pools": Pools(
                **fields(self.state.lists), link_free=self.state.link_free, due=self.state.due
            )._asdict(),
            "observation": self.observation._asdict(),
        }


def _ample(scenario: GraphScenario, network: Network, load: Load) -> int:
    """Return more tasks than are ever under way: those of the longest time until one is lost.

    Results, and tasks that are never lost, may take longer, but they are few: a node executes one
    task at a time.
    """
    per_tick = float((1.0 / load.gap_ticks).sum())
    on_link = load.size_mb.max() * network.ticks_per_mb + network.latency_ticks
    under_way = per_tick * min(
        scenario.longest_wait_ticks + 2 * float(on_link.max(initial=0.0)), scenario.ticks
    )
    return _ENOUGH_TASKS + 2 * len(network.capacity) + int(1.25 * under_way)


def _parameters(
    scenario: GraphScenario, network: Network, load: Load, config: RewardConfig, extended: bool
) -> Parameters:
    terms = config.model_dump()
    return Parameters(
        network=network,
        load=load,
        rules=scenario.rules(),
        rewards=RewardTerms(
            kind=_KINDS[terms.pop("kind")],
            delay=terms.pop("delay_ticks"),
            discount=terms.pop("gamma"),
            tick_s=scenario.tick_s,
            **terms,
        ),
        scales=Scales(
            queue_limit=float(network.queue_limit.max()),
            instructions=max(float(load.instructions.max()), 1.0),
            size_mb=float(load.size_mb.max()) or 1.0,
            capacity=float(network.capacity.max()),
            mb_per_tick=float(1.0 / network.ticks_per_mb.min(initial=np.inf)),
            age_ticks=scenario.longest_wait_ticks,
            extended=extended,
        ),
    )
