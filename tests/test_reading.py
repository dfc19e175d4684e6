"""Texts, archives and JSON: what is accepted, what is refused, and that what is written is read."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import edge_marl
from edge_marl import reading
from edge_marl.errors import InputError
from edge_marl.json_files import Number, json_text, parse_json, read_json, read_model, write_json
from edge_marl.reading import csv_rows, lines

TABLE = b"a,b\n1,2\n\n3,4\n"
ROWS = [(1, ["a", "b"]), (2, ["1", "2"]), (4, ["3", "4"])]


def zipped(content: bytes) -> bytes:
    """The same bytes whenever it is called, for they stand in the names of tests."""
    return gzip.compress(content, mtime=0)


def packed(*members: tuple[str, bytes], **header: Any) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in header.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        TABLE,
        b"\xef\xbb\xbf" + TABLE,
        TABLE.replace(b"\n", b"\r\n"),
        zipped(TABLE),
        zipped(b"\xef\xbb\xbf" + TABLE),
        zipped(TABLE[:4]) + zipped(TABLE[4:]),
        packed(("t.csv", TABLE)),
        zipped(packed(("t.csv", TABLE))),
        zipped(packed(("README", b"x" * 700), ("folder/t.csv", TABLE), ("._t.csv", b"x"))),
        zipped(packed(("../../t.csv", TABLE))),
    ],
)
def test_a_table_is_read_whatever_it_is_packed_in(content: bytes, tmp_path: Path) -> None:
    """The name of the file says nothing; blank lines are none."""
    path = tmp_path / "table"
    path.write_bytes(content)
    assert list(csv_rows(path)) == ROWS
    assert [file.name for file in tmp_path.iterdir()] == ["table"]


def bomb(pattern: bytes) -> bytes:
    """4 MiB in some thousand bytes."""
    return zipped(pattern * (2**22 // len(pattern)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (zipped(TABLE)[:-9], "cannot be read: Compressed file ended before"),
        (zipped(TABLE)[:20] + b"x" * 30, "cannot be read: "),
        (bomb(b"1,2\n"), "expected a compressed table, found what unpacks to more than 100 times"),
        (bomb(b"\n"), "found what unpacks to more than 100 times its size"),
        (b"1," * 2**20, "row 1: expected at most 1048576 characters, found more"),
        (b'"\n",' * 2**19, "row 262145: expected at most 1048576 characters, found more"),
        (packed(("t.txt", TABLE)), "expected a file *.csv in the archive, found none"),
        (packed(("t.csv", TABLE), type=tarfile.SYMTYPE, linkname="/etc/passwd"), "found none"),
        (packed(("t.csv", TABLE), ("u.csv", TABLE)), "expected one file *.csv in the archive, f"),
        (packed(("t.csv", TABLE * 99))[:1000], "expected a whole archive, found one that is cut"),
        (packed(("t.txt", TABLE))[:1024] + b"x" * 512, "expected the header of a file, found a"),
        (packed(("t.csv", TABLE * 99))[:512], "expected a whole archive, found one that is cut"),
        (TABLE.decode().encode("utf-16"), "expected a CSV file in UTF-8, found"),
        (b'a,"b\n', "expected a CSV file in UTF-8, found unexpected end of data"),
    ],
)
def test_a_hostile_or_damaged_table_is_refused_in_one_line(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        for _ in csv_rows(path):
            pass
    assert str(refusal.value).startswith(f"{path}: ")
    assert expected in str(refusal.value)
    assert [file.name for file in tmp_path.iterdir()] == ["table"]


def test_what_can_hardly_be_compressed_has_no_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_marl.archives._ANY_RATIO", 1000)
    draw = random.Random(0)
    rows = [[str(draw.random()), str(k)] for k in range(2000)]
    path = tmp_path / "table"
    path.write_bytes(zipped("".join(f"{','.join(row)}\n" for row in rows).encode()))
    assert [row for _, row in csv_rows(path)] == rows


def test_lines_of_any_number_but_of_a_bounded_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LONGEST_ROW", 5)
    path = tmp_path / "text"
    path.write_text("\ufeffabcd\n" * 3, encoding="utf-8")
    with pytest.raises(InputError, match="row 2: expected at most 5 characters, found more"):
        list(lines(path))  # a mark that is not at the beginning is a character
    path.write_text("\ufeffabcd\nefgh\n" * 1, encoding="utf-8")
    assert list(lines(path)) == ["abcd\n", "efgh\n"]


# JSON


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected JSON, found Expecting value"),
        ("{", "expected JSON, found Expecting property name"),
        ('{"a": 1, "a": 1}', "expected JSON, found the key 'a' twice in an object"),
        ("1e999", "expected JSON, found a number out of range, 1e999"),
        ("9" * 301, "expected JSON, found a number of 301 digits"),
        ("9" * 5000, "expected JSON, found a number of 5000 digits"),
        ("[" * 101 + "]" * 101, "expected at most 100 values within one another, found more"),
        ("[" * 100_000, "expected JSON, found maximum recursion depth exceeded"),
        (b'"\xff"', "expected JSON, found 'utf-8' codec can't decode"),
        ('"a"'.encode("utf-16"), "expected JSON, found"),
    ],
)
def test_what_is_no_plain_json_is_refused(text: str | bytes, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"place: {expected}")):
        parse_json(text, "place")


def test_a_mark_before_json_is_no_part_of_it_and_what_is_no_number_is_null() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "place") == {"a": 1}
    assert parse_json("[NaN, -Infinity, 1e300]", "place") == [None, None, 1e300]
    assert parse_json("[" * 100 + "]" * 100, "place")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_is_written_is_json_and_comes_back(value: Any) -> None:
    def no_json(token: str) -> None:
        pytest.fail(f"found {token}")

    text = json_text(value)
    found = json.loads(text, parse_constant=no_json)
    assert found == parse_json(text, "place")
    assert json_text(found) == text


def test_a_model_comes_back_with_nan_where_it_had_no_number(tmp_path: Path) -> None:
    class Means(BaseModel):
        means: dict[str, Number]

    write_json(tmp_path / "m.json", Means(means={"delay_s": math.nan, "rate": 0.5}))
    assert read_json(tmp_path / "m.json") == {"means": {"delay_s": None, "rate": 0.5}}
    found = read_model(tmp_path / "m.json", Means).means
    assert math.isnan(found["delay_s"])
    assert found["rate"] == 0.5
    write_json(tmp_path / "m.json", {"means": {"rate": "high"}})
    with pytest.raises(InputError, match=r"m\.json: means\.rate: expected a number, found 'high'"):
        read_model(tmp_path / "m.json", Means)


def test_json_files_are_written_and_read_in_one_place() -> None:
    """Python's own writer makes files that are no JSON, its reader accepts what is none."""
    package = Path(edge_marl.__file__).resolve().parent
    folders = ("envs", "algorithms", "experiments")
    files = [file for folder in (package, *(package.parent / name for name in folders))
             for file in folder.rglob("*.py")]  # fmt: skip
    from_files = r"json\.load\(|(json\.loads|validate_json)\([^)]*(read_text|read_bytes)"
    to_files = r"json\.dump\(|write\w*\([^)]*(json\.dumps|model_dump_json)"
    either = re.compile(f"{from_files}|{to_files}")
    assert [file for file in files if either.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("read", [read_json, lambda path: list(lines(path))])
def test_a_file_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**42)  # takes no room on the disk
    with pytest.raises(InputError, match=r"large: (expected to fit into|row 1: expected at most)"):
        read(path)
