"""Schedulers against known optima: graphs of 50 tasks of the Standard Task Graph set."""

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edge_marl.dag_placement import DagScenario, RecordedWorkflows, Tier, Workflow, pack
from edge_marl.dag_placement.heuristics import HEURISTICS, heuristic
from edge_marl.dag_placement.list_scheduling import RULES, Rule, plan
from edge_marl.dag_placement.readers import read_workflows
from tests.dag_placement.by_hand import by_hand

GRAPHS = Path(__file__).parents[3] / "shared/data/stg_task_graphs"
pytestmark = pytest.mark.skipif(
    not GRAPHS.exists(), reason="the Standard Task Graphs are not at ../shared/data"
)
PROCESSORS = (2, 4, 8, 16)


def processors(m: int) -> DagScenario:
    """Identical servers, on which a primitive takes what its graph says; nothing is sent."""
    tier = Tier(name="one", share=1, capacity_gflops=6, memory_gb=80, power_w=1, idle_power_w=0)
    return DagScenario(servers=m, tiers=(tier,), communication="reward")


@cache
def graphs() -> dict[str, Workflow]:
    """The graphs by the name of their file, as the optima have it."""
    found = {}
    for path in sorted(GRAPHS.rglob("*.stg")):
        recorded = RecordedWorkflows(format="stg", path=path, reference_gflops=6.0)
        workflow = read_workflows(recorded)[0].one(0)
        columns = (workflow.compute_gflop, workflow.memory_gb, workflow.output_gb)
        found[path.relative_to(GRAPHS).as_posix()] = Workflow(*columns, workflow.edges, 0.0)
    return found


@cache
def optima(m: int) -> dict[str, float]:
    """Shortest makespans on m processors, of the graphs for which they are known."""
    with (GRAPHS / f"Case50_{m}_OPT.csv").open() as file:
        rows = [row for row in csv.reader(file) if len(row) == 3]  # of the others only bounds are
    return {name: float(makespan) for name, _, makespan in rows if name in graphs()}


def makespans(name: str, m: int) -> np.ndarray:
    """Of every graph with a known optimum, alone in the simulator."""
    policy = heuristic(name)
    simulator = by_hand(processors(m), [[graphs()[graph]] for graph in optima(m)])
    policy.reset(simulator)
    for _ in range(10_000):
        if simulator.done.all():
            break
        simulator.step(policy.act(simulator))
    assert simulator.done.all()
    return simulator.progress.now_s.copy()


@pytest.mark.parametrize("m", PROCESSORS)
@pytest.mark.parametrize(("rule", "most"), [("heft", 1.05), ("cpop", 1.4)])
def test_plans_are_near_the_optimum_and_never_below(rule: Rule, most: float, m: int) -> None:
    # CPOP gives one server the whole critical path, though all are equal.
    made = [plan(rule, pack([graphs()[g]]), 0, processors(m)).makespan_s for g in optima(m)]
    ratio = np.array(made) / np.array([*optima(m).values()])
    assert (ratio >= 1 - 1e-9).all()
    assert ratio.mean() < most
    np.testing.assert_allclose(makespans(rule, m), made)  # played


@pytest.mark.parametrize("m", PROCESSORS)
@pytest.mark.parametrize("name", sorted(set(HEURISTICS) - set(RULES)))
def test_who_never_idles_without_need_is_within_grahams_bound(name: str, m: int) -> None:
    # With equal servers and nothing to send there is nothing to wait for.
    ratio = makespans(name, m) / np.array([*optima(m).values()])
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 2 - 1 / m + 1e-9).all()
