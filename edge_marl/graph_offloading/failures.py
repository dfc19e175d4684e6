"""Say when nodes and links fail, and when they are repaired.

What is up fails after a time that is drawn, and is repaired after another; both are exponential, in
whole ticks. A link fails in both directions. A node that fails loses the tasks that it has, decided
on or not. What comes to it, and what its clients create, waits until it is repaired, and so does
what is given to a link that has failed, or to one whose sender has. Over a link to a neighbour that
has failed no agent can send.
"""

from __future__ import annotations

import math
from typing import Any

from edge_marl.compiled import compiled
from edge_marl.random_stream import exponential_ticks, uniform
from edge_marl.seeds import FAILURE_DRAWS

_DRAWS = FAILURE_DRAWS.start


@compiled
def is_up(part: Any, parts: Any) -> Any:
    """Return whether a node, or the part that is a link, is up."""
    return len(parts) == 0 or parts[part].is_up


@compiled
def up_from(part: Any, parts: Any) -> Any:
    """Return the moment from which a part is up: 0 if it is."""
    return 0.0 if parts[part].is_up else float(parts[part].changes_at)


@compiled
def _part_of_link(link: Any, parameters: Any) -> Any:
    """Return the part that a link belongs to."""
    return len(parameters.nodes) + min(link, parameters.links[link].back)


@compiled
def is_open(link: Any, parameters: Any, parts: Any) -> Any:
    """Return whether a node that is up can send over a link now."""
    if len(parts) == 0:
        return True
    neighbour = parameters.links[link].neighbour
    return parts[_part_of_link(link, parameters)].is_up and parts[neighbour].is_up


@compiled
def repaired(link: Any, parameters: Any, parts: Any) -> Any:
    """Return the moment from which a link and the node at its beginning are up: 0 if they are."""
    if len(parts) == 0:
        return 0.0
    source = parameters.links[parameters.links[link].back].neighbour
    return max(up_from(source, parts), up_from(_part_of_link(link, parameters), parts))


@compiled
def begin(parameters: Any, episode: Any) -> None:
    """Let everything be up, and draw when it fails for the first time."""
    parts, N = episode.parts, len(parameters.nodes)
    for part in range(len(parts)):
        this = parts[part]
        this.is_up, this.n_changes, this.changes_at = True, 0, 0
        if part < N or parameters.links[part - N].back > part - N:
            _await_change(part, parameters, episode)


@compiled
def change(part: Any, parameters: Any, episode: Any) -> None:
    """Let what is up fail, or repair what is not."""
    this = episode.parts[part]
    this.is_up = not this.is_up
    this.n_changes += 1
    _await_change(part, parameters, episode)


@compiled
def _await_change(part: Any, parameters: Any, episode: Any) -> None:
    """Draw the tick of the next change of a part, if there will be one."""
    this, rules = episode.parts[part], parameters.rules
    if part < len(parameters.nodes):
        mean = rules.node_mttf_ticks if this.is_up else rules.node_mttr_ticks
    else:
        mean = rules.link_mttf_ticks if this.is_up else rules.link_mttr_ticks
    draw = uniform(episode.seed, _DRAWS + this.n_changes * len(episode.parts) + part)
    if mean < math.inf:
        this.changes_at += exponential_ticks(draw, mean)
