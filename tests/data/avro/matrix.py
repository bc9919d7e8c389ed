"""Writes Avro files with fastavro, and compares what Weir makes of them with what fastavro reads.

    matrix.py write <folder> <seed>      files <name>.avro; prints their names
    matrix.py compare <folder>           reads <name>.avro and Weir's <name>.<type>.json; prints what differs

A file has one field `v`. Weir gives for each record a text, null, or {"refused": [reasons]}.
"""

import base64
import datetime as dt
import decimal
import io
import json
import math
import pathlib
import random
import sys
import uuid

import fastavro

UTC = dt.timezone.utc
EPOCH = dt.datetime(1970, 1, 1, tzinfo=UTC)
decimal.getcontext().prec = 400


def logical(base, name, **more):
    return {"type": base, "logicalType": name, **more}


def fixed(name, size, **more):
    return {"type": "fixed", "name": name, "size": size, **more}


INSTANTS = [EPOCH, dt.datetime(2024, 2, 29, 12, 30, 15, 123456, UTC), dt.datetime(1, 1, 1, tzinfo=UTC),
            dt.datetime(9999, 12, 31, 23, 59, 59, 999000, UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)]
NAIVE = [moment.replace(tzinfo=None) for moment in INSTANTS]
DECIMALS = ["0", "0.00", "-0.01", "1.28", "-1.28", "123456789012345.67", "-99999999999999999999999999999999999.99"]
DECIMALS = [decimal.Decimal(text) for text in DECIMALS]
WIDE = [decimal.Decimal(text) for text in ["1e60", "-1e60", "340282366920938463463374607431768211456.0000000001",
                                           "-57896044618658097711785492504343953926634992332820282019728.792"]]

