"""Read Parquet files that others made, where they fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edge_marl.errors import InputError
from edge_marl.memory import check_memory
from edge_marl.reading import check_file, reading

_VALUE_BYTES = 8


def read_parquet(
    path: str | Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> pa.Table:
    """Read some columns of a file, with the metadata of its schema.

    Args:
        path: of the file.
        columns: names of the columns to read.
        optional: names of further columns to read where the file has them.

    Raises:
        InputError: for a file that cannot be read, is not Parquet or would not fit into memory, and
            for a column that is missing or there twice.
    """
    path = check_file(path)
    with reading_parquet(path), pq.ParquetFile(path) as file:
        columns = [*columns, *(name for name in optional if name in file.schema_arrow.names)]
        check_columns(path, file.schema_arrow, columns)
        check_memory(_bytes(file.metadata, columns), str(path))
        return file.read(columns=columns)


def check_type(path: str | Path, table: pa.Table, name: str, expected: pa.DataType) -> None:
    """Refuse a column of another type or with values that are missing.

    Args:
        path: of the file.
        table: read from it.
        name: of the column.
        expected: its type; a type of numbers allows any integers and any finite floats.

    Raises:
        InputError: naming the column, and the row.
    """
    column = table.column(name)
    found, is_list = column.type, pa.types.is_list(expected)
    fits = _is_number(found) if _is_number(expected) else found == expected
    if is_list:
        fits = pa.types.is_list(found) and found.value_type == expected.value_type
    if not fits:
        raise InputError(f"{path}: column {name}: expected {expected}, found {found}")
    holds = column.is_valid()
    if pa.types.is_floating(found):
        holds = pc.fill_null(pc.is_finite(column), fill_value=False)
    rows = holds.to_numpy()
    if not rows.all():
        row = int(rows.argmin())
        value = column[row].as_py()
        raise InputError(f"{path}: row {row + 1}, {name}: expected a value, found {value}")
    if is_list and pc.list_flatten(column).null_count:
        raise InputError(f"{path}: column {name}: expected lists without missing values")


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


@contextmanager
def reading_parquet(path: str | Path) -> Iterator[None]:
    """Turn what Arrow finds wrong with a file into one line that names it.

    Raises:
        InputError: for errors of Arrow and as :func:`edge_marl.reading.reading`.
    """
    try:
        with reading(path):
            yield
    except InputError:
        raise
    except (pa.ArrowException, ValueError, MemoryError) as error:
        raise InputError(f"{path}: expected a Parquet file: {error}") from error


def check_columns(path: str | Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Refuse a file without exactly one column of each name.

    Raises:
        InputError: naming the column.
    """
    for name in columns:
        count = schema.names.count(name)
        if count != 1:
            raise InputError(f"{path}: column {name}: expected one, found {count or 'none'}")


def _bytes(metadata: pq.FileMetaData, columns: Sequence[str]) -> float:
    """Return the fewest bytes that columns take in memory, from what the file says of itself.

    A few bytes of the file may stand for any number of equal rows.
    """
    total = 0.0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for k in range(row_group.num_columns):
            chunk = row_group.column(k)
            if chunk.path_in_schema.partition(".")[0] in columns:
                values = _VALUE_BYTES * float(chunk.num_values)
                total += max(values, float(chunk.total_uncompressed_size))
    return total
