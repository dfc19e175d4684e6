"""Hold the figures of the FAuNO paper that the tables stand beside (Tables 2 to 5, 22 to 25).

The paper's are means over the 40 episodes of one training, learning included (section 4).
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_marl.experiments.fauno.config import RATES, Cell
from edge_marl.graph_offloading.topology import SHIPPED

Figures = Mapping[Cell, float]

SCOF, FAUNO, MAPPO, LEAST_QUEUES = "SCOF", "FAuNO", "MAPPO", "Least Queues"


def _by_cell(*values: float) -> Figures:
    """Return values by cell: topology by topology, each with lambda 0.5, 1, 2."""
    cells = [Cell(topology, rate) for topology in SHIPPED for rate in RATES]
    return dict(zip(cells, values, strict=True))


FINISHED: Mapping[str, Figures] = {
    LEAST_QUEUES: _by_cell(
        0.943, 0.928, 0.909, 0.948, 0.934, 0.914, 0.946, 0.928, 0.803, 0.855, 0.665, 0.358
    ),
    SCOF: _by_cell(
        0.943, 0.860, 0.715, 0.940, 0.832, 0.666, 0.862, 0.684, 0.465, 0.673, 0.435, 0.251
    ),
    FAUNO: _by_cell(
        0.973, 0.964, 0.920, 0.974, 0.965, 0.926, 0.882, 0.764, 0.570, 0.770, 0.557, 0.335
    ),
    MAPPO: _by_cell(
        0.976, 0.955, 0.878, 0.977, 0.952, 0.885, 0.884, 0.734, 0.559, 0.741, 0.527, 0.321
    ),
}  # fmt: skip
"""Ratio of finished tasks; MAPPO, the oracle, with the sparse reward."""

RESPONSE: Mapping[str, Figures] = {
    LEAST_QUEUES: _by_cell(
        258.4, 278.2, 296.6, 239.6, 257.0, 269.8, 425.9, 493.8, 576.9, 603.8, 619.9, 522.1
    ),
    SCOF: _by_cell(
        56.4, 153.0, 109.9, 46.2, 144.7, 85.4, 318.7, 348.6, 365.2, 428.3, 416.6, 388.3
    ),
    FAUNO: _by_cell(
        170.2, 204.3, 262.4, 165.2, 199.4, 246.3, 307.2, 365.2, 416.4, 489.4, 539.8, 513.1
    ),
    MAPPO: _by_cell(
        114.9, 143.9, 219.1, 98.9, 138.0, 203.5, 302.9, 358.4, 407.4, 480.8, 512.8, 488.5
    ),
}  # fmt: skip
"""Response in ticks."""
