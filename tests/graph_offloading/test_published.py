"""With the preset ``published``, Least Queues does as in Tables 2 to 5 of the FAuNO paper."""

from functools import partial

import numpy as np
import pytest

from edge_marl.graph_offloading import GraphOffloadingSimulator, GraphScenario, heuristic
from edge_marl.seeds import VALIDATION_SEEDS
from edge_marl.simulation import run

RATES_PER_S = (0.5, 1.0, 2.0)
LEAST_QUEUES = {
    # Finished ratio and response in ticks at each rate.
    "ether_2": ((0.943, 258), (0.928, 278), (0.909, 297)),
    "ether_4": ((0.948, 240), (0.934, 257), (0.914, 270)),
    "random_10": ((0.946, 426), (0.928, 494), (0.803, 577)),
    "random_15": ((0.855, 604), (0.665, 620), (0.358, 522)),
}
CELLS = [
    pytest.param(topology, rate, *cell, id=f"{topology}, {rate:g}")
    for topology, cells in LEAST_QUEUES.items()
    for rate, cell in zip(RATES_PER_S, cells, strict=True)
]


def check(topology: str, rate_per_s: float, ratio: float, response: float, n: int) -> None:
    make = partial(
        GraphOffloadingSimulator, GraphScenario(topology=topology, rate_per_s=rate_per_s)
    )
    seeds = np.array(VALIDATION_SEEDS[100 : 100 + n])
    found = run(heuristic("least_queues"), make, seeds, batch_size=n)
    # The paper's own standard deviation is 0.052 there, and at most 0.030 elsewhere.
    bar = 0.05 if (topology, rate_per_s) == ("random_10", 2.0) else 0.02
    noise = 2 * found.finished_ratio.std(ddof=1) / np.sqrt(n)
    assert found.finished_ratio.mean() == pytest.approx(ratio, abs=bar + noise)
    assert found.response_ticks.mean() == pytest.approx(response, rel=0.12)


def test_least_queues_does_as_in_the_paper() -> None:
    check("ether_2", 1.0, *LEAST_QUEUES["ether_2"][1], n=4)


@pytest.mark.slow  # a minute, for what the quick test states of one of twelve cells
@pytest.mark.parametrize(("topology", "rate_per_s", "ratio", "response"), CELLS)
def test_least_queues_does_as_in_every_cell_of_the_paper(
    topology: str, rate_per_s: float, ratio: float, response: float
) -> None:
    check(topology, rate_per_s, ratio, response, n=20)
