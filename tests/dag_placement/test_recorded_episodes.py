"""Episodes of recorded workflows: the graphs of the file, at its times where these are wanted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_marl.dag_placement import DagPlacementSimulator, DagScenario, RecordedWorkflows
from edge_marl.dag_placement.readers import read_workflows
from edge_marl.errors import InputError

# Jobs of 1, 2, 3 and 4 tasks; 2 to 4 begin with one that all others follow.
GAPS_S = (0, 3, 10, 2)
SIZES = (1, 2, 3, 4)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.csv"
    rows, now_s = [], 0
    for size, gap_s in zip(SIZES, GAPS_S, strict=True):
        now_s += gap_s
        names = ["M1", *(f"R{k}_1" for k in range(2, size + 1))]
        rows += [
            f"{now_s},j{size},{name},{10 * size + k},50,0.{size}{k},1"
            for k, name in enumerate(names)
        ]
    path.write_text("\n".join(rows) + "\n")
    return path


def episode(trace: Path, seed: int = 0, **options: Any) -> tuple[DagPlacementSimulator, Any]:
    """A simulator at the start of an episode, and the workflows in its file."""
    recorded = RecordedWorkflows(format="alibaba", path=trace, **options)
    scenario = DagScenario(workflows=recorded, horizon_s=30.0)
    simulator = DagPlacementSimulator(scenario, 1)
    simulator.reset([seed])
    return simulator, read_workflows(recorded)[0]


def sizes(simulator: DagPlacementSimulator) -> list[int]:
    """Primitives of each workflow that arrives."""
    load = simulator.workload
    return np.diff(load.first[0, : load.n_workflows[0] + 1]).tolist()


def test_an_episode_has_the_graphs_of_the_file(trace: Path) -> None:
    simulator, workflows = episode(trace)
    load = simulator.workload
    assert set(sizes(simulator)) == {1, 2, 3, 4}
    for w, size in enumerate(sizes(simulator)):
        recorded = workflows.one(size - 1)
        own = slice(int(load.first[0, w]), int(load.first[0, w + 1]))
        for name in ("compute_gflop", "memory_gb", "output_gb"):
            assert getattr(load, name)[0, own].tolist() == getattr(recorded, name).tolist()
        edges = []
        for task in range(own.start, own.stop):
            first = int(load.first_successor[0, task])
            for e in range(first, first + int(load.n_successors[0, task])):
                edges.append([task - own.start, int(load.successor[0, e]) - own.start])
        assert edges == np.asarray(recorded.edges).tolist()


@pytest.mark.parametrize("seed", range(8))
def test_recorded_arrivals_keep_order_and_gaps_at_the_rate_of_the_scenario(
    trace: Path, seed: int
) -> None:
    simulator, _ = episode(trace, seed, arrivals="recorded")
    arrived = sizes(simulator)
    assert arrived == [(arrived[0] - 1 + k) % 4 + 1 for k in range(len(arrived))]
    # After the last job comes the first one again, a mean gap of 5 s later: four in 20 s. The
    # scenario has one a second.
    gap_s = {1: 5 / 5, 2: 3 / 5, 3: 10 / 5, 4: 2 / 5}
    arrival_s = simulator.workload.arrival_s[0, : len(arrived)]
    assert np.diff(arrival_s).tolist() == pytest.approx([gap_s[size] for size in arrived[1:]])
    assert arrival_s[0] == 0
    assert 26 <= len(arrived) <= 34


def test_a_primitive_that_no_server_has_the_memory_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("0,a,M1,5,50,20,1\n")  # a fifth of 512 GB
    with pytest.raises(InputError) as refused:
        episode(path)
    assert str(refused.value) == (
        f"{path}: memory: expected at most 80 GB, what the largest server has, found 102.4 GB"
    )
