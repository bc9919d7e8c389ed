"""Writes Parquet files with pyarrow, and says what pyarrow and DuckDB read of each.

One line of JSON a file: {"file", "type" (of the contract's column `v`), "rows": [[as JSON, as the column's type], ...]},
where the second is {"refused": true} for what that type cannot hold.
"""

import base64
import datetime
import decimal
import json
import math
import os
import random
import struct
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

REFUSED = {"refused": True}
FIRST, LAST = -62_135_596_800, 253_402_300_800
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def short32(value):
    """The double of the fewest digits that give the same float."""
    if math.isnan(value) or math.isinf(value):
        return value
    for digits in range(1, 18):
        text = f"%.{digits}g" % value
        try:
            if struct.pack("f", float(text)) == struct.pack("f", value):
                return float(text)
        except OverflowError:
            pass
    return value


def number(value):
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def instant(value, unit, utc):
    per = PER_SECOND[unit]
    seconds, part = divmod(value, per)
    if not FIRST <= seconds < LAST:
        return value
    text = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    text = text.rjust(19, "0")
    nanos = part * (10**9 // per)
    if nanos % 10**6 == 0:
        fraction = f".{nanos // 10**6:03}" if nanos else ""
    elif nanos % 10**3 == 0:
        fraction = f".{nanos // 10**3:06}"
    else:
        fraction = f".{nanos:09}"
    return text + fraction + ("Z" if utc else "")


def time_of_day(value, unit):
    nanos = value * (10**9 // PER_SECOND[unit])
    if not 0 <= nanos < 86_400 * 10**9:
        return value
    seconds, nanos = divmod(nanos, 10**9)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if nanos == 0:
        return text
    return text + (f".{nanos // 1000:06}" if nanos % 1000 == 0 else f".{nanos:09}")


def day(value):
    if not FIRST <= value * 86_400 < LAST:
        return value
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=value)).isoformat()


def values(array):
    """An array's values as Weir shows them in JSON."""
    t = array.type
    if isinstance(array, pa.ExtensionArray):
        if "uuid" in str(t):
            return [None if v is None else str(v) for v in array.to_pylist()]
        return values(array.storage)
    if pa.types.is_dictionary(t):
        return values(array.dictionary_decode())
    if pa.types.is_null(t):
        return [None] * len(array)
    if pa.types.is_floating(t):
        convert = number if pa.types.is_float64(t) else lambda v: number(short32(v))
        return [None if v is None else convert(v) for v in array.to_pylist()]
    if pa.types.is_decimal(t):
        return [None if v is None else format(v, "f") for v in array.to_pylist()]
    if pa.types.is_timestamp(t):
        return [None if v is None else instant(v, t.unit, t.tz is not None) for v in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_time(t):
        wide = pa.int32() if pa.types.is_time32(t) else pa.int64()
        return [None if v is None else time_of_day(v, t.unit) for v in array.cast(wide).to_pylist()]
    if pa.types.is_date32(t):
        return [None if v is None else day(v) for v in array.cast(pa.int32()).to_pylist()]
    if pa.types.is_date64(t):
        return [None if v is None else day(v // 86_400_000) for v in array.cast(pa.int64()).to_pylist()]
    if pa.types.is_duration(t):
        return array.cast(pa.int64()).to_pylist()
    if pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_fixed_size_binary(t) or t == pa.binary_view():
        return [None if v is None else base64.b64encode(v).decode() for v in array.to_pylist()]
    if pa.types.is_map(t):
        return [None if not s.is_valid else mapped(s, t) for s in array]
    if pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t):
        return [None if not s.is_valid else values(s.values) for s in array]
    if pa.types.is_struct(t):
        fields = [values(array.field(i)) for i in range(t.num_fields)]
        names = [t.field(i).name for i in range(t.num_fields)]
        return [
            None if not array[row].is_valid else {name: field[row] for name, field in zip(names, fields)}
            for row in range(len(array))
        ]
    return array.to_pylist()


def mapped(scalar, t):
    entries = scalar.values
    keys, items = values(entries.field(0)), values(entries.field(1))
    texts = pa.types.is_string(t.key_type) and len(set(keys)) == len(keys) and None not in keys
    return dict(zip(keys, items)) if texts else [list(pair) for pair in zip(keys, items)]


def column_type(t):
    """The contract's type for a column, and what of it a value becomes."""
    if isinstance(t, pa.BaseExtensionType):
        t = t.storage_type if "uuid" not in str(t) else pa.string()
    if pa.types.is_dictionary(t):
        t = t.value_type
    if pa.types.is_integer(t):
        return "long", lambda v: v if abs(v) < 2**63 or v == -(2**63) else REFUSED
    if pa.types.is_floating(t):
        return "double", lambda v: REFUSED if isinstance(v, str) else v
    if pa.types.is_decimal(t):
        if t.scale < 0:
            return "string", lambda v: v
        precision = min(t.precision, 38)
        fits = lambda v: len(v.replace("-", "").replace(".", "").lstrip("0")) <= precision
        return f"decimal({precision},{t.scale})", lambda v: v if fits(v) else REFUSED
    if pa.types.is_date(t):
        return "date", lambda v: REFUSED if isinstance(v, int) else v
    if pa.types.is_timestamp(t):
        return "timestamp", lambda v: REFUSED if isinstance(v, int) else cut(v)
    if pa.types.is_boolean(t):
        return "boolean", lambda v: v
    if pa.types.is_binary(t) or pa.types.is_large_binary(t) or pa.types.is_fixed_size_binary(t) or t == pa.binary_view():
        return "binary", lambda v: v
    if pa.types.is_nested(t):
        return "string", lambda v: v
    return "string", lambda v: REFUSED if isinstance(v, str) and "\0" in v else v


def cut(text):
    """Microseconds, as `2024-01-01T00:00:00.000000Z`."""
    text = text.rstrip("Z")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:6]:0<6}Z"


