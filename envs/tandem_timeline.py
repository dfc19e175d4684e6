"""Draw the timeline of an episode (Figure 2 of the tandem paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_marl.tandem.traces import TraceSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LANES = ("uplink", "compute")
_HEIGHT = 0.8


def draw_timeline(
    ax: Axes,
    comm_jobs: ArrayLike,
    comp_jobs: ArrayLike,
    trace: TraceSet,
    missed: ArrayLike | None = None,
) -> None:
    """Draw which job each stage served in each slot: two lanes, one colour per job.

    A missed deadline is a cross in the job's colour at the deadline, on the lane of the stage
    that the job did not get through.

    Args:
        ax: matplotlib axes to draw on.
        comm_jobs: ``[T]`` index of the job that the uplink served in each slot, -1 for none.
        comp_jobs: ``[T]`` the same for the compute stage.
        trace: the trace that was played, as a set of one.
        missed: ``[J]`` whether each job missed its deadline; by default the jobs whose
            computing does not end in the timeline, as in a finished episode.
    """
    served = np.stack([np.asarray(comm_jobs), np.asarray(comp_jobs)])
    n_jobs = int(trace.n_jobs[0])
    needed = np.stack([trace.comm[0, :n_jobs], trace.comp[0, :n_jobs]])
    done = np.stack([[np.sum(lane == j) for j in range(n_jobs)] for lane in served])
    late = done[1] < needed[1] if missed is None else np.asarray(missed, dtype=bool)[:n_jobs]
    colours = _colours(n_jobs)
    for y, lane in zip((1.0, 0.0), served, strict=True):
        for job, start, length in _runs(lane):
            ax.broken_barh([(start, length)], (y - _HEIGHT / 2, _HEIGHT), facecolors=[colours[job]])
    for job in np.flatnonzero(late).tolist():
        stuck_at = 1.0 if done[0, job] < needed[0, job] else 0.0
        ax.plot(
            trace.deadline[0, job], stuck_at, marker="x", markersize=10, markeredgewidth=2.5,
            color=colours[job], linestyle="none", clip_on=False, zorder=3,
        )  # fmt: skip
    end = max(served.shape[1], int(trace.deadline[0, :n_jobs][late].max(initial=1)))
    ax.set(xlim=(0, end), ylim=(-0.6, 1.6), yticks=(1.0, 0.0), yticklabels=LANES)
    ax.set_xlabel(f"time in slots of {trace.slot_s:g} s")


def _runs(lane: NDArray[np.integer]) -> list[tuple[int, int, int]]:
    """Return job, first slot and length of each maximal run of one job in ``lane [T]``."""
    starts = np.flatnonzero(np.diff(lane, prepend=-2))
    lengths = np.diff(starts, append=len(lane))
    return [
        (int(lane[start]), int(start), int(length))
        for start, length in zip(starts, lengths, strict=True)
        if lane[start] >= 0
    ]


def _colours(n_jobs: int) -> list[tuple[float, float, float, float]]:
    """Return as many distinct colours as there are jobs."""
    from matplotlib import colormaps

    if n_jobs <= 10:
        return [colormaps["tab10"](job) for job in range(n_jobs)]
    return [colormaps["turbo"](job / n_jobs) for job in range(n_jobs)]
