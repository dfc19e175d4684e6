"""Compute rewards: dense (equation 10), sparse with a potential (equation 27), or own outcomes.

The *dense* reward pays an agent for each decision at once, by what its node knows: its own queue
and task, and the queue lengths that its neighbours have told it. The *sparse* one pays for the
tasks that the node has processed or lost since the last step, and for the change of a potential.
*Own outcomes* pay 1 for every task that finishes and -1 for every lost one to each agent that has
decided on it, for the last of its decisions on it; a task that is lost before anyone has decided on
it costs the agent 1 that had no place or no time for it. All of this is paid when it is certain: a
task that was executed finishes, unless deadlines end everything. With a delay it is always paid so
many ticks after the decision, if it is certain by then, and times gamma to the power of the ticks
until it was. A learner can credit such rewards to the decisions that they are for, however many
others were made in between: on the paper's graphs a task's fate is open for hundreds of ticks. With
the learner's own discount as gamma, that is the return it would have without a delay, of those
outcomes that are certain in time.

The potential's change is ``gamma Phi' - Phi``. With the learner's own discount as gamma it leaves
alone which policies are best (Ng, Harada and Russell 1999). As printed, in equation 28, gamma is 1:
then it does so only if the learner does not discount either, and the paper's discounts by 0.9.
"""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.records import NOBODY

DENSE, SPARSE, OWN = 0, 1, 2

_DENSE = DENSE
_NOBODY = NOBODY
_LEAST = 0.001  # not given in the paper: what keeps the logarithm of equation 11 finite


@compiled
def delay_and_overload(n: Any, task: Any, link: Any, parameters: Any, episode: Any) -> Any:
    """Return the dense reward of a decision at node n (equations 2 to 4 and 10 to 13).

    Times are in seconds. Work that waits is the number of tasks times the mean instructions of
    those at node n, because the sizes of a neighbour's tasks are not known to it. The task itself
    counts among those of node n, also in equation 13, which counts it once more if it is kept.
    """
    terms = parameters.rewards
    if terms.kind != _DENSE:
        return 0.0
    here, node = episode.nodes[n], parameters.nodes[n]
    mean = here.instructions / here.length
    own = node.capacity
    wait = here.length * mean / own
    if link == _NOBODY:
        communication = execution = 0.0
        limit = node.queue_limit
        expected = expected_queue(here.length, own, mean, limit)
    else:
        this, over = episode.tasks[task], parameters.links[link]
        shown = episode.nodes[over.neighbour].shown
        other = parameters.nodes[over.neighbour].capacity
        wait += shown * mean / other
        execution = this.instructions / other - this.instructions / own
        communication = this.size_mb * over.ticks_per_mb + over.latency_ticks
        limit = parameters.nodes[over.neighbour].queue_limit
        expected = expected_queue(shown, other, mean, limit)
    delay = (
        _weighed(terms.wait, wait * terms.tick_s, terms)
        + _weighed(terms.communication, communication * terms.tick_s, terms)
        + _weighed(terms.execution, execution * terms.tick_s, terms)
    )
    return terms.utility - (delay + terms.overload * overload(expected, limit))


@compiled
def _weighed(weight: Any, seconds: Any, terms: Any) -> Any:
    """Return a term of equation 4."""
    return min(seconds, terms.utility * weight) if terms.capped else weight * seconds


@compiled(entry=True)
def expected_queue(length: Any, capacity: Any, mean_instructions: Any, limit: Any) -> Any:
    """Return ``Q'`` of equation 13: the queue a tick after one more task has joined it.

    As printed, the tick's work is multiplied by instructions per task; it is divided by them. Tasks
    without instructions are all done in a tick.
    """
    done = capacity / mean_instructions if mean_instructions > 0.0 else math.inf
    return min(max(length - done + 1.0, 0.0), limit)


@compiled(entry=True)
def overload(expected: Any, limit: Any) -> Any:
    """Return ``O`` of equations 11 and 12, from 0 (an empty queue) to 1 (a full one)."""
    free = max((limit - expected) / limit, _LEAST)
    return -math.log10(free) / 3.0


@compiled
def potential(here: Any, queue_limit: Any, terms: Any) -> Any:
    """Return ``Phi`` of a node (equations 29 to 33).

    Its response time, in seconds, is the mean over the tasks that this node has executed, from
    their creation until then. The overloads of equation 32 are tasks that the node refused. As
    printed they add to the potential although the text says that they are penalised; here they
    lower it.
    """
    processed = here.processed
    lost = here.refused + here.expired
    mean_s = here.delay / processed * terms.tick_s if processed > 0 else 0.0
    occupancy = here.length / queue_limit
    return terms.weight * (
        terms.response / (1.0 + mean_s)
        + terms.processed * processed / (1.0 + lost + processed)
        - terms.refused * here.refused
        - terms.occupancy * occupancy
    )