def expectation(array, t):
    name, typed = column_type(t)
    shown = values(array)
    rows = [[v, None if v is None else typed(v)] for v in shown]
    if name == "double":
        # To the last bit, which JSON's readers do not all keep.
        exact = array.dictionary_decode() if pa.types.is_dictionary(t) else array
        for row, value in zip(rows, exact.to_pylist()):
            if row[1] is not None and row[1] != REFUSED:
                row[1] = str(struct.unpack("<q", struct.pack("<d", value))[0])
    return name, rows


def duck(value, t):
    """A value that DuckDB read, as Weir shows it in JSON."""
    if value is None:
        return None
    if pa.types.is_dictionary(t):
        t = t.value_type
    if pa.types.is_floating(t):
        return number(value if pa.types.is_float64(t) else short32(value))
    if pa.types.is_decimal(t):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        micros = (value - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
        return instant(micros, "us", t.tz is not None)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat()
    if pa.types.is_map(t):
        if pa.types.is_string(t.key_type):
            return {key: duck(item, t.item_type) for key, item in value.items()}
        return [[duck(key, t.key_type), duck(item, t.item_type)] for key, item in value.items()]
    if pa.types.is_struct(t):
        return {f.name: duck(value[f.name], f.type) for f in t}
    if isinstance(value, (list, tuple)):
        return [duck(item, t.value_type) for item in value]
    return value


def second_opinion(path, shown, t):
    """What DuckDB reads otherwise than pyarrow; None where it is not asked."""
    if has(t, lambda t: pa.types.is_timestamp(t) and (t.tz is not None or t.unit == "ns")) or isinstance(t, pa.BaseExtensionType):
        return None  # Zones need more than DuckDB; nanoseconds have no type in Python.
    if pa.types.is_nested(t) and has(t, pa.types.is_timestamp):
        return None  # Years that Python does not have, as texts of DuckDB's own.
    if has(t, lambda t: pa.types.is_decimal256(t) or pa.types.is_float16(t) or pa.types.is_duration(t) or pa.types.is_null(t)):
        return None  # DuckDB reads wide decimals as doubles.
    if has(t, lambda t: pa.types.is_time(t) and t.unit == "ns") or any(isinstance(v, int) for v in shown if not pa.types.is_integer(t) and not pa.types.is_boolean(t)):
        return None  # Years that Python does not have.
    rows = duckdb.sql(f"select v from read_parquet('{path}') order by id").fetchall()
    read = [duck(row[0], t) for row in rows]
    return None if json.dumps(read) == json.dumps(shown) else [v for v in zip(shown, read) if v[0] != v[1]][:3]


def has(t, what):
    if what(t):
        return True
    if pa.types.is_dictionary(t):
        return has(t.value_type, what)
    if pa.types.is_map(t):
        return has(t.key_type, what) or has(t.item_type, what)
    if pa.types.is_struct(t):
        return any(has(f.type, what) for f in t)
    if pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t):
        return has(t.value_type, what)
    return False


MICROS = [0, 1, -1, 1_700_000_000_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999, None]


