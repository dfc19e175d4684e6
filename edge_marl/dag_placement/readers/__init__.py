"""Read recorded and published workflows.

- :mod:`~edge_marl.dag_placement.readers.alibaba`: jobs of the Alibaba cluster trace of 2018;
- :mod:`~edge_marl.dag_placement.readers.wfcommons`: executed scientific workflows (WfFormat 1.5);
- :mod:`~edge_marl.dag_placement.readers.stg`: graphs of the Standard Task Graph set.

Each module says what it takes for a primitive's compute, memory and output.
"""

from __future__ import annotations

import os
from pathlib import Path

from edge_marl.dag_placement.readers import alibaba, stg, wfcommons
from edge_marl.dag_placement.readers.collecting import Collector, ReadReport
from edge_marl.dag_placement.scenario import RecordedWorkflows
from edge_marl.dag_placement.workflows import Workflows
from edge_marl.errors import InputError

__all__ = ["ReadReport", "read_workflows"]

_READERS = {"alibaba": alibaba, "wfcommons": wfcommons, "stg": stg}
_SUFFIX = {"alibaba": ".csv", "wfcommons": ".json", "stg": ".stg"}


def read_workflows(recorded: RecordedWorkflows) -> tuple[Workflows, ReadReport]:
    """Read the workflows of a file, or of all files of their format in and below a folder.

    A primitive's compute is its run time x ``time_scale`` on a server of ``reference_gflops``.
    Workflows of more than ``largest`` primitives are left out, and so are those of traces that
    cannot be used; the report counts them by reason. Only the Alibaba trace records arrivals.

    Raises:
        InputError: naming file, line or place in it, and field of what is not of the format; if
            nothing is left; for ``arrivals="recorded"`` unless two are recorded at different times.
    """
    path, format_ = Path(recorded.path), recorded.format
    files = sorted(path.rglob(f"*{_SUFFIX[format_]}")) if os.path.isdir(path) else [path]
    if not files:
        raise InputError(f"{path}: expected files *{_SUFFIX[format_]} in the folder, found none")
    reader = _READERS[format_]
    collector = Collector(recorded, reader.LEAST_S)
    for file in files:
        reader.collect(file, collector)
    workflows, report = collector.finish()
    arrival_s = workflows.arrival_s
    if recorded.arrivals == "recorded" and (arrival_s is None or arrival_s[-1] == 0):
        raise InputError(
            f"{path}: arrivals: expected poisson, as none are recorded at different times, "
            "found recorded"
        )
    return workflows, report
