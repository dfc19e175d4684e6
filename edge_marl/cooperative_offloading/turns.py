"""Keep who has a share of a resource, or will when its turn comes, and foresee when that is.

Parts that wait are served in turn, whoever comes later: when a part asks, what it will have, and
when, is known, unless a server fails meanwhile.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.cooperative_offloading.outages import is_down
from edge_marl.cooperative_offloading.records import NOBODY, Stage

_NOBODY = NOBODY
_SENDING, _COMPUTING = int(Stage.SENDING), int(Stage.COMPUTING)
_ROUNDING = 1e-9


@compiled
def task_of(part: Any, parts: Any, workload: Any) -> Any:
    """Return the task that a part belongs to."""
    return part // (parts.share.shape[1] // workload.home.shape[1])


@compiled
def memory_gb(b: Any, part: Any, workload: Any, parts: Any) -> Any:
    """Return what a part holds of its server's memory while it is executed."""
    return parts.share[b, part] * workload.memory_gb[b, task_of(part, parts, workload)]


@compiled
def amount_of(b: Any, part: Any, stage: Any, workload: Any, parts: Any) -> Any:
    """Return what a part needs of a resource in a stage that holds one, in gigacycles or MB."""
    task, share = task_of(part, parts, workload), parts.share[b, part]
    if stage == _COMPUTING:
        return share * workload.gcycles[b, task]
    if stage == _SENDING:
        return share * workload.input_mb[b, task]
    return share * workload.output_mb[b, task]


@compiled
def _is_room(left: Any, left_gb: Any, needed_gb: Any, r: Any, parameters: Any) -> Any:
    """Return whether as much is left of a resource as it grants at least, and of the memory.

    Of a capacity that parts share to the last bit, rounding must not keep the last one waiting.
    """
    if left < (1.0 - _ROUNDING) * parameters.smallest[r]:
        return False
    return needed_gb == 0.0 or needed_gb <= left_gb + _ROUNDING * parameters.memory_gb[r]


@compiled
def fits(
    b: Any, part: Any, r: Any, parameters: Any, workload: Any, parts: Any, resources: Any,
    homes: Any, progress: Any,
) -> Any:  # fmt: skip
    """Return whether a resource is up, and has room for a part."""
    left = resources.left[b, r]
    if r >= homes.earned.shape[1]:
        return _is_room(left, 0.0, 0.0, r, parameters)
    if is_down(b, r, parameters, homes, progress):
        return False
    needed_gb = memory_gb(b, part, workload, parts)
    return _is_room(left, homes.memory_left_gb[b, r], needed_gb, r, parameters)


@compiled
def turn(
    b: Any, needed_gb: Any, r: Any, parameters: Any, workload: Any, parts: Any, resources: Any,
    homes: Any, progress: Any,
) -> Any:  # fmt: skip
    """Return when a part that asks for a resource now will be served, and what is left then.

    Args:
        needed_gb: of a server's memory.
    """
    turn_s, left, left_gb = progress.now_s[b], resources.free[b, r], 0.0
    if r < homes.earned.shape[1] and is_down(b, r, parameters, homes, progress):
        turn_s = homes.repaired_s[b, r]
    if resources.n_waiting[b, r] > 0:
        turn_s = max(turn_s, resources.turn_s[b, r])
    if needed_gb > 0.0:
        left_gb = parameters.memory_gb[r]
        holder = resources.soonest[b, r]
        while holder != _NOBODY:
            left_gb -= memory_gb(b, holder, workload, parts)
            holder = parts.later[b, holder]
    holder = resources.soonest[b, r]
    while holder != _NOBODY:
        end_s = parts.stage_end_s[b, holder]
        if end_s > turn_s and _is_room(left, left_gb, needed_gb, r, parameters):
            break
        turn_s = max(turn_s, end_s)
        left += parts.grant[b, holder]
        if needed_gb > 0.0:
            left_gb += memory_gb(b, holder, workload, parts)
        holder = parts.later[b, holder]
    return turn_s, parameters.capacity[r] if holder == _NOBODY else left


@compiled
def insert(b: Any, part: Any, r: Any, parts: Any, resources: Any) -> None:
    """Put a part among those that have a share of a resource, in the order of their ends."""
    before, after = _NOBODY, resources.soonest[b, r]
    while after != _NOBODY and parts.stage_end_s[b, after] <= parts.stage_end_s[b, part]:
        before, after = after, parts.later[b, after]
    parts.later[b, part] = after
    if before == _NOBODY:
        resources.soonest[b, r] = part
    else:
        parts.later[b, before] = part


@compiled
def release(b: Any, part: Any, r: Any, parts: Any, resources: Any) -> None:
    """Take a part out of those that have a share of a resource."""
    resources.free[b, r] += parts.grant[b, part]
    before, found = _NOBODY, resources.soonest[b, r]
    while found != part:
        before, found = found, parts.later[b, found]
    if before == _NOBODY:
        resources.soonest[b, r] = parts.later[b, part]
    else:
        parts.later[b, before] = parts.later[b, part]
