"""Keep what is to happen in an episode in the order of its moments: a binary heap."""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled


@compiled
def push(b: Any, moment_s: Any, part: Any, events: Any) -> None:
    """Schedule the end of what a part is doing."""
    moments, parts = events.moment_s[b], events.part[b]
    place = events.n[b]
    events.n[b] += 1
    while place > 0:
        above = (place - 1) >> 1
        if _is_before(moments[above], parts[above], moment_s, part):
            break
        moments[place], parts[place] = moments[above], parts[above]
        place = above
    moments[place], parts[place] = moment_s, part


@compiled
def pop(b: Any, events: Any) -> Any:
    """Remove the next event and return its part."""
    moments, parts = events.moment_s[b], events.part[b]
    found = parts[0]
    events.n[b] -= 1
    n = events.n[b]
    moment_s, part = moments[n], parts[n]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= n:
            break
        if below + 1 < n and _is_before(
            moments[below + 1], parts[below + 1], moments[below], parts[below]
        ):
            below += 1
        if _is_before(moment_s, part, moments[below], parts[below]):
            break
        moments[place], parts[place] = moments[below], parts[below]
        place = below
    moments[place], parts[place] = moment_s, part
    return found


@compiled
def _is_before(moment_s: Any, part: Any, other_s: Any, other: Any) -> Any:
    return moment_s < other_s or (moment_s == other_s and part < other)
