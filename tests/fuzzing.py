"""Damage to files, and what is to come of reading them: valid values, or one line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edge_marl.errors import InputError

fuzzed = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

LONGEST_S = 60
MOST_BYTES = 4 * 2**30
DEEP = 3000

CHUNKS = [
    b"", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\n\n", b",", b'"', b"{", b"[", b"]", b"-1", b"NaN",
    b"Infinity", b"1e308", b"1e999", b"9223372036854775808", b"9" * 5000, b"[" * DEEP,
    b'{"a":' * DEEP, b"\xc3", b"&a [*a]", b"!!python/object:os.system x",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 2**31, 2**63, 10**299, 1e308, -1e308, float("nan"), float("inf"), "",
    "text", "1", "a\0b", "\ud800", "x" * 5000, "a\nb", [], {}, [1, "a"], {"a": 1}, "../../x",
]  # fmt: skip
TEXTS = ["", " ", "-1", "nan", "inf", "1e308", "1e-308", "9" * 5000, "text", "a\0b", '"', "\ufeff",
         "2000000000", "9223372036854775808", "0x10", "1_0", "a\nb"]  # fmt: skip


def refused_or_read(path: Path, read: Callable[[Path], object]) -> str:
    """Read; what is refused has to be so by one line that names the file.

    Nothing may change on the disk, and neither time nor memory may run out.

    Returns:
        the line, "" if the file was read.
    """
    before = _contents(path)
    line = ""
    with memory_limited(), time_limited():
        try:
            read(path)
        except InputError as error:
            line = str(error)
            assert "\n" not in line
            assert str(path) in line
    assert _contents(path) == before
    return line


def _contents(path: Path) -> dict[str, str]:
    files = [path, *path.rglob("*")] if os.path.isdir(path) else [path]
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest() if os.path.isfile(file) else ""
        for file in files
    }


@contextmanager
def memory_limited() -> Iterator[None]:
    """Little more may be taken; where the system does not say what is taken, there is no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        data = 1024 * int(lines["VmData"].split()[0])
        resource.setrlimit(resource.RLIMIT_DATA, (data + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def time_limited() -> Iterator[None]:
    """It may not wait for ever."""

    def stop(*_: object) -> None:
        pytest.fail(f"reading took more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Cut off, changed, with something in it, in another encoding, or nothing at all."""
    kind = draw(
        st.sampled_from(["cut", "flip", "flip", "chunk", "chunk", "again", "utf-16", "none"])
    )
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "chunk":
        stop = draw(st.integers(at, min(len(content), at + 8)))
        return content[:at] + draw(st.sampled_from(CHUNKS)) + content[stop:]
    if kind == "again":
        return content + content
    return content.decode("latin-1").encode("utf-16") if kind == "utf-16" else b""


@st.composite
def damaged_json(draw: st.DrawFn, content: bytes) -> bytes:
    """With another value, without one, or with a key too many at one place."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged_bytes(content))
    document = json.loads(content)
    holders = [holder for holder in _holders(document) if holder]
    holder = draw(st.sampled_from(holders))
    key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    kind = draw(st.sampled_from(["value", "value", "value", "less", "more", "twice"]))
    if kind == "value":
        holder[key] = draw(st.sampled_from(VALUES))
    elif kind == "less":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    elif kind == "more":
        holder["another"] = holder[key]
    text = json.dumps(document)
    if kind == "twice" and isinstance(key, str):
        return text.replace(
            f"{json.dumps(key)}:", f"{json.dumps(key)}: 1, {json.dumps(key)}:"
        ).encode()
    return text.encode()


def _holders(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


YAML = ["~", "-1", ".nan", ".inf", "1e308", "9" * 5000, "0x" + "f" * 5000, "2001-99-99", "text",
        "[1, 2]", "[2, 1]", "[1]", "[.nan, 1]", "[0, .inf]", "[-1, 9223372036854775808]", "{}",
        "{uniform: 1}", "{uniform: [0, 1], choice: [1]}", "{1: 2}", "&a [*a]", "!!set {a}",
        "[" * 100, "{loguniform: [0, 1]}", "{choice: []}", "{choice: [x, ~]}",
        "{randint: [1.5, 2]}", "!!python/name:os.system", "<<", "? [a]", "'"]  # fmt: skip


@st.composite
def damaged_yaml(draw: st.DrawFn, content: bytes) -> bytes:
    """With another entry, or one that is missing or there twice."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged_bytes(content))
    lines = content.decode().splitlines()
    k = draw(st.integers(0, len(lines) - 1))
    name, _, _ = lines[k].partition(":")
    kind = draw(st.sampled_from(["value", "value", "value", "less", "twice", "name"]))
    value = draw(st.sampled_from(YAML))
    if kind == "less":
        del lines[k]
    elif kind == "twice":
        lines.append(lines[k])
    else:
        lines[k] = f"{name}: {value}" if kind == "value" else f"{value}: 1"
    return "\n".join(lines).encode()


@st.composite
def damaged_csv(draw: st.DrawFn, content: bytes) -> bytes:
    """With another field, or columns or rows that are missing, there twice or moved."""
    if draw(st.integers(0, 2)) == 0:
        return draw(damaged_bytes(content))
    rows = list(csv.reader(io.StringIO(content.decode())))
    k = draw(st.integers(0, len(rows) - 1))
    column = draw(st.integers(0, len(rows[k]) - 1))
    kind = draw(
        st.sampled_from(["field", "field", "field", "row", "short", "less", "twice", "swap"])
    )
    if kind == "field":
        rows[k][column] = draw(st.sampled_from(TEXTS))
    elif kind == "row":
        rows.insert(draw(st.integers(0, len(rows))), rows[k])
    elif kind == "short":
        rows[k] = rows[k][:column]
    else:
        for row in rows:
            if kind == "less":
                del row[column]
            elif kind == "twice":
                row.append(row[column])
            else:
                row[0], row[column] = row[column], row[0]
    text = io.StringIO()
    csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\n\n"]))).writerows(rows)
    return (draw(st.sampled_from(["", "\ufeff"])) + text.getvalue()).encode(
        "utf-8", "surrogatepass"
    )


@st.composite
def damaged_parquet(draw: st.DrawFn, content: bytes) -> bytes:
    """With columns of other types or values, other rows, or other metadata."""
    if draw(st.integers(0, 3)) == 0:
        return draw(damaged_bytes(content))
    table = pq.read_table(pa.BufferReader(content))
    k = draw(st.integers(0, table.num_columns - 1))
    name, column = table.column_names[k], table.column(k)
    metadata = dict(table.schema.metadata or {})
    kinds = ["value", "value", "value", "type", "less", "twice", "name", "rows", "order"]
    kind = draw(st.sampled_from([*kinds, *["metadata"] * 3 * bool(metadata)]))
    if kind == "value":
        values = column.to_pylist()
        values[draw(st.integers(0, len(values) - 1))] = draw(st.sampled_from(CELLS))
        try:
            array = pa.array(values, column.type)
        except (pa.ArrowException, TypeError, OverflowError, ValueError):
            array = pa.array(map(str, values))
        table = table.set_column(k, name, array)
    elif kind == "type":
        kind_ = draw(st.sampled_from(TYPES))
        table = table.set_column(k, name, pa.nulls(len(table), kind_))
    elif kind == "less":
        table = table.drop_columns([name])
    elif kind == "twice":
        table = table.append_column(name, column)
    elif kind == "name":
        names = [*table.column_names]
        names[k] = "other"
        table = table.rename_columns(names)
    elif kind == "rows":
        table = table[: draw(st.integers(0, len(table) - 1))]
    elif kind == "order":
        table = table.take(draw(st.permutations(range(len(table)))))
    else:
        key = draw(st.sampled_from(sorted(metadata)))
        metadata[key] = draw(st.sampled_from(METADATA))
        table = table.replace_schema_metadata(metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


CELLS: list[Any] = [
    None, -1, 0, 2**31 - 1, 2**62, 1e308, float("nan"), "x", [], [None], [-2],
]  # fmt: skip
TYPES = [pa.string(), pa.float32(), pa.uint64(), pa.bool_(), pa.null(), pa.list_(pa.int8()),
         pa.timestamp("s"), pa.binary()]  # fmt: skip
METADATA = [b"", b"null", b"-1", b"2000000000", b"NaN", b"1e308", b"[]", b"9" * 5000, b"[" * DEEP]

SQL = ["NULL", "-1", "0", "1.5", "2000000000", "9223372036854775807", "9e999", "'x'", "''", "X''",
       "X'00'", "zeroblob(60)", "'{\"a\":1,\"a\":1}'", "'[]'", "'1'"]  # fmt: skip


def damage_sqlite(draw: st.DrawFn, path: Path) -> None:
    """Change one value of a database, take something of it away, or damage its file."""
    if draw(st.integers(0, 2)) == 0:
        path.write_bytes(draw(damaged_bytes(path.read_bytes())))
        return
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        table = draw(st.sampled_from(["runs", "episodes", "tasks", "decisions"]))
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        column = draw(st.sampled_from(columns))
        value = draw(st.sampled_from(SQL))
        row = f"rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {draw(st.integers(0, 3))})"
        statement = draw(
            st.sampled_from(
                [
                    *[f"UPDATE {table} SET {column} = {value} WHERE {row}"] * 6,
                    f"UPDATE {table} SET {column} = {value}",
                    f"DELETE FROM {table} WHERE {row}",
                    f"DELETE FROM {table}",
                    f"DROP TABLE {table}",
                    f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
                ]
            )
        )
        connection.execute(statement)
        connection.commit()
    except sqlite3.Error:
        pass  # the database itself refuses it
    finally:
        connection.close()


def no_files(folder: Path) -> Iterator[Path]:
    """Paths that hold no file that can be read."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "to-folder").symlink_to("folder")
    (folder / "file").write_bytes(b"x")
    (folder / "closed").write_bytes(b"x")
    (folder / "closed").chmod(0)
    yield from (folder / name for name in ("folder", "pipe", "loop", "to-folder", "absent"))
    yield from (folder / "file" / "within", folder / ("n" * 300), Path("/dev/zero"))
    if not os.access(folder / "closed", os.R_OK):
        yield folder / "closed"
