"""Define spaces of actions of which only some are legal at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class LegalDiscrete(spaces.Discrete):  # type: ignore[type-arg]  # not generic before 1.2
    """Define a space whose ``sample()`` without a mask draws among the actions legal right now.

    Otherwise it equals ``Discrete(n)``. Tools that know no masks, PettingZoo's seed test among
    them, thus never play an illegal action by chance.
    """

    def __init__(self, legal: NDArray[np.bool_]) -> None:
        """Keep ``legal [n]``, a view of the simulator's live mask, to draw by without a mask."""
        super().__init__(len(legal))
        self._legal = legal

    def sample(self, mask: NDArray[np.int8] | None = None, probability: Any = None) -> np.int64:
        """Draw an action: by ``mask [n]``, by ``probability [n]``, or a legal one."""
        if mask is None and probability is None:
            mask = self._legal.view(np.int8)
        return np.int64(super().sample(mask, probability))


class LegalHybrid(spaces.Dict):
    """Define a space of a choice and a vector in a box; ``sample`` masks the choice alone.

    Args:
        choice: name of the choice.
        legal: ``[n]``, see :class:`LegalDiscrete`; where none is, the first is drawn.
        vector: name of the vector.
        size: of the vector, whose numbers lie in [0, 1].
    """

    def __init__(self, choice: str, legal: NDArray[np.bool_], vector: str, size: int) -> None:
        super().__init__(
            {choice: LegalDiscrete(legal), vector: spaces.Box(0.0, 1.0, (size,), np.float32)}
        )
        self._names = (choice, vector)

    def sample(self, mask: Any = None, probability: Any = None) -> dict[str, Any]:
        """Draw an action; ``mask [n]`` may be that of the choice alone."""
        if isinstance(mask, np.ndarray):
            mask = dict(zip(self._names, (mask, None), strict=True))
        return super().sample(mask, probability)
