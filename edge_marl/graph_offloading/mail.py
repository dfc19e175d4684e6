"""Carry messages between agents and the manager of a federation, over links that tasks use too.

Every so many ticks each agent sends a message, over the way that is fastest without other traffic,
and the manager answers with one of the same size. On each link of its way a message is sent when it
has wholly arrived and the link has sent all that it was given before, as tasks and results are. An
agent whose last message has not been answered sends none.
"""

from __future__ import annotations

from typing import Any

from edge_marl.compiled import compiled
from edge_marl.graph_offloading.arrivals import give

_AT_REST, _TO_MANAGER, _FROM_MANAGER = 0, 1, 2


@compiled
def carry(t: Any, parameters: Any, episode: Any) -> None:
    """Send the messages of tick t, and hand those on that have come to a node by then."""
    mail = parameters.mail
    for a in range(len(episode.messages)):
        message, n_hops = episode.messages[a], parameters.ways[a, 0]
        if message.leg == _AT_REST and t % mail.every_ticks == 0 and n_hops >= 0:
            message.leg, message.hop = _TO_MANAGER, 0
            message.sent = message.moment = float(t)
        while message.leg != _AT_REST and message.moment <= t:
            if message.leg == _TO_MANAGER and message.hop == n_hops:
                message.to_manager += message.moment - message.sent
                message.n_to_manager += 1
                message.leg, message.sent = _FROM_MANAGER, message.moment
            if message.leg == _FROM_MANAGER and message.hop == 0:
                message.from_manager += message.moment - message.sent
                message.n_from_manager += 1
                message.leg = _AT_REST
            else:
                _hand_on(message, parameters.ways[a], parameters, episode)


@compiled
def _hand_on(message: Any, way: Any, parameters: Any, episode: Any) -> None:
    """Give a message to the next link of its way."""
    links, mail = parameters.links, parameters.mail
    if message.leg == _TO_MANAGER:
        message.hop += 1
        link = way[message.hop]
    else:
        link = links[way[message.hop]].back
        message.hop -= 1
    message.moment = give(link, mail.size_mb, message.moment, parameters, episode)


@compiled
def forget(episode: Any) -> None:
    """Let no message be on its way."""
    for a in range(len(episode.messages)):
        episode.messages[a].leg = _AT_REST
