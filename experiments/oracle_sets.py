"""Solve whole trace sets with the clairvoyant oracle, in Ray tasks that can be resumed."""

from __future__ import annotations

import time
from pathlib import Path

from edge_marl.experiments.parallel import run_tasks
from edge_marl.experiments.progress import progress_bar
from edge_marl.oracle import Schedule, solve
from edge_marl.tandem.oracle.schedule import Method
from edge_marl.tandem.oracle.schedule_files import (
    OpenPart,
    open_parts,
    read_folder,
    trace_hash,
    write_part,
)
from edge_marl.tandem.oracle.solver import check_options
from edge_marl.tandem.simulator import DROP_PENALTY
from edge_marl.tandem.traces import TraceSet

CHUNK = 25
"""Traces of one task and of one part file: what a kill can lose per core."""

RAY_START_S = 10.0
"""What starting Ray costs. The search solves six-job traces in milliseconds, so a set that this
process can finish sooner than that is not worth a cluster; longer traces and the integer
programme are."""


def solve_set(
    traces: TraceSet,
    folder: Path,
    *,
    drop_penalty: float = DROP_PENALTY,
    method: Method = "auto",
    time_limit: float = 60.0,
    workers: int = 0,
    show_progress: bool = True,
) -> list[Schedule]:
    """Solve every trace that is not yet solved in the folder, and return all schedules.

    A trace whose schedule is not proved optimal is solved again, given more time or another
    method. Each finished chunk is a Parquet file in the folder, so a killed run continues where it
    was. The first chunk is solved in this process; Ray is started when what is left would take
    this process longer than :data:`RAY_START_S`.

    Args:
        traces: K traces.
        folder: where the part files are or will be.
        drop_penalty, method, time_limit: as in :func:`edge_marl.oracle.solve`.
        workers: Ray tasks at a time; 0 stays in this process.
        show_progress: draw a bar while there is something to solve.

    Raises:
        InputError: if the folder holds schedules of other traces or of another penalty, or as
            :func:`edge_marl.oracle.solve`.
    """
    check_options(drop_penalty, time_limit, method)
    parts = open_parts(
        folder, traces,
        drop_penalty=drop_penalty, chunk=CHUNK, method=method, time_limit=time_limit,
    )  # fmt: skip
    arguments = [
        (part, str(folder.resolve()), traces, drop_penalty, method, time_limit) for part in parts
    ]
    n_missing = sum(len(part.unsettled) for part in parts)
    with progress_bar(visible=show_progress and n_missing > 0) as bar:
        shown = bar.add_task("oracle", total=len(traces), completed=len(traces) - n_missing)
        if arguments:
            begin = time.perf_counter()
            bar.advance(shown, _solve_part(*arguments[0]))
            left_s = (time.perf_counter() - begin) * (len(arguments) - 1)
            cores = workers if left_s > RAY_START_S else 0
            for _, n_solved in run_tasks(_solve_part, arguments[1:], workers=cores):
                bar.advance(shown, n_solved)
    return read_folder(folder, traces, drop_penalty=drop_penalty)


def schedule_folder(root: Path, traces: TraceSet, drop_penalty: float) -> Path:
    """Return the folder for the schedules of these very traces under this very penalty."""
    return root / f"{trace_hash(traces)[:16]}-{drop_penalty:g}"


def _solve_part(
    part: OpenPart,
    folder: str,
    traces: TraceSet,
    drop_penalty: float,
    method: Method,
    time_limit: float,
) -> int:
    found = {
        k: solve(traces[k], drop_penalty=drop_penalty, method=method, time_limit=time_limit)
        for k in part.unsettled
    }
    write_part(Path(folder), part.first, part.improved(found), traces, drop_penalty=drop_penalty)
    return len(found)
