"""Predict the next task of every server while episodes are played, for critics and perhaps actors.

Critics of the CTO-TP paper see, beside everything else, what an offline-trained transformer expects
of each server's next task. ``edge-marl predict train`` writes such predictors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_marl.cooperative_offloading.records import Progress, Workload
from edge_marl.cooperative_offloading.scenario import CooperativeScenario
from edge_marl.errors import InputError
from edge_marl.reading import check_file

_TARGETS = 3
"""What is predicted: the time to the next task, its cycles and its memory."""
_SHOWN = (0, 0.5, 1)
"""Which quantiles are shown, by their places from the lowest to the highest: these two say how
uncertain the median between them is."""
PER_SERVER = _TARGETS * len(_SHOWN)
"""Columns for each server: of each target the lowest quantile, the median and the highest."""

_FILE = "predictor.onnx"
_MOST_HISTORY = 4096


class Memory(NamedTuple):
    """Track what predictions are made from, ``[B, M, ...]`` each."""

    history: NDArray[np.float32]
    """``[B, M, H, 3]`` last tasks of each server, oldest first: time since the one before, cycles
    and memory, each over its mean."""
    length: NDArray[np.int64]
    """``[B, M]`` how many there are."""
    last_s: NDArray[np.float64]
    """``[B, M]`` arrival of the last one."""
    expected: NDArray[np.float64]
    """``[B, M, 3, 3]``: quantiles of the next one's targets, over their means."""


class Predictions:
    """Predict the next task of the servers of B episodes whenever one has arrived.

    Args:
        folder: of a predictor.
        scenario: whose means tasks are relative to.
        batch_size: B.

    Raises:
        InputError: for a folder without a predictor that onnxruntime can open.
    """

    def __init__(self, folder: Path, scenario: CooperativeScenario, batch_size: int) -> None:
        self._session, history = _opened(folder)
        B, M = batch_size, scenario.servers
        self.memory = Memory(
            history=np.zeros((B, M, history, _TARGETS), dtype=np.float32),
            length=np.zeros((B, M), dtype=np.int64),
            last_s=np.zeros((B, M)),
            expected=np.zeros((B, M, _TARGETS, len(_SHOWN))),
        )
        self._gap_s = 1.0 / scenario.rates_per_s
        self._means = np.array([scenario.mean_gcycles, scenario.mean_memory_gb])
        nothing = np.zeros((1, history, _TARGETS), dtype=np.float32)
        self._at_first = self._quantiles(nothing, np.zeros(1, dtype=np.int64))[0]

    def start(self, where: NDArray[np.bool_]) -> None:
        """Forget what came before in the episodes ``where [B]``."""
        memory = self.memory
        memory.history[where], memory.length[where], memory.last_s[where] = 0.0, 0, 0.0
        memory.expected[where] = self._at_first

    def arrive(self, where: NDArray[np.bool_], workload: Workload, progress: Progress) -> None:
        """Take in the task that has arrived in each of the episodes ``where [B]``."""
        b = np.flatnonzero(where)
        if not len(b):
            return
        task = progress.task[b]
        home, now_s = workload.home[b, task], workload.arrival_s[b, task]
        memory = self.memory
        demands = np.stack([workload.gcycles[b, task], workload.memory_gb[b, task]], axis=1)
        gap_s = now_s - memory.last_s[b, home]
        values = np.column_stack([gap_s / self._gap_s[home], demands / self._means])
        histories, lengths = memory.history[b, home], memory.length[b, home]
        full = lengths == histories.shape[1]
        histories[full, :-1] = histories[full, 1:]
        lengths[~full] += 1
        histories[np.arange(len(b)), lengths - 1] = values
        memory.history[b, home], memory.length[b, home] = histories, lengths
        memory.last_s[b, home] = now_s
        memory.expected[b, home] = self._quantiles(histories, lengths)

    def expected(self, now_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what is expected, ``[B, M, PER_SERVER]``, each number in [0, 1).

        Typical amounts become a half. Times are those that are left from ``now_s [B]`` on.
        """
        memory, gap_s = self.memory, self._gap_s[:, None]
        since_s = now_s[:, None, None] - memory.last_s[..., None]
        seen = memory.expected.copy()
        seen[:, :, 0] = np.maximum(seen[:, :, 0] * gap_s - since_s, 0.0) / gap_s
        found: NDArray[np.float64] = (seen / (1.0 + seen)).reshape(*seen.shape[:2], PER_SERVER)
        return found

    def _quantiles(
        self, histories: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        (quantiles,) = self._session.run(None, {"history": histories, "length": lengths})
        places = [round(place * (quantiles.shape[-1] - 1)) for place in _SHOWN]
        shown = np.asarray(quantiles[..., places], dtype=np.float64)
        known: NDArray[np.float64] = np.nan_to_num(shown.clip(0.0, 1e6), nan=1.0)
        return known


def _opened(folder: Path) -> tuple[Any, int]:
    """Open a predictor on one thread, and return it with the most tasks that it looks at."""
    import onnxruntime

    path = check_file(folder / _FILE)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        inputs = {one.name: one.shape for one in session.get_inputs()}
        outputs = [one.shape for one in session.get_outputs()]
    except Exception as error:  # of onnxruntime's own kinds
        said = str(error).splitlines()[0][:200]
        raise InputError(f"{path}: cannot be opened by onnxruntime: {said}") from None
    history = inputs.get("history", [])
    fits = (
        set(inputs) == {"history", "length"}
        and len(history) == len(outputs[0]) == 3
        and history[2] == outputs[0][1] == _TARGETS
        and isinstance(history[1], int)
        and 1 <= history[1] <= _MOST_HISTORY
    )
    if not fits:
        raise InputError(
            f"{path}: expected history [batch, H, 3] and length, as edge-marl predict writes it, "
            f"found inputs {inputs}"
        )
    return session, int(history[1])
