"""Say when servers execute nothing, and what becomes of executions meanwhile.

A server fails after a time that is drawn, and is repaired after another; both are exponential.
Meanwhile it grants nothing, and its executions stand still; they go on where they were. Links and
agents do not fail.
"""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.random_stream import uniform
from edge_marl.seeds import FAILURE_DRAWS

_DRAWS = FAILURE_DRAWS.start


@compiled
def await_failure(b: Any, server: Any, parameters: Any, homes: Any, progress: Any) -> None:
    """Draw the first outage of a server, if there will be one."""
    homes.n_outages[b, server] = 1
    homes.fails_s[b, server], homes.repaired_s[b, server] = _outage(
        b, server, 0, 0.0, parameters, progress
    )


@compiled
def is_down(b: Any, server: Any, parameters: Any, homes: Any, progress: Any) -> Any:
    """Return whether a server executes nothing now; what is asked later must not be earlier."""
    while homes.repaired_s[b, server] <= progress.now_s[b]:
        homes.fails_s[b, server], homes.repaired_s[b, server] = _outage(
            b, server, homes.n_outages[b, server], homes.repaired_s[b, server], parameters, progress
        )
        homes.n_outages[b, server] += 1
    return homes.fails_s[b, server] <= progress.now_s[b]


@compiled
def execution_end_s(
    b: Any, server: Any, duration_s: Any, parameters: Any, homes: Any, progress: Any
) -> Any:
    """Return when an execution is over that a server, which is up, begins now."""
    end_s = progress.now_s[b] + duration_s
    fails_s, repaired_s = homes.fails_s[b, server], homes.repaired_s[b, server]
    n = homes.n_outages[b, server]
    while fails_s < end_s:
        end_s += repaired_s - fails_s
        fails_s, repaired_s = _outage(b, server, n, repaired_s, parameters, progress)
        n += 1
    return end_s


@compiled
def _outage(b: Any, server: Any, n: Any, up_from_s: Any, parameters: Any, progress: Any) -> Any:
    """Return when the n-th outage of a server begins and ends, infinity if it never fails."""
    if math.isinf(parameters.mttf_s):
        return math.inf, math.inf
    counter = _DRAWS + 2 * (n * len(parameters.memory_gb) + server)
    seed = progress.seed[b]
    fails_s = up_from_s - math.log(1.0 - uniform(seed, counter)) * parameters.mttf_s
    return fails_s, fails_s - math.log(1.0 - uniform(seed, counter + 1)) * parameters.mttr_s