def leaves():
    """Each type, with values at its limits."""
    d = decimal.Decimal
    ints = lambda bits: [0, 1, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), None, 7]
    unsigned = lambda bits: [0, 1, 2**bits - 1, None, 2 ** (bits - 1), 5, 5]
    yield from ((pa.int8(), ints(8)), (pa.int16(), ints(16)), (pa.int32(), ints(32)), (pa.int64(), ints(64)))
    yield from ((pa.uint8(), unsigned(8)), (pa.uint16(), unsigned(16)), (pa.uint32(), unsigned(32)), (pa.uint64(), unsigned(64)))
    floats = [0.0, -0.0, 1.5, -2.25, math.nan, math.inf, None]
    yield pa.float16(), floats
    yield pa.float32(), [*floats[:3], 3.4028234663852886e38, 1e-45, math.nan, None]
    yield pa.float64(), [*floats[:3], 0.1, 1e300, 5e-324, -math.inf]
    yield pa.bool_(), [True, False, None, True, True, False, None]
    texts = ["", "a", 'gr"een', "\u00e9\u4e2d\U0001f600", "a\\b\n\t", "nul\0", None]
    yield from ((t, texts) for t in (pa.string(), pa.large_string(), pa.string_view()))
    yield pa.dictionary(pa.int8(), pa.string()), texts
    yield pa.dictionary(pa.int32(), pa.int64()), [1, 2, 1, None, 2, 2, 1]
    data = [b"", b"\0\xff", b"abc", None, b"\xf0\x9f", b"x" * 300, b"y"]
    yield from ((t, data) for t in (pa.binary(), pa.large_binary(), pa.binary_view()))
    yield pa.binary(4), [b"abcd", None, b"\0\0\0\0", b"\xff\xff\xff\xff", b"abcd", b"wxyz", None]
    days = [0, 1, -1, -719_162, 2_932_896, None, 11_016]
    yield pa.date32(), days
    yield pa.date64(), [None if v is None else v * 86_400_000 for v in days]
    yield pa.time32("ms"), [0, 1, 86_399_999, None, 43_200_000, 1_000, 60_000]
    yield pa.time64("us"), [0, 1, 86_399_999_999, None, 43_200_000_000, 1_000_000, 500]
    yield pa.time64("ns"), [0, 1, 86_399_999_999_999, None, 43_200_000_000_000, 1_000_000_000, 500]
    for tz in (None, "UTC", "+05:30", "Asia/Kolkata", "America/New_York"):
        yield pa.timestamp("us", tz), MICROS
        yield pa.timestamp("ms", tz), [None if v is None else v // 1_000 for v in MICROS]
        yield pa.timestamp("ns", tz), [0, 1, -1, 1_700_000_000_123_456_789, 999, None, -(2**63) + 1]
        yield pa.timestamp("s", tz), [None if v is None else v // 1_000_000 for v in MICROS]
    for precision, scale in ((1, 0), (9, 2), (18, 18), (19, 4), (38, 10), (38, 0)):
        top = d(10**precision - 1).scaleb(-scale, decimal.Context(80))
        yield pa.decimal128(precision, scale), [d(0), top, -top, None, d(1).scaleb(-scale), d(0), top]
    for precision, scale in ((39, 2), (76, 0), (76, 38)):
        top = d(10**precision - 1).scaleb(-scale, decimal.Context(80))
        small = d(123456).scaleb(-scale)
        yield pa.decimal256(precision, scale), [d(0), top, -top, None, small, -small, d(0)]
    yield pa.null(), [None] * 7
    yield pa.duration("us"), [0, 1, -1, None, 5, 6, 7]


def nested():
    yield pa.list_(pa.int32()), [[1, 2], [], None, [None, 3], [4], [5], []]
    yield pa.list_(pa.uint8()), [[1, 255], [], None, [None, 3], [4], [5], []]
    yield pa.large_list(pa.string()), [["a", None], [], None, ['"'], ["b"], [""], []]
    yield pa.list_(pa.float32(), 2), [[0.1, 2.5], [1.0, None], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [1e-7, 1e20], [0.3, 0.7]]
    yield pa.list_(pa.list_(pa.string())), [[["a"], [], None], [], None, [[None]], [["b", "c"]], [[]], []]
    yield pa.struct([("x", pa.int64()), ("y", pa.string())]), [{"x": 1, "y": "a"}, {"x": None, "y": None}, None, {"x": 2, "y": 'q"'}, {"x": 3, "y": ""}, {"x": 4, "y": "b"}, None]
    yield pa.struct([("a b", pa.struct([("z", pa.timestamp("us", "UTC"))])), ("l", pa.list_(pa.bool_()))]), [{"a b": {"z": 0}, "l": [True]}, {"a b": None, "l": None}, None, {"a b": {"z": None}, "l": []}, None, None, None]
    yield pa.list_(pa.struct([("k", pa.decimal128(5, 2)), ("d", pa.date32())])), [[{"k": decimal.Decimal("1.50"), "d": 1}], [], None, [None], [{"k": None, "d": None}], [], None]
    yield pa.map_(pa.string(), pa.int32()), [[("a", 1), ("b", None)], [], None, [('"', 2)], [("x", 3)], [("y", 4)], []]
    yield pa.map_(pa.int32(), pa.string()), [[(1, "a"), (2, None)], [], None, [(3, "b")], [(4, "")], [(5, "c")], []]
    yield pa.map_(pa.string(), pa.list_(pa.float64())), [[("a", [0.1, math.nan])], [], None, [("b", None)], [("c", [])], [("d", [1e300])], []]
    yield pa.list_(pa.dictionary(pa.int8(), pa.string())), [["a", "b"], [], None, ["a", None], ["b"], ["a"], []]
    yield pa.list_(pa.binary()), [[b"\xff", b""], [], None, [None], [b"a"], [b"bc"], []]


OPTIONS = [
    {"compression": "none"},
    {"compression": "snappy", "use_dictionary": False},
    {"compression": "gzip", "data_page_version": "2.0"},
    {"compression": "zstd", "use_dictionary": False, "data_page_version": "2.0", "write_page_checksum": True},
    {"compression": "lz4", "store_schema": False},
    {"compression": "brotli", "row_group_size": 3, "data_page_size": 1},
    {"compression": "snappy", "use_deprecated_int96_timestamps": True},
    {"compression": "zstd", "write_page_index": True, "use_compliant_nested_type": False, "version": "1.0"},
]


def write(folder, index, array, options, lines):
    path = os.path.join(folder, f"{index}.parquet")
    table = pa.table({"id": pa.array(range(len(array)), pa.int64()), "v": array})
    try:
        pq.write_table(table, path, **options)
    except pa.ArrowInvalid as error:
        return f"{array.type}: {error}"
    try:
        back = pq.ParquetFile(path).read()["v"].combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, NotImplementedError):
        back = array  # What it wrote, it cannot always read; DuckDB then tells alone.
    if isinstance(back, pa.ChunkedArray):
        back = back.chunk(0)
    t = back.type
    kind = array.type
    if options.get("use_deprecated_int96_timestamps") and has(kind, pa.types.is_timestamp):
        # INT96 has no zone, is read in microseconds, and has years that pyarrow's nanoseconds have not: what was written
        # counts.
        if not pa.types.is_timestamp(kind):
            return None
        back, t = plain_micros(array), pa.timestamp("us")
    if pa.types.is_duration(kind):
        back, t = array.cast(pa.int64()), pa.int64()
    name, rows = expectation(back, t)
    other = None
    if not options.get("use_deprecated_int96_timestamps"):
        other = second_opinion(path, [row[0] for row in rows], t)
    lines.append({"file": path, "what": f"{kind} {options}", "type": name, "rows": rows, "duckdb": other})
    return None


def plain_micros(array):
    per = PER_SECOND[array.type.unit]
    raw = array.cast(pa.int64()).to_pylist()
    return pa.array([None if v is None else v * 10**6 // per for v in raw], pa.int64()).cast(pa.timestamp("us"))


def array_of(t, items):
    if pa.types.is_timestamp(t) or pa.types.is_date64(t) or pa.types.is_duration(t) or pa.types.is_time64(t):
        return pa.array(items, pa.int64()).cast(t)
    if pa.types.is_time32(t) or pa.types.is_date32(t):
        return pa.array(items, pa.int32()).cast(t)
    return pa.array(items, t)


def matrix(folder):
    lines, not_written = [], set()
    for number, (t, items) in enumerate([*leaves(), *nested()]):
        for option, options in enumerate(OPTIONS):
            array = array_of(t, items) if not pa.types.is_nested(t) else pa.array(items, t)
            problem = write(folder, f"{number}_{option}", array, options, lines)
            if problem:
                not_written.add(problem)
    return lines, sorted(not_written)


def random_type(rng, depth):
    scalar = [
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float16(),
        pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.binary(3), pa.date32(),
        pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"),
        pa.timestamp("ns", "+05:30"), pa.decimal128(rng.randint(1, 38), 0), pa.decimal128(20, 7), pa.decimal256(50, 5),
        pa.dictionary(pa.int16(), pa.string()), pa.null(),
    ]
    pick = rng.random()
    if depth == 0 or pick < 0.6:
        return rng.choice(scalar)
    inner = random_type(rng, depth - 1)
    if pick < 0.75:
        return pa.list_(inner)
    if pick < 0.8 and not pa.types.is_nested(inner):
        return pa.list_(inner, 2)
    if pick < 0.9:
        return pa.struct([("p", inner), ("q \"", random_type(rng, depth - 1))])
    return pa.map_(rng.choice([pa.string(), pa.int64()]), inner)


def random_value(rng, t, required=False):
    if pa.types.is_null(t) or (not required and rng.random() < 0.15):
        return None
    d = pa.types
    if d.is_dictionary(t):
        return rng.choice(["red", "green", "bl\"ue"])
    if d.is_signed_integer(t):
        return rng.choice([0, -1, 2 ** (t.bit_width - 1) - 1, -(2 ** (t.bit_width - 1)), rng.randrange(-100, 100)])
    if d.is_unsigned_integer(t):
        return rng.choice([0, 2**t.bit_width - 1, rng.randrange(0, 200)])
    if d.is_float16(t):
        return rng.choice([0.5, -2.0, math.nan, math.inf, 65504.0])
    if d.is_floating(t):
        value = rng.choice([0.1, math.nan, -math.inf, rng.uniform(-1e6, 1e6), rng.uniform(-1, 1) * 1e-30])
        return struct.unpack("f", struct.pack("f", value))[0] if d.is_float32(t) else value
    if d.is_boolean(t):
        return rng.random() < 0.5
    if d.is_string(t) or d.is_large_string(t):
        return "".join(rng.choice('ab"\\\n\u00e9\u4e2d\U0001f600 \0' if rng.random() < 0.1 else "abc ") for _ in range(rng.randrange(0, 30)))
    if d.is_fixed_size_binary(t) and not d.is_decimal(t):
        return rng.randbytes(t.byte_width)
    if d.is_binary(t):
        return rng.randbytes(rng.randrange(0, 20))
    if d.is_date32(t):
        return datetime.date.fromordinal(rng.randrange(1, 3_652_059))
    if d.is_time(t):
        return rng.randrange(0, 86_400 * PER_SECOND[t.unit])
    if d.is_timestamp(t):
        if t.unit == "ns":
            return rng.randrange(-(2**63) + 1, 2**63)
        limit = (FIRST - 10**9, LAST + 10**9) if rng.random() < 0.1 else (FIRST, LAST)
        return rng.randrange(limit[0] * PER_SECOND[t.unit], limit[1] * PER_SECOND[t.unit])
    if d.is_decimal(t):
        digits = rng.randrange(0, 10 ** rng.randint(1, t.precision))
        return decimal.Decimal(digits if rng.random() < 0.5 else -digits).scaleb(-t.scale, decimal.Context(80))
    if d.is_fixed_size_list(t):
        return [random_value(rng, t.value_type) for _ in range(2)]
    if d.is_list(t):
        return [random_value(rng, t.value_type) for _ in range(rng.randrange(0, 4))]
    if d.is_struct(t):
        return {f.name: random_value(rng, f.type) for f in t}
    keys = {random_value(rng, t.key_type, True) for _ in range(rng.randrange(0, 4))}
    return [(key, random_value(rng, t.item_type)) for key in keys]


def randoms(folder, seed, count):
    rng = random.Random(seed)
    lines = []
    for number in range(count):
        t = random_type(rng, 2)
        rows = rng.choice([1, 5, 200, 3_000])
        items = [random_value(rng, t) for _ in range(rows)]
        array = array_of(t, items) if not (pa.types.is_nested(t) or pa.types.is_date32(t)) else pa.array(items, t)
        options = dict(rng.choice(OPTIONS))
        options.pop("use_deprecated_int96_timestamps", None)
        options["data_page_size"] = rng.choice([1, 1_000, 1 << 20])
        options["row_group_size"] = rng.choice([1 + rows // 3, rows, 1 << 20])
        write(folder, number, array, options, lines)
    return lines


decimal.getcontext().prec = 100

if __name__ == "__main__":
    if sys.argv[1] == "matrix":
        lines, not_written = matrix(sys.argv[2])
        for line in lines:
            print(json.dumps(line))
        print(json.dumps({"not_written": not_written}))
    elif sys.argv[1] == "random":
        for line in randoms(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])):
            print(json.dumps(line))
    else:
        exec(sys.argv[2])  # One test's own file.
