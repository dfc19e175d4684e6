"""Define the module of SCOF."""

from __future__ import annotations

from edge_marl.algorithms.core.module import ValueModule


class SCOFModule(ValueModule):
    """Hold an actor of each client whose outputs are action values; learners need no more."""

    def get_non_inference_attributes(self) -> list[str]:
        """Return no names: environment runners need all there is."""
        return []
