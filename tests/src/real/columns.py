"""Parquet: what pyarrow reads of a file, the contract that fits it, and DuckDB's opinion."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import writers
from model import MISSING, REFUSED, File, bits

NARROW = {pa.int8(): "byte", pa.int16(): "short", pa.uint8(): "short", pa.int32(): "integer", pa.uint16(): "integer",
          pa.float32(): "float"}


def read(path):
    try:
        # INT96 has instants that nanoseconds of 64 bits have not.
        file = pq.ParquetFile(path, coerce_int96_timestamp_unit="us")
        table = file.read()
    except Exception as error:  # Whatever a damaged file makes of it.
        return f"pyarrow: {type(error).__name__}: {str(error)[:80]}"
    found = File({"type": '"parquet"'}, [(field.name, column_type(field.type), None) for field in table.schema], table.num_rows)
    for at, field in enumerate(table.schema):
        array = pa.concat_arrays(table.column(at).chunks) if table.column(at).num_chunks else pa.array([], field.type)
        shown = writers.values(array)
        found.typed[at] = list(typed(array, shown))
        # A null is not rescued.
        found.shown[at] = [MISSING if value is None else value for value in shown]
        found.second = found.second or second(path, field.name, field.type, shown)
    return found


def column_type(kind):
    return NARROW.get(kind) or writers.column_type(kind)[0]


def typed(array, shown):
    kind, convert = writers.column_type(array.type)
    exact = shown
    if kind == "double":
        exact = (array.dictionary_decode() if pa.types.is_dictionary(array.type) else array).to_pylist()
    for value, also in zip(shown, exact):
        made = None if value is None else convert(value)
        yield REFUSED if made == writers.REFUSED else made if made is None or kind != "double" else bits(also)


def second(path, name, kind, shown):
    """What DuckDB reads otherwise than pyarrow, of types for which both have values of Python's."""
    if asked_in_vain(kind, shown):
        return None
    quoted = name.replace('"', '""')
    location = str(path).replace("'", "''")
    try:
        rows = duckdb.sql(f"select \"{quoted}\" from read_parquet(['{location}'], hive_partitioning=false)").fetchall()
    except duckdb.Error as error:
        return f"DuckDB: {name}: {str(error).splitlines()[0][:80]}"
    try:
        read = [writers.duck(row[0], kind) for row in rows]
    except (AttributeError, KeyError, TypeError):
        return f"DuckDB: {name}: another structure"
    for left, right in zip(shown, read):
        if left != right:
            return f"DuckDB: {name}: {right!r} for {left!r}"[:160]
    return None if len(read) == len(shown) else f"DuckDB: {name}: {len(read)} rows of {len(shown)}"


def asked_in_vain(kind, shown):
    has, types = writers.has, pa.types
    return (has(kind, lambda t: types.is_timestamp(t) and (t.tz is not None or t.unit == "ns") or isinstance(t, pa.BaseExtensionType))
            or types.is_nested(kind) and has(kind, types.is_timestamp)
            or has(kind, lambda t: types.is_decimal256(t) or types.is_float16(t) or types.is_duration(t) or types.is_null(t))
            or has(kind, lambda t: types.is_time(t) and t.unit == "ns")
            or any(isinstance(one, int) for one in shown if not types.is_integer(kind) and not types.is_boolean(kind)))
