"""Reading workflows in tests: from files that they write, and from public ones where these are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_marl.dag_placement.readers import ReadReport, read_workflows
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflow, Workflows
from edge_marl.errors import InputError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def public(*parts: str) -> Path:
    """A public file or folder; the test is skipped where there is none."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"../shared/data has no {'/'.join(parts)}")
    return path


def read(format_: Any, path: Path, **options: Any) -> tuple[Workflows, ReadReport]:
    """With a reference capacity of 1 GFLOPS, so that compute is run time."""
    options = {"reference_gflops": 1.0, **options}
    return read_workflows(RecordedWorkflows(format=format_, path=str(path), **options))


def refusal(format_: Any, path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as refused:
        read(format_, path, **options)
    message = str(refused.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def edges_of(workflows: Workflows, k: int = 0) -> list[list[int]]:
    return np.asarray(workflows.one(k).edges).tolist()


def critical_path_s(workflow: Workflow) -> float:
    """Where each primitive takes ``compute_gflop`` seconds."""
    run_s = np.asarray(workflow.compute_gflop)
    ready_s = np.zeros_like(run_s)
    edges = np.asarray(workflow.edges)
    for before, after in edges[np.argsort(edges[:, 0], kind="stable")]:
        ready_s[after] = max(ready_s[after], ready_s[before] + run_s[before])
    return float((ready_s + run_s).max())
