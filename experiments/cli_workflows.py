"""Define the command of recorded workflows.

It imports what it needs when it runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def workflows(
    path: Annotated[Path, typer.Argument(help="File of workflows, or folder of such files.")],
    format_: Annotated[
        Literal["alibaba", "wfcommons", "stg"],
        typer.Option(
            "--format",
            help="alibaba: batch tasks of the trace of 2018; wfcommons: instances in WfFormat 1.5; "
            "stg: Standard Task Graphs.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="How to read them, such as largest=100 or time_scale=0.1: what would be "
            "env.scenario.workflows.* in training.",
        ),
    ] = None,
) -> None:
    """Look at workflows before they are placed: what is read, what is left out and why."""
    from rich.console import Console

    from edge_marl.dag_placement.readers import read_workflows
    from edge_marl.dag_placement.scenario import RecordedWorkflows
    from edge_marl.experiments.overrides import apply_overrides
    from edge_marl.experiments.workflow_stats import print_workflows

    recorded = apply_overrides(RecordedWorkflows(format=format_, path=str(path)), overrides or ())
    with Console(stderr=True).status(f"reading {path}"):
        read, report = read_workflows(recorded)
    print_workflows(recorded, read, report)
