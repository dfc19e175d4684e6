"""Define what clients send to the manager of a federation, and what may become of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Outcome(StrEnum):
    """Tell what became of an update."""

    BUFFERED = "buffered"
    """It waits in the buffer. All others are final."""
    USED = "used"
    """It is part of a version."""
    REPLACED = "replaced"
    """A newer one of the same client came before the next version."""
    STALE = "stale"
    """It started from a version that is too old."""
    DUPLICATE = "duplicate"
    """It came before, or a newer one did."""
    REFUSED = "refused"
    """It is not what an update has to be."""
    LOST = "lost"
    """It never arrived, or its client left before it was used."""


@dataclass(frozen=True, eq=False)
class Update:
    """Hold what a client has learned since the version that it started from.

    The paper calls it a gradient; Algorithm 2 adds it to the weights with a coefficient whose sum
    is 1, so it is the difference of weights.
    """

    client: int
    sequence: int
    """Number of the update among those of its client, from 1 on."""
    version: int
    """Of the shared weights that it started from."""
    steps: int
    """Local trainings since then."""
    delta: NDArray[np.float32]
    """``[P]``: the client's weights minus those of the version."""


def size_of_update(n_weights: int) -> int:
    """Return the bytes of an update on the network: four whole numbers, and 32 bits a weight."""
    return 4 * 8 + 4 * n_weights
