"""List all systems that the commands know, each declared once.

A third-party package adds its own by an entry point of the group ``edge_marl.systems``, whose
value names a :class:`.system.System`, such as ``my_package.system:MySystem``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from edge_marl.experiments.systems.system import System

GROUP = "edge_marl.systems"

_OWN = (
    "edge_marl.experiments.systems.tandem:Tandem",
    "edge_marl.experiments.systems.peer_offloading:PeerOffloading",
    "edge_marl.experiments.systems.dag_placement:DagPlacement",
    "edge_marl.experiments.systems.graph_offloading:GraphOffloading",
    "edge_marl.experiments.systems.cooperative_offloading:CooperativeOffloading",
)


@cache
def systems() -> Mapping[str, System]:
    """Return all systems by the names of their environments."""
    from edge_marl.envs import add_environment

    declared = [_load(place) for place in _OWN]
    for entry in entry_points(group=GROUP):
        try:
            declared.append(_load(entry.value))
        except Exception as error:  # code of others may raise anything
            warnings.warn(f"{GROUP}: {entry.value} cannot be loaded: {error!r}", stacklevel=2)
    for system in declared:
        assert system.module is not None
        add_environment(system.environment, system.module)
    return {system.environment: system for system in declared}


def _load(place: str) -> System:
    module, _, name = place.partition(":")
    system: System = getattr(import_module(module), name)()
    return system


def system_of(environment: str) -> System:
    """Return the system of an environment, or a generic one if none is declared for it."""
    return systems().get(environment) or _Outside(environment)


class _Outside(System):
    """Stand for an undeclared environment, of which only the return is known."""

    def __init__(self, environment: str) -> None:
        self.environment = environment
