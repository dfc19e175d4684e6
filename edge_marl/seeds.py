"""Assign seeds and random numbers to purposes, so that what must not meet never does.

The seed of an episode is any integer from 0 to below :data:`EPISODE_SEED_LIMIT`. A seed that a
person gives, on the command line or in a configuration, lies below :data:`SEED_LIMIT`. Ranges of
seeds keep the episodes that policies learn from apart from those that they are judged by. Within
the stream of one episode's seed (:mod:`edge_marl.random_stream`), ranges of counters keep the draws
for one purpose apart from those for another.
"""

from __future__ import annotations

SEED_LIMIT = 2**31
EPISODE_SEED_LIMIT = 2**63

VALIDATION_SEEDS = range(2**28, 2**29)
"""Episodes that choose between weights, and therefore judge none of them."""

STUDY_LOG_SEEDS = range(2**29, 2**30)
"""Episodes of the logs that a study learns from."""

EVALUATION_SEEDS = range(2**30, 3 * 2**29)
"""Episodes that policies are judged by."""

GUARD_SEEDS = range(3 * 2**29, 2**31)
"""Episodes by which a training decides what it deploys."""

TRAINING_SEEDS = range(2**31, 2**32)
"""Episodes of reinforcement learning."""

TRACES_PER_SET = 2**32
"""Seeds of the traces of one set, of which sets of tandem traces take the first ones."""

SETS_PER_SEED = 2**8
"""Sets of tandem traces that each seed has; a split takes two, for training and for tests."""

SET_SEED_LIMIT = 2**22
"""Seeds of trace sets are below."""

TANDEM_VALIDATION_SEEDS = range(128 * TRACES_PER_SET, 129 * TRACES_PER_SET)
"""Drawn traces that choose between weights; no split has that set."""

TANDEM_EVALUATION_SEEDS = range(129 * TRACES_PER_SET, 130 * TRACES_PER_SET)
"""Drawn traces that policies are judged by; no split has that set."""

NETWORKS_PER_SWEEP = 10_000
"""Seeds of networks that each sweep of the O2O-DRL study has; none takes the first so many."""

TASK_DRAWS = range(0, 2**49)
"""Counters of what arrives: tasks of offloading, workflows of DAG placement."""

NETWORK_DRAWS = range(2**49, 2**49 + 2**40)
"""Counters of the nodes of drawn networks and graphs."""

LINK_DRAWS = range(2**49 + 2**40, 2**50)
"""Counters of the links of peer offloading's networks."""

BURST_DRAWS = range(2**49, 2**50)
"""Counters of when bursts of cooperative offloading begin."""

WORKFLOW_ARRIVAL_DRAWS = range(2**49, 2**50)
"""Counters of when which workflows of DAG placement arrive."""

SERVER_CHANGE_DRAWS = range(2**50, 2**52)
"""Counters of when servers of DAG placement go and come back."""

START_DRAWS = range(2**50, 2**52)
"""Counters of whether nodes of a graph start a task that nobody has decided on."""

PROBE_DRAWS = range(2**52, 2**53)
"""Counters of the choices at random of heuristics for offloading."""

FAILURE_DRAWS = range(2**54, 2**55)
"""Counters of when nodes and links of a graph fail, and servers of cooperative offloading, and when
they are repaired."""

ACTION_DRAWS = range(2**53, 2**54)
"""Counters of actions that a policy draws: a learned one, or a heuristic of DAG placement."""
