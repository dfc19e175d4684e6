"""Sum up recorded workflows: what was read, what was left out, and what the rest looks like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edge_marl.dag_placement.readers import ReadReport
from edge_marl.dag_placement.scenario import DagScenario, RandomWorkflows, RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.experiments.progress import stdout

FloatArray = NDArray[np.float64]

_QUANTILES = (0.05, 0.5, 0.95, 0.99, 1.0)


def longest_paths(workflows: Workflows, weight: FloatArray) -> FloatArray:
    """Return the weight ``[P]`` of the heaviest path to each primitive, its own included."""
    before = np.repeat(np.arange(len(weight)), np.diff(workflows.first_successor))
    after = workflows.successor
    path = weight.copy()
    while before.size:
        candidate = path[before] + weight[after]
        longer = candidate > path[after]
        if not longer.any():
            break
        np.maximum.at(path, after[longer], candidate[longer])
    return path


def shapes(workflows: Workflows) -> dict[str, FloatArray]:
    """Return quantities ``[K]`` of each workflow, by name.

    These are its primitives, edges, depth (primitives on the longest path), width (most primitives
    that lie equally deep), work and critical path in GFLOP.
    """
    starts = workflows.first[:-1]
    primitives = np.diff(workflows.first)
    n = len(workflows.compute_gflop)
    level = longest_paths(workflows, np.ones(n)).astype(np.int64)
    workflow = np.repeat(np.arange(len(primitives)), primitives)
    levels, counts = np.unique(workflow * (level.max() + 1) + level, return_counts=True)
    width = np.zeros(len(primitives))
    np.maximum.at(width, levels // (level.max() + 1), counts)
    gflop = longest_paths(workflows, workflows.compute_gflop)
    return {
        "primitives": primitives.astype(float),
        "edges": np.diff(workflows.first_successor[workflows.first]).astype(float),
        "depth": np.maximum.reduceat(level, starts).astype(float),
        "width": width,
        "work, GFLOP": np.add.reduceat(workflows.compute_gflop, starts),
        "critical path, GFLOP": np.maximum.reduceat(gflop, starts),
    }


def print_workflows(recorded: RecordedWorkflows, workflows: Workflows, report: ReadReport) -> None:
    """Print what was found, left out and changed, and quantiles and cluster load of the rest.

    Args:
        recorded: how they were read.
        workflows: as :func:`~edge_marl.dag_placement.readers.read_workflows` gives them.
        report: from the same call.
    """
    console = stdout()
    console.print(f"{report.source}: {report.found} workflows found, {report.kept} kept")
    for heads, counts in (
        (("left out", "workflows"), report.left_out),
        (("not as recorded", "primitives"), report.changed),
    ):
        if counts:
            table = Table(*heads)
            for reason, count in counts.items():
                table.add_row(reason, str(count))
            console.print(table)
    by_workflow = shapes(workflows)
    quantiles = Table("", *(f"{share:.0%}" for share in _QUANTILES), "mean")
    by_primitive = {
        "compute of a primitive, GFLOP": workflows.compute_gflop,
        "memory of a primitive, GB": workflows.memory_gb,
        "output of a primitive, GB": workflows.output_gb,
    }
    for name, values in {**by_workflow, **by_primitive}.items():
        numbers = [*np.quantile(values, _QUANTILES), values.mean()]
        quantiles.add_row(name, *map(_shown, numbers))
    console.print(quantiles)
    if workflows.arrival_s is not None and workflows.arrival_s[-1] > 0:
        span_s = workflows.arrival_s[-1]
        per_s = (len(workflows) - 1) / span_s
        console.print(f"recorded arrivals: {per_s:.3g} workflows/s in {span_s:.6g} s")
    console.print(_load(recorded, float(by_workflow["work, GFLOP"].mean())))


def _shown(number: float) -> str:
    return f"{number:.3g}" if number < 1000 else f"{number:,.0f}"


def _load(recorded: RecordedWorkflows, mean_gflop: float) -> str:
    """Say how busy the default cluster is with workflows of this much work.

    The text also names the ``time_scale`` at which it is as busy as with random workflows.
    """
    scenario, drawn = DagScenario(), RandomWorkflows()
    drawn_gflop = sum(drawn.primitives) / 2 * drawn.compute_gflop[0]
    capacity = scenario.of_servers("capacity_gflops").mean()
    load, drawn_load = (
        scenario.arrival_rate_per_server_s * gflop / capacity for gflop in (mean_gflop, drawn_gflop)
    )
    scale = recorded.time_scale * drawn_gflop / mean_gflop
    return (
        f"load of the default cluster at its arrival rate: {load:.0%}; "
        f"{drawn_load:.0%}, as with random workflows, at time_scale={scale:.3g}"
    )
