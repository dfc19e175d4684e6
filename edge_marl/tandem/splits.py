"""Draw the training and test traces of the tandem paper (sections 4.1 and 4.3).

A split "f-v" has f file-transfer and v video-transcoding jobs. The seed of a trace says where
it belongs, ``(study seed, split, part, number)`` in separate digits, so that no training
trace can appear in a test set, whatever the sizes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.seeds import SET_SEED_LIMIT, SETS_PER_SEED, TRACES_PER_SET
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.traces import TraceSet

SPLITS = ("1-5", "2-4", "3-3", "4-2", "5-1")
TRAIN_TRACES, TEST_TRACES = 700, 300

Part = Literal["train", "test"]


def split_workload(split: str, workload: TandemWorkload | None = None) -> TandemWorkload:
    """Return ``workload`` (the default one if None) with the split's file and video jobs.

    Raises:
        InputError: if the split is not one of :data:`SPLITS`.
    """
    if split not in SPLITS:
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
    files, videos = map(int, split.split("-"))
    return (workload or TandemWorkload()).model_copy(update={"files": files, "videos": videos})


def split_seeds(split: str, part: Part, n: int, seed: int = 0) -> NDArray[np.int64]:
    """Return the seeds ``[n]`` of the first n traces; a smaller set begins a larger one.

    Args:
        split: one of :data:`SPLITS`.
        part: sets of different parts, splits or study seeds share no seed.
        n: traces, below 2^32.
        seed: study seed, from 0 and below 2^22.
    """
    if split not in SPLITS:
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, found {split!r}")
    if part not in ("train", "test"):
        raise InputError(f"part: expected train or test, found {part!r}")
    if not 0 <= n < TRACES_PER_SET:
        raise InputError(f"traces: expected 0 to {TRACES_PER_SET - 1}, found {n}")
    if not 0 <= seed < SET_SEED_LIMIT:
        raise InputError(f"seed: expected 0 to {SET_SEED_LIMIT - 1}, found {seed}")
    number = 2 * SPLITS.index(split) + (part == "test")
    first = (seed * SETS_PER_SEED + number) * TRACES_PER_SET
    return np.arange(first, first + n, dtype=np.int64)


def split_traces(
    split: str,
    part: Part,
    n: int | None = None,
    *,
    seed: int = 0,
    workload: TandemWorkload | None = None,
) -> TraceSet:
    """Draw the traces of one split: ``n`` of them, or 700 for training and 300 for testing.

    Training sets of splits other than 3-3 are for mixed retraining; the paper only tests on those
    splits.
    """
    if n is None:
        n = TRAIN_TRACES if part == "train" else TEST_TRACES
    drawn = split_workload(split, workload)
    drawn.check_memory(n)
    return drawn.sample(split_seeds(split, part, n, seed))
