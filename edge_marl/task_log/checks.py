"""Refuse, by row, what a log cannot hold: values that no deployed policy can have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from edge_marl.errors import InputError
from edge_marl.json_files import parse_json
from edge_marl.peer_offloading.records import Status
from edge_marl.task_log.records import FORMAT, TIMES, EpisodeRecord, Run, TaskColumns
from edge_marl.validation import shown

ROUNDING = 1e-9
"""Times that differ by this share of a slot or of a deadline are the same."""

KEYS = {
    "runs": ("id",),
    "episodes": ("id",),
    "tasks": ("episode", "id"),
    "decisions": ("episode", "slot", "node"),
}
"""The columns that tell a row of each table from others."""

_ANY = (0, np.iinfo(np.int64).max)
_SHORT = np.iinfo(np.int16).max


class EpisodeRow(NamedTuple):
    """Hold an episode's row of the table ``episodes``."""

    id: int
    run: int
    seed: int
    slots: int


class Rows:
    """Hold unchecked rows of a table, as columns of one length, and check them.

    Args:
        table: where they are, such as ``log.sqlite: tasks``.
        columns: by name; of Python values or a numpy array.
        key: the columns that tell a row from others in messages.
    """

    def __init__(self, table: str, columns: Mapping[str, Any], key: Sequence[str]) -> None:
        self.table = table
        self.columns = dict(columns)
        self._key = key

    def __len__(self) -> int:
        return len(self.columns[self._key[0]])

    def refuse(self, row: int, column: str, expected: str, found: str = "") -> NoReturn:
        """Raise the error that names a row, its value in a column, and what was expected.

        Raises:
            InputError: always.
        """
        label = ", ".join(f"{name} {_plain(self.columns[name][row])}" for name in self._key)
        found = found or shown(_plain(self.columns[column][row]))
        raise InputError(f"{self.table}: row {label}: {column}: expected {expected}, found {found}")

    def check(self, column: str, holds: NDArray[np.bool_], expected: str) -> None:
        """Refuse the first row for which ``holds`` is false.

        Raises:
            InputError: naming it.
        """
        if not holds.all():
            self.refuse(int(holds.argmin()), column, expected)

    def integers(self, column: str, low: int, high: int) -> NDArray[np.int64]:
        """Return a column of whole numbers from ``low`` to ``high``.

        Raises:
            InputError: naming the first row with anything else.
        """
        values = self._array(column, "iu")
        expected = f"a whole number from {low} to {high}" if high < _ANY[1] else "a whole number"
        if values.dtype == object:
            self.check(column, np.array([_is_integer(v) for v in values], bool), expected)
        self.check(column, (values >= low) & (values <= high), expected)
        return values.astype(np.int64)

    def numbers(
        self, column: str, *, zero: bool = False, missing: bool = False
    ) -> NDArray[np.float64]:
        """Return a column of finite numbers above 0.

        With ``zero`` they may be 0 as well, with ``missing`` they may be null, which becomes NaN.

        Raises:
            InputError: naming the first row with anything else.
        """
        expected = "a number of at least 0" if zero else "a number above 0"
        values = self._array(column, "fiu")
        if values.dtype == object:
            kinds = (int, float, type(None)) if missing else (int, float)
            self.check(column, np.array([type(v) in kinds for v in values], bool), expected)
        values = values.astype(np.float64)
        holds = np.isfinite(values) & ((values >= 0) if zero else (values > 0))
        self.check(column, holds | np.isnan(values) if missing else holds, expected)
        return values

    def _array(self, column: str, kinds: str) -> NDArray[Any]:
        """Return a column as an array of one of the numeric ``kinds``, or else of objects."""
        found = self.columns[column]
        try:
            values = np.asarray(found)
        except ValueError:  # lists of different lengths
            values = np.empty(0)
        if values.shape == (len(found),) and values.dtype.kind in kinds:
            return values
        objects = np.empty(len(found), dtype=object)
        for row, value in enumerate(found):
            objects[row] = value
        return objects

    def sorted_by(self, *columns: str) -> Rows:
        """Return the same rows in ascending order of some columns, which are arrays of numbers."""
        order = np.lexsort([self.columns[name] for name in reversed(columns)])
        if (order == np.arange(len(order))).all():
            return self
        taken = {
            name: values[order] if isinstance(values, np.ndarray) else [values[k] for k in order]
            for name, values in self.columns.items()
        }
        return Rows(self.table, taken, self._key)


