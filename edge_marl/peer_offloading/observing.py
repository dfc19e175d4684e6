"""Compute what nodes observe (O2O-DRL paper, section IV-B1), and which actions are open to them.

The functions for one node take only what that node knows: itself, its links, its own queue, the
tasks on their way to it and the task that it has to decide on; for its mask also whether its
neighbours have reached their queue limits. A node in a real network can therefore compute its
features with the same code. :func:`observe` applies them to all nodes of a simulated episode.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.peer_offloading.records import Status

_NONE = int(Status.NONE)


def n_features(nodes: int) -> int:
    """Return the length of a node's observation.

    It consists of ``lambda_i, alpha_i, F_i, l_i`` (4), ``l^r_ij`` of each other node j (N - 1):
    tasks on their way from j, ``r_ij`` to each other node (N - 1), ``s_i, c_i, d_i`` of its task
    or zero (3), and which node it is, one-hot (N). Each is divided by its largest value; queues
    count as full beyond the queue limit of the largest node.
    """
    return 3 * nodes + 5


@compiled(entry=True)
def describe_node(
    i: Any, arrival_probability: Any, failure_rate: Any, capacity_hz: Any, rate_mb_per_s: Any,
    scales: Any, features: Any,
) -> None:  # fmt: skip
    """Write those features of a node that stay the same for the episode, and zero the others.

    Args:
        i: which node it is.
        arrival_probability: of a task in a slot.
        failure_rate: of the node, per second.
        capacity_hz: of the node.
        rate_mb_per_s: ``[N]`` of its links to the other nodes, 0 where there is none.
        scales: see :class:`edge_marl.peer_offloading.records.Scales`.
        features: ``[3N + 5]`` to write to.
    """
    N = len(rate_mb_per_s)
    features[:] = 0.0
    features[0] = arrival_probability / scales.arrival_probability
    features[1] = failure_rate / scales.failure_rate
    features[2] = capacity_hz / scales.capacity_hz
    k = 4 + N - 1
    for j in range(N):
        if j != i:
            features[k] = rate_mb_per_s[j] / scales.rate_mb_per_s
            k += 1
    features[k + 3 + i] = 1.0


@compiled(entry=True, inline=True)
def observe_incoming(i: Any, j: Any, incoming: Any, scales: Any, features: Any) -> None:
    """Write how many tasks are on their way to a node from another one.

    Args:
        i: which node it is.
        j: the other one.
        incoming: tasks on their way.
        scales: see :class:`edge_marl.peer_offloading.records.Scales`.
        features: ``[3N + 5]`` to write to, after :func:`describe_node`.
    """
    features[4 + j - (j > i)] = min(incoming / scales.incoming, 1.0)


@compiled(entry=True, inline=True)
def observe_node(
    N: Any, queue_length: Any, size_kb: Any, cycles: Any, deadline_s: Any, scales: Any,
    features: Any,
) -> None:  # fmt: skip
    """Write those features of a node that change from slot to slot, but for incoming tasks.

    Args:
        N: nodes.
        queue_length: tasks at the node, waiting or in execution.
        size_kb: of its task; 0 without one, and so are the next two.
        cycles: of its task.
        deadline_s: of its task.
        scales: see :class:`edge_marl.peer_offloading.records.Scales`.
        features: ``[3N + 5]`` to write to, after :func:`describe_node`.
    """
    features[3] = min(queue_length * (1.0 / scales.queue_length), 1.0)
    k = 4 + 2 * (N - 1)
    features[k] = size_kb / scales.size_kb
    features[k + 1] = cycles / scales.cycles
    features[k + 2] = deadline_s / scales.deadline_s


@compiled(entry=True, inline=True)
def mask_actions(
    i: Any, has_task: Any, linked: Any, queue_length: Any, queue_limit: Any, mask: Any
) -> None:
    """Write which actions are open to a node.

    Args:
        i: which node it is.
        has_task: whether there is a task to decide on.
        linked: ``[N]`` whether it may send to each node.
        queue_length: ``[N]`` tasks at each node; only those of neighbours are read.
        queue_limit: ``[N]`` of each node, from which on it takes no more.
        mask: ``[N + 1]`` to write to.
    """
    N = len(linked)
    if has_task:
        for j in range(N):
            mask[j] = linked[j] and queue_length[j] < queue_limit[j]
        mask[i] = True
        mask[N] = False
    else:
        mask[:] = False
        mask[N] = True


@compiled
def describe(b: Any, parameters: Any, networks: Any, observation: Any) -> None:
    """Write the parts of an episode's observations that stay the same."""
    for i in range(observation.features.shape[1]):
        own = observation.features[b, i]
        describe_node(
            i, networks.arrival_probability[b, i], networks.failure_rate[b, i],
            networks.capacity_hz[b, i], networks.rate_mb_per_s[b, i], parameters.scales, own,
        )  # fmt: skip
        for k in range(3):
            observation.state[b, 8 * i + k] = own[k]


@compiled(inline=True)
def observe(
    b: Any, t: Any, parameters: Any, networks: Any, tasks: Any, queues: Any, observation: Any
) -> None:
    """Write the changing parts of an episode's observations: queues, tasks, masks, state.

    Incoming tasks are written by :func:`observe_incoming` when their number changes, as most of the
    N * N numbers stay the same in a slot.
    """
    N = observation.features.shape[1]
    scales, state = parameters.scales, observation.state
    for i in range(N):
        own = observation.features[b, i]
        observe_node(
            N, queues.queue_length[b, i], tasks.size_kb[b, t, i], tasks.cycles[b, t, i],
            tasks.deadline_s[b, t, i], scales, own,
        )  # fmt: skip
        mask_actions(
            i, tasks.status[b, t, i] != _NONE, parameters.adjacency[i], queues.queue_length[b],
            networks.queue_limit[b], observation.action_mask[b, i],
        )  # fmt: skip
        state[b, 8 * i + 3] = own[3]
        state[b, 8 * i + 4] = min(queues.on_the_way[b, i] * (1.0 / scales.queue_length), 1.0)
        k = 4 + 2 * (N - 1)
        for part in range(3):
            state[b, 8 * i + 5 + part] = own[k + part]
