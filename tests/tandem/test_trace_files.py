"""Trace files come back bit for bit; a malformed one is refused by place."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError
from edge_marl.tandem.scenario import TandemWorkload
from edge_marl.tandem.trace_files import read_traces, write_traces
from edge_marl.tandem.traces import JOB_FIELDS, TraceSet


def assert_identical(left, right):
    for name in (*JOB_FIELDS, "n_jobs"):
        a, b = getattr(left, name), getattr(right, name)
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name
    assert (left.downlink, left.slot_s) == (right.downlink, right.slot_s)
    assert left.metadata == right.metadata


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "traces.parquet"
    write_traces(TandemWorkload().make(3, seed=7), path)
    return path


def changed(path, column, row, value, type_=None):
    """The file with one value replaced (None is null)."""
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    values[row] = value
    index = table.column_names.index(column)
    array = pa.array(values, type=type_)
    pq.write_table(table.set_column(index, column, array), path)
    return path


def test_a_drawn_set_comes_back_bit_for_bit_with_its_origin(tmp_path):
    traces = TandemWorkload(slot_s=0.15).make(50, seed=3)
    write_traces(traces, tmp_path / "t.parquet")
    found = read_traces(tmp_path / "t.parquet")
    assert_identical(traces, found)
    assert found.metadata["generator"].endswith("TandemWorkload")
    assert found.metadata["seed"] == {"first": 3, "count": 50}
    redrawn = TandemWorkload(**found.metadata["config"]).make(50, seed=3)
    assert_identical(traces, redrawn)


JOB = st.tuples(
    st.integers(0, 50), st.integers(1, 9), st.integers(1, 9), st.integers(51, 99), st.integers(0, 1)
)


@settings(max_examples=40)
@given(
    traces=st.lists(st.lists(JOB, min_size=1, max_size=4), min_size=1, max_size=4),
    downlink=st.integers(0, 5),
    slot_s=st.floats(1e-3, 10),
)
def test_any_set_comes_back_even_with_ragged_traces(tmp_path_factory, traces, downlink, slot_s):
    path = tmp_path_factory.mktemp("traces") / "t.parquet"
    original = TraceSet.from_jobs(traces, downlink=downlink, slot_s=slot_s)
    write_traces(original, path)
    assert_identical(original, read_traces(path))


def test_writing_leaves_no_other_file_and_replaces_an_older_one(tmp_path, written):
    write_traces(TandemWorkload().make(2), written)
    assert len(read_traces(written)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["traces.parquet"]


def test_an_invalid_set_is_not_written(tmp_path):
    traces = TandemWorkload().make(2)
    late = replace(traces, deadline=np.zeros_like(traces.deadline))
    with pytest.raises(InputError, match="trace 0, job 0, deadline"):
        write_traces(late, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "row", "value", "expected"),
    [
        ("arrival", 2, -1, "row 3, arrival: expected 0 to 2147483647, found -1"),
        ("comm", 4, -3, "row 5, comm: expected 0 to 2147483647, found -3"),
        ("comp", 4, 0, "row 5, comp: expected at least 1 slot, found 0"),
        ("comm", 1, 2**40, "row 2, comm: expected 0 to 2147483647"),
        ("deadline", 3, 0, "row 4, deadline: expected a deadline after the arrival, found 0"),
        ("app", 5, 2, "row 6, app: expected below 2, found 2"),
        ("job", 8, 7, "row 9, job: expected jobs numbered 0, 1, 2, ..., found 7"),
        ("trace", 17, 9, "row 18, trace: expected below 3, found 9"),
        ("trace", 7, 0, "row 8, trace: expected rows sorted by trace, found 0"),
        ("arrival", 6, 10**6, "row 8, arrival: expected jobs sorted by arrival"),
        ("comp", 9, None, "row 10, comp: expected a number, found null"),
    ],
)
def test_a_bad_value_is_refused_with_file_row_and_column(written, column, row, value, expected):
    path = changed(written, column, row, value, pa.int64())
    with pytest.raises(InputError) as refusal:
        read_traces(path)
    assert str(refusal.value).startswith(f"{path}: {expected}")
    assert "\n" not in str(refusal.value)


def test_nan_and_other_types_are_refused(written):
    changed(written, "comm", 2, float("nan"), pa.float64())
    with pytest.raises(InputError, match="row 3, comm: expected a number, found NaN"):
        read_traces(written)
    changed(written, "comm", 2, 4.0, pa.float64())
    with pytest.raises(InputError, match="column comm: expected integers, found double"):
        read_traces(written)


def test_a_missing_column_is_refused(written):
    pq.write_table(pq.read_table(written).drop_columns(["deadline"]), written)
    with pytest.raises(InputError, match="column deadline: expected one, found none"):
        read_traces(written)


def test_missing_or_broken_metadata_are_refused(written):
    table = pq.read_table(written)
    pq.write_table(table.replace_schema_metadata({}), written)
    with pytest.raises(InputError, match="metadata: expected a key 'format', found none"):
        read_traces(written)
    for key, value, expected in [
        ("slot_s", "-1", "metadata slot_s: expected seconds above 0, found -1"),
        ("slot_s", "NaN", "metadata slot_s"),
        ("downlink", "1.5", "metadata downlink: expected a whole number"),
        ("jobs", "5", "row 6, job: expected below 5"),
        ("metadata", "{", "metadata metadata: expected JSON"),
        (
            "metadata",
            '{"a": 1, "a": 2}',
            "metadata metadata: expected JSON, found the key 'a' twice",
        ),
        ("slot_s", "1e308", "slot_s: expected more than 0 and at most 1e[+]12 s, found 1e[+]308"),
        ("format", '"other"', "metadata format: expected 'edge-marl tandem traces 1'"),
    ]:
        metadata = {**table.schema.metadata, key.encode(): value.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), written)
        with pytest.raises(InputError, match=expected):
            read_traces(written)


def test_a_filtered_file_is_refused_by_the_first_trace_that_has_no_job(written):
    table = pq.read_table(written)
    for kept, missing in (((0, 1), 2), ((0, 2), 1), ((1, 2), 0), ((), 0)):
        pq.write_table(table.filter(pc.is_in(table["trace"], pa.array(kept, pa.int32()))), written)
        with pytest.raises(InputError, match=rf"trace {missing}: expected jobs, .* say 3 traces"):
            read_traces(written)


def test_sets_without_traces_and_traces_without_jobs_are_refused(tmp_path):
    for jobs, message in (
        ([], "at least one trace"),
        ([[], [(0, 1, 1, 9)]], "trace 0: .* one job"),
    ):
        with pytest.raises(InputError, match=message):
            TraceSet.from_jobs(jobs)
    none = TandemWorkload().make(2)[:0]
    with pytest.raises(InputError, match="expected at least one trace, found none"):
        write_traces(none, tmp_path / "t.parquet")


def test_what_the_metadata_say_is_not_taken_for_a_size(written):
    table = pq.read_table(written)
    for traces, jobs in ((2_000_000_000, 2_000_000_000), (3, 2_000_000_000)):
        sizes = {b"traces": str(traces).encode(), b"jobs": str(jobs).encode()}
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **sizes}), written)
        if traces == 3:
            assert read_traces(written).max_jobs == 6
        else:
            with pytest.raises(InputError, match="trace 3: expected jobs, found none"):
                read_traces(written)


def test_rows_and_slots_beyond_any_memory_are_refused_before_they_are_taken(written, monkeypatch):
    changed(written, "deadline", 5, 2**31 - 1, pa.int64())
    with pytest.raises(InputError, match="trace 0, job 5, deadline: expected at most 16777216 sl"):
        read_traces(written)
    monkeypatch.setattr("edge_marl.memory.memory_limit", lambda: 1000.0)
    with pytest.raises(InputError, match=r"traces\.parquet: expected to fit into"):
        read_traces(written)


def test_a_file_that_is_not_parquet_or_absent_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("trace,job\n0,0\n")
    with pytest.raises(InputError, match=r"t\.parquet: expected a Parquet file"):
        read_traces(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"absent\.parquet: cannot be read"):
        read_traces(tmp_path / "absent.parquet")