def check_runs(rows: Rows) -> dict[int, Run]:
    """Check the runs of a log, and return them by their id.

    Raises:
        InputError: naming the first bad row: another format, an id twice, impossible sizes, a
            configuration that is not JSON.
    """
    formats = rows.integers("format", *_ANY)
    rows.check("format", formats == FORMAT, str(FORMAT))
    nodes = rows.integers("nodes", 1, _SHORT - 1)
    ids = rows.integers("id", *_ANY)
    _check_once(rows, "id", ids)
    rows.integers("features", 1, np.iinfo(np.int32).max)
    rows.check("actions", rows.integers("actions", *_ANY) == nodes + 1, "one more than nodes")
    rows.numbers("slot_s")
    for name in ("environment", "configuration", "policy", "started"):
        rows.check(name, np.array([type(v) is str for v in rows.columns[name]], bool), "a text")
    for row, text in enumerate(rows.columns["configuration"]):
        try:
            fine = isinstance(parse_json(text, rows.table), dict)
        except InputError:
            fine = False
        if not fine:
            rows.refuse(row, "configuration", "a JSON object")
    fields = zip(*(map(_plain, rows.columns[name]) for name in Run._fields), strict=True)
    return {int(id_): Run(*values) for id_, values in zip(ids, fields, strict=True)}


def check_episodes(rows: Rows, runs: Mapping[int, Run]) -> list[EpisodeRow]:
    """Check the episodes of a log, and return them ordered by id.

    Raises:
        InputError: naming the first bad row: no such run, a seed twice, no slots.
    """
    columns = {
        "id": rows.integers("id", *_ANY),
        "run": rows.integers("run", *_ANY),
        "seed": rows.integers("seed", *_ANY),
        "slots": rows.integers("slots", 1, np.iinfo(np.int32).max),
    }
    rows.check("run", np.isin(columns["run"], list(runs)), "the id of a run")
    for name, pairs in (
        ("id", columns["id"]),
        ("seed", np.stack([columns["run"], columns["seed"]], axis=1)),
    ):
        _check_once(rows, name, pairs)
    found = zip(*(column.tolist() for column in columns.values()), strict=True)
    return sorted(EpisodeRow(*values) for values in found)


def _check_once(rows: Rows, name: str, values: NDArray[np.int64]) -> None:
    """Refuse the second of two rows with the same values ``[R]`` or ``[R, F]``."""
    _, first = np.unique(values, axis=0, return_index=True)
    once = np.zeros(len(rows), dtype=np.bool_)
    once[first] = True
    rows.check(name, once, "one that no other row has")


def check_episode(
    run: Run,
    row: EpisodeRow,
    tasks: Rows,
    decisions: Rows,
) -> EpisodeRecord:
    """Check the tasks and decisions of an episode, and return it as arrays.

    Args:
        run: the run that it belongs to.
        row: of the table of episodes.
        tasks: its tasks.
        decisions: its decisions; ``mask`` is bool ``[R, A]``, ``observation`` float32 ``[R, F]``.

    Raises:
        InputError: naming the first bad row: a value out of its range, an action outside the
            mask, a node and slot without its decision, a task that was not decided on.
    """
    T, N = row.slots, run.nodes
    decisions.columns["slot"] = decisions.integers("slot", 0, T - 1)
    decisions.columns["node"] = decisions.integers("node", 0, N - 1)
    decisions = decisions.sorted_by("slot", "node")
    _check_grid(decisions, T, N, row.id)
    actions = decisions.integers("action", 0, run.actions - 1)
    mask, features = decisions.columns["mask"], decisions.columns["observation"]
    decisions.check("action", mask[np.arange(len(mask)), actions], "an action of the mask")
    if not np.isfinite(features).all():
        finite = np.isfinite(features)
        bad = int(finite.all(axis=1).argmin())
        decisions.refuse(bad, "observation", "finite numbers", str(features[bad][~finite[bad]][0]))

    tasks = _check_tasks(tasks, run, T)
    slot, source, destination = (tasks.columns[name] for name in ("slot", "source", "destination"))
    decision = slot * N + source
    decided = actions[decision]
    if not (decided == destination).all():
        bad = int((decided == destination).argmin())
        chosen = "no task" if decided[bad] == N else f"node {decided[bad]}"
        tasks.refuse(bad, "destination", f"what the decision says, {chosen}")
    tasks.check("slot", np.diff(decision, prepend=-1) > 0, "one task a slot and node")
    if (actions < N).sum() != len(tasks):
        of_no_task = np.setdiff1d(np.flatnonzero(actions < N), decision)
        decisions.refuse(int(of_no_task[0]), "action", f"{N}, for there is no task")
    return EpisodeRecord(
        seed=row.seed,
        tasks=TaskColumns(
            **{name: tasks.columns[name].astype(kind) for name, kind in _TASK_TYPES.items()}
        ),
        features=features.reshape(T, N, run.features),
        action_mask=mask.reshape(T, N, run.actions),
        actions=actions.reshape(T, N).astype(np.int16),
    )