# name, schema, values
CASES = [
    ("null", "null", [None, None]),
    ("boolean", "boolean", [True, False]),
    ("int", "int", [0, -1, 2**31 - 1, -2**31, 1234]),
    ("long", "long", [0, -1, 2**63 - 1, -2**63, 123456789012]),
    ("float", "float", [0.0, -0.0, 0.1, 1e30, -1.5, math.inf, -math.inf, math.nan, 3.4028234663852886e38, 1e-45]),
    ("double", "double", [0.0, 0.1, 1e300, -2.5, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308]),
    ("bytes", "bytes", [b"", b"abc", bytes([0xd7, 0x6d, 0xf8]), b"\xff\x00", b"12", "größe".encode()]),
    ("string", "string", ["", "abc", "größe\n\"\\\x01", "2024-02-29", "12", "true", "AQID", "\U0001f600"]),
    ("fixed", fixed("F", 3), [b"abc", bytes([0xd7, 0x6d, 0xf8]), b"\xff\x00\x01"]),
    ("enum", {"type": "enum", "name": "E", "symbols": ["ABCD", "true", "N1", "x"]}, ["ABCD", "true", "N1", "x"]),
    ("date", logical("int", "date"), [dt.date(1970, 1, 1), dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29)]),
    ("time-millis", logical("int", "time-millis"), [dt.time(0), dt.time(1, 2, 3, 4000), dt.time(23, 59, 59, 999000)]),
    ("time-micros", logical("long", "time-micros"), [dt.time(0), dt.time(1, 2, 3, 4567), dt.time(23, 59, 59, 999999)]),
    ("timestamp-millis", logical("long", "timestamp-millis"), [i.replace(microsecond=i.microsecond // 1000 * 1000) for i in INSTANTS]),
    ("timestamp-micros", logical("long", "timestamp-micros"), INSTANTS),
    ("local-timestamp-millis", logical("long", "local-timestamp-millis"), [n.replace(microsecond=n.microsecond // 1000 * 1000) for n in NAIVE]),
    ("local-timestamp-micros", logical("long", "local-timestamp-micros"), NAIVE),
    ("decimal", logical("bytes", "decimal", precision=40, scale=2), DECIMALS),
    ("decimal-whole", logical("bytes", "decimal", precision=20), [decimal.Decimal(n) for n in [0, 1, -1, 127, 128, -128, -129, 1234, 10**19]]),
    ("decimal-wide", logical("bytes", "decimal", precision=120, scale=10), WIDE),
    ("decimal-fixed", fixed("D", 17, logicalType="decimal", precision=38, scale=2), DECIMALS),
    ("decimal-fixed-1", fixed("D1", 1, logicalType="decimal", precision=2, scale=1), [decimal.Decimal(n) / 10 for n in [0, 1, -1, 99, -99]]),
    ("decimal-fixed-40", fixed("D40", 40, logicalType="decimal", precision=90, scale=10), WIDE),
    ("uuid", logical("string", "uuid"), [uuid.UUID(int=7), uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")]),
    ("unknown-logical", logical("string", "color"), ["red", "12"]),
    ("unknown-logical-long", logical("long", "money"), [1, -5]),
    ("date-on-string", logical("string", "date"), ["2024-02-29", "x"]),
    ("nullable", ["null", "long"], [None, 5, None, -1]),
    ("no-null", ["long", "string"], [5, "a", "7", -1]),
    ("union-of-logical", ["null", logical("int", "date"), "boolean"], [None, dt.date(2024, 2, 29), True]),
    ("union-decimal", ["null", logical("bytes", "decimal", precision=9, scale=2)], [None, decimal.Decimal("12.50")]),
    ("array", {"type": "array", "items": "long"}, [[], [1, 2, -3]]),
    ("array-nulls", {"type": "array", "items": "null"}, [[], [None] * 100]),
    ("array-arrays", {"type": "array", "items": {"type": "array", "items": "string"}}, [[], [[], ["a"], ["b", "\""]]]),
    ("map", {"type": "map", "values": "double"}, [{}, {"a": 1.5, "\"b\n": -0.5}]),
    ("map-of-bytes", {"type": "map", "values": "bytes"}, [{}, {"a": b"\xff\x00"}]),
    ("record", {"type": "record", "name": "I", "fields": [
        {"name": "a", "type": ["null", "int"]},
        {"name": "b", "type": logical("long", "timestamp-micros")},
        {"name": "c", "type": logical("bytes", "decimal", precision=30, scale=3)}]},
        [{"a": None, "b": INSTANTS[1], "c": decimal.Decimal("-1.500")}]),
    ("empty-record", {"type": "record", "name": "Z", "fields": []}, [{}, {}]),
    ("tree", {"type": "record", "name": "T", "fields": [
        {"name": "n", "type": "int"}, {"name": "next", "type": ["null", "T"]}]},
        [{"n": 1, "next": None}, {"n": 1, "next": {"n": 2, "next": {"n": 3, "next": None}}}]),
]


def random_schema(rng, names, depth):
    kinds = ["boolean", "int", "long", "float", "double", "bytes", "string", "date", "time-millis", "time-micros",
             "timestamp-millis", "timestamp-micros", "local-timestamp-micros", "decimal", "decimal-fixed", "fixed", "enum", "uuid", "null"]
    if depth > 0:
        kinds += ["array", "map", "record", "union"] * 3
    kind = rng.choice(kinds)
    names.append(kind)
    name = f"N{len(names)}"
    bases = {"date": "int", "time-millis": "int", "uuid": "string"}
    if kind in ("date", "uuid") or kind.startswith(("time", "local")):
        return logical(bases.get(kind, "long"), kind)
    if kind == "decimal":
        return logical("bytes", "decimal", precision=rng.randint(40, 90), scale=rng.randint(0, 30))
    if kind == "decimal-fixed":
        return fixed(name, rng.randint(20, 40), logicalType="decimal", precision=40, scale=rng.randint(0, 30))
    if kind == "fixed":
        return fixed(name, rng.randint(0, 20))
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": [f"S{i}" for i in range(rng.randint(1, 5))]}
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, names, depth - 1)}
    if kind == "map":
        return {"type": "map", "values": random_schema(rng, names, depth - 1)}
    if kind == "record":
        fields = [{"name": f"f{i}", "type": random_schema(rng, names, depth - 1)} for i in range(rng.randint(0, 4))]
        return {"type": "record", "name": name, "fields": fields}
    if kind == "union":
        # Of what Python tells apart: fastavro writes any text as a UUID.
        other = random_schema(rng, names, 0)
        text = [] if isinstance(other, dict) and other.get("logicalType") == "uuid" else ["string"]
        return rng.sample(["null", "boolean", *text, other], 2) if rng.random() < 0.5 else ["null", "long"]
    return kind


def random_value(rng, schema):
    if isinstance(schema, list):
        return random_value(rng, rng.choice(schema))
    kind = schema if isinstance(schema, str) else schema.get("logicalType", schema["type"])
    day = dt.timedelta(days=rng.randint(-700_000, 2_900_000), microseconds=rng.randrange(86_400_000_000))
    text = lambda: "".join(rng.choice("aé\"\\\n\x01 \U0001f600") for _ in range(rng.randint(0, 9)))
    if kind == "decimal":
        digits = rng.randint(0, 10 ** rng.randint(1, 39))
        return decimal.Decimal(rng.choice([1, -1]) * digits).scaleb(-schema.get("scale", 0))
    match kind:
        case "null": return None
        case "boolean": return rng.random() < 0.5
        case "int": return rng.choice([0, rng.randint(-2**31, 2**31 - 1)])
        case "long": return rng.choice([0, rng.randint(-2**63, 2**63 - 1)])
        case "float": return rng.choice([math.inf, rng.uniform(-1e6, 1e6)])
        case "double": return rng.choice([math.nan, rng.uniform(-1e300, 1e300), rng.random()])
        case "bytes": return rng.randbytes(rng.randint(0, 9))
        case "fixed": return rng.randbytes(schema["size"])
        case "string": return text()
        case "enum": return rng.choice(schema["symbols"])
        case "uuid": return uuid.UUID(int=rng.getrandbits(128))
        case "date": return (EPOCH + day).date()
        case "time-millis": return (EPOCH + day).time().replace(microsecond=rng.randrange(1000) * 1000)
        case "time-micros": return (EPOCH + day).time()
        case "timestamp-millis": return (EPOCH + day).replace(microsecond=rng.randrange(1000) * 1000)
        case "timestamp-micros": return EPOCH + day
        case "local-timestamp-micros": return (EPOCH + day).replace(tzinfo=None)
        case "array": return [random_value(rng, schema["items"]) for _ in range(rng.randint(0, 4))]
        case "map": return {text(): random_value(rng, schema["values"]) for _ in range(rng.randint(0, 4))}
        case "record": return {field["name"]: random_value(rng, field["type"]) for field in schema["fields"]}
    raise ValueError(kind)


def write(folder, seed):
    rng = random.Random(seed)
    cases = list(CASES)
    for number in range(60):
        schema = random_schema(rng, [], 3)
        cases.append((f"random-{number}", schema, [random_value(rng, schema) for _ in range(20)]))
    for name, schema, values in cases:
        record = {"type": "record", "name": "Top", "fields": [{"name": "v", "type": schema}]}
        parsed = fastavro.parse_schema(record)
        codec = rng.choice(["null", "deflate"])
        out = io.BytesIO()
        fastavro.writer(out, parsed, [{"v": value} for value in values], codec=codec, sync_interval=rng.choice([1, 100, 16000]))
        pathlib.Path(folder, f"{name}.avro").write_bytes(out.getvalue())
    print(json.dumps([name for name, _, _ in cases]))


def instant(value, zone):
    return f"{value.year:04}-{value.month:02}-{value.day:02}T{value:%H:%M:%S}.{value.microsecond:06}000{zone}"


def same_float(value, text):
    words = {"inf": math.inf, "-inf": -math.inf, "NaN": math.nan}
    other = words[text] if text in words else float(text)
    return (math.isnan(value) and math.isnan(other)) or value == other


def same(value, text, nested):
    """Whether a text, or a node of JSON with its numbers as ("n", digits), is the value."""
    digits = text[1] if isinstance(text, tuple) else text
    match value:
        case None: return text is None
        case bool(): return text is value if nested else text == str(value).lower()
        case int(): return digits == str(value)
        case float(): return same_float(value, digits)
        case decimal.Decimal(): return digits == format(value, "f")
        case bytes(): return text == (base64.b64encode(value).decode() if nested else value.decode())
        case uuid.UUID() | dt.datetime() | dt.date() | dt.time() | str(): return text == shown(value)
        case list():
            node = text if nested else parsed(text)
            return len(node) == len(value) and all(same(a, b, True) for a, b in zip(value, node))
        case dict():
            node = text if nested else parsed(text)
            return list(node) == list(value) and all(same(value[key], node[key], True) for key in value)
    return False


def shown(value):
    match value:
        case dt.datetime(): return instant(value, "Z" if value.tzinfo else "")
        case dt.time(): return f"{value:%H:%M:%S}.{value.microsecond:06}"
        case dt.date(): return f"{value.year:04}-{value.month:02}-{value.day:02}"
    return str(value)


def parsed(text):
    return json.loads(text, parse_float=lambda digits: ("n", digits), parse_int=lambda digits: ("n", digits))


REFUSED = object()


def plain_number(value):
    """What the grammar of numbers takes of a value, as a Decimal."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, decimal.Decimal)):
        return decimal.Decimal(value)
    if isinstance(value, float) and math.isfinite(value):
        return decimal.Decimal(repr(value))
    if isinstance(value, str):
        try:
            number = decimal.Decimal(value)
        except decimal.InvalidOperation:
            return None
        return number if number.is_finite() and "_" not in value else None
    return None


def typed(value, wanted):
    """What a column of the type holds, or that it refuses the value."""
    if value is None:
        return None
    if wanted == "binary":
        if isinstance(value, bytes):
            return value
        if isinstance(value, str) and not isinstance(value, Symbol):
            try:
                return base64.b64decode(value.strip(" \t"), validate=True)
            except ValueError:
                return REFUSED
        return REFUSED
    if wanted == "boolean":
        if isinstance(value, bool):
            return value
        text = str(value).lower() if isinstance(value, str) else ""
        return {"true": True, "false": False}.get(text, REFUSED)
    if wanted == "long":
        whole = isinstance(value, (int, decimal.Decimal)) and not isinstance(value, bool)
        if whole and "." not in format(value, "f" if isinstance(value, decimal.Decimal) else "") and -2**63 <= value < 2**63:
            return int(value)
        if isinstance(value, str) and value.lstrip("+-").isdecimal():
            return int(value)
        return REFUSED
    if wanted == "double":
        number = plain_number(value)
        return REFUSED if number is None else float(value if isinstance(value, float) else number)
    if wanted == "decimal":
        number = plain_number(value)
        if number is None or number != number.quantize(decimal.Decimal("0.01")) or abs(number) >= 10**36:
            return REFUSED
        return number
    if wanted == "date":
        if type(value) is dt.date:
            return value
        try:
            return dt.date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else REFUSED
        except ValueError:
            return REFUSED
    if wanted == "timestamp":
        if isinstance(value, dt.datetime):
            return value.replace(tzinfo=UTC)
        return REFUSED
    raise ValueError(wanted)


class Symbol(str):
    pass


def is_it(expected, wanted, found):
    if isinstance(found, dict):
        # Text that is no UTF-8 in a column of text.
        return expected is REFUSED and all("`v`" in reason for reason in found["refused"])
    if expected is REFUSED:
        return False
    if expected is None:
        return found is None
    match wanted:
        case "binary": return base64.b64decode(found) == expected
        case "boolean": return found == str(expected).lower()
        case "long": return int(found) == expected
        case "double": return float(found) == expected
        case "decimal": return decimal.Decimal(found) == expected
        case "date": return found == shown(expected)
        case "timestamp": return int(found) == (expected - EPOCH) // dt.timedelta(microseconds=1)


def compare(folder):
    differences, compared, refused = [], 0, 0
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        name, wanted, _ = path.name.rsplit(".", 2)
        with open(pathlib.Path(folder, f"{name}.avro"), "rb") as file:
            reader = fastavro.reader(file)
            values = [record["v"] for record in reader]
            kind = reader.writer_schema["fields"][0]["type"]
        if isinstance(kind, dict) and kind["type"] == "enum":
            values = [Symbol(value) for value in values]
        found = json.loads(path.read_text())
        if len(found) != len(values):
            differences.append(f"{name} as {wanted}: {len(found)} records for {len(values)}")
            continue
        for value, text in zip(values, found):
            compared += 1
            refused += isinstance(text, dict)
            try:
                if wanted == "string":
                    no_text = isinstance(value, bytes) and not is_text(value) or isinstance(value, str) and "\0" in value
                    fits = isinstance(text, dict) if no_text else not isinstance(text, dict) and same(value, text, False)
                else:
                    fits = is_it(typed(value, wanted), wanted, text)
            except Exception as error:
                fits, text = False, f"{text!r} ({error!r})"
            if not fits:
                differences.append(f"{name} as {wanted}: {value!r} is {text!r}")
    print(json.dumps({"compared": compared, "refused": refused, "differences": differences[:40], "count": len(differences)}))


def is_text(value):
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


if sys.argv[1] == "write":
    write(sys.argv[2], int(sys.argv[3]))
else:
    compare(sys.argv[2])