_TASK_TYPES = {
    "id": np.int64, "slot": np.int32, "source": np.int16, "destination": np.int16,
    "status": np.int8, "size_kb": np.float64, "cycles": np.float64, "deadline_s": np.float64,
    **dict.fromkeys(TIMES, np.float64),
}  # fmt: skip


def _check_tasks(tasks: Rows, run: Run, slots: int) -> Rows:
    """Check the tasks of an episode; return them with arrays as columns, by slot and source."""
    N = run.nodes
    columns = tasks.columns
    columns["id"] = tasks.integers("id", *_ANY)
    columns["slot"] = tasks.integers("slot", 0, slots - 1)
    for name in ("source", "destination"):
        columns[name] = tasks.integers(name, 0, N - 1)
    columns["status"] = tasks.integers("status", Status.IN_FLIGHT, max(Status))
    for name in ("size_kb", "cycles", "deadline_s"):
        columns[name] = tasks.numbers(name)
    in_flight = columns["status"] == Status.IN_FLIGHT
    for name in TIMES:
        columns[name] = tasks.numbers(name, zero=True, missing=True)
        tasks.check(name, ~np.isnan(columns[name]) | in_flight, "a number, for it has finished")
        tasks.check(name, np.isnan(columns[name]) | ~in_flight, "nothing, for it is in flight")
    tasks = tasks.sorted_by("id")
    tasks.check("id", np.diff(tasks.columns["id"], prepend=-1) > 0, "an id that no other row has")
    tasks = tasks.sorted_by("slot", "source")
    columns = tasks.columns
    spent_s = sum(columns[name] for name in TIMES)
    deadline_s = columns["deadline_s"]
    slack_s = ROUNDING * deadline_s + ROUNDING * run.slot_s
    unknown = np.isnan(spent_s)
    tasks.check(
        "deadline_s", unknown | (spent_s <= deadline_s + slack_s),
        "at least the four times together",
    )  # fmt: skip
    dropped = columns["status"] == Status.DROPPED
    tasks.check(
        "deadline_s", ~dropped | (spent_s >= deadline_s - slack_s),
        "the four times together, for it was dropped",
    )  # fmt: skip
    local = columns["source"] == columns["destination"]
    tasks.check(
        "status", ~local | (columns["status"] != Status.TRANSMISSION_FAILED),
        "another, for it was never sent",
    )  # fmt: skip
    return tasks


def _check_grid(decisions: Rows, slots: int, nodes: int, episode: int) -> None:
    """Refuse decisions unless there is exactly one for every node and slot."""
    found = decisions.columns["slot"] * nodes + decisions.columns["node"]
    decisions.check("node", np.diff(found, prepend=-1) > 0, "one decision a slot and node")
    if len(found) < slots * nodes:
        # Do not list all that should be there: an episode may claim any length.
        missing = int((np.append(found, -1) != np.arange(len(found) + 1)).argmax())
        raise InputError(
            f"{decisions.table}: row episode {episode}, slot {missing // nodes}, "
            f"node {missing % nodes}: expected a decision, found none"
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """Turn a numpy scalar into a Python value; return any other value as it is."""
    return value.item() if isinstance(value, np.generic) else value
