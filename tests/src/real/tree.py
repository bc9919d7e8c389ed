"""JSON and Avro: what Python's `json` and `fastavro` read of a file, and the contract that fits it."""

import base64
import datetime
import decimal
import io
import json
import re
import uuid

import fastavro
import fastavro.read
import pyarrow as pa

import text
from model import MISSING, REFUSED, File, Number, bits


class Faulty(ValueError):
    """A name twice in an object, or a word that is no JSON."""


class Object(dict):
    """An object of JSON; `faulty` where no record can be made of it."""

    faulty = False


def as_object(pairs):
    made = Object(pairs)
    made.faulty = len({name.lower() for name, _ in pairs}) != len(pairs)
    return made


def constant(word):
    raise Faulty(word)


def loads(document):
    return json.loads(document, parse_float=Number, parse_int=Number, object_pairs_hook=as_object, parse_constant=constant)


def read_json(path):
    document, encoding = text.decoded(text.content_of(path))
    settings = {"encoding": f'"{encoding}"'}
    try:
        whole = loads(document)
    except Faulty:
        return None
    except json.JSONDecodeError:
        settings["type"] = '"ndjson"'
        return of_records([line_of(line) for line in document.split("\n") if line.strip()], settings)
    lines = [line for line in document.split("\n") if line.strip()]
    settings["type"] = '"ndjson"' if len(lines) == 1 and isinstance(whole, dict) else '"json"'
    if isinstance(whole, list):
        return of_records(whole, settings)
    if isinstance(whole, dict):
        for name, value in whole.items():
            if isinstance(value, list) and len(value) > 1 and all(isinstance(one, dict) for one in value):
                settings["records"] = json.dumps("/" + name.replace("~", "~0").replace("/", "~1"))
                return of_records(value, settings)
        return of_records([whole], settings)
    return of_records([whole], settings)


def line_of(line):
    try:
        return loads(line)
    except ValueError:
        return Faulty(line)


def of_records(records, settings):
    names = {}
    for record in records:
        if isinstance(record, Object) and not record.faulty:
            for name, value in record.items():
                names.setdefault(name, []).append(value)
    found = File(settings, [(name, json_type(values), None) for name, values in names.items()], len(records))
    for at, record in enumerate(records):
        if not isinstance(record, Object):
            found.refused[at] = "no object"
        elif record.faulty:
            found.refused[at] = "given twice"
    sound = [{} if at in found.refused else record for at, record in enumerate(records)]
    for at, (name, kind, _) in enumerate(found.columns):
        found.typed[at] = [json_typed(record.get(name), kind) for record in sound]
        found.shown[at] = [record.get(name, MISSING) for record in sound]
    return found


def json_type(values):
    values = [value for value in values if value is not None]
    if not values:
        return "string"
    if all(isinstance(value, Number) for value in values):
        whole = all(re.fullmatch(r"-?[0-9]+", value.text) for value in values)
        return "long" if whole and all(-(2**63) <= int(value.text) < 2**63 for value in values) else "double"
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, str) for value in values):
        if all(text.DATE.fullmatch(value) and text.day(value) for value in values):
            return "date"
        if all(text.INSTANT.fullmatch(value) and text.instant(value) for value in values):
            return "timestamp"
    return "string"


def json_typed(value, kind):
    if value is None:
        return None
    if kind == "long":
        return int(value.text)
    if kind == "double":
        return bits(float(value.text))
    if kind == "boolean":
        return value
    if kind == "date":
        return text.day(value)
    if kind == "timestamp":
        return text.instant(value)
    if isinstance(value, bool):
        return str(value).lower()
    return REFUSED if isinstance(value, str) and "\0" in value else value


AVRO = {"boolean": "boolean", "int": "integer", "long": "long", "float": "float", "double": "double", "bytes": "binary",
        "string": "string", "enum": "string", "fixed": "binary", "null": "string"}


def unsnapped(file):
    """A block that Snappy packed, by pyarrow: fastavro itself has no such codec."""
    packed = file.read(varint(file) // 2)[:-4]  # A checksum stands behind it.
    length = varint(io.BytesIO(packed))
    return io.BytesIO(pa.Codec("snappy").decompress(packed, length, asbytes=True))


def varint(file):
    value = shift = 0
    while True:
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


fastavro.read.BLOCK_READERS["snappy"] = unsnapped


def read_avro(path):
    with open(path, "rb") as file:
        reader = fastavro.reader(file)
        schema = reader.writer_schema
        try:
            records = list(reader)
        except Exception as error:  # Whatever a damaged file makes of it.
            return f"fastavro: {type(error).__name__}"
    if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
        found = File({"type": '"avro"'}, count=1)
        found.refused[0] = "the schema is no record"
        return found
    columns = [(field["name"], avro_type(field["type"]), None) for field in schema["fields"]]
    found = File({"type": '"avro"'}, columns, len(records))
    for at, (name, kind, _) in enumerate(columns):
        found.typed[at] = [avro_typed(record[name], kind) for record in records]
        found.shown[at] = [avro_shown(record[name]) for record in records]
    return found


def avro_type(schema):
    if isinstance(schema, list):
        kinds = {avro_type(branch) for branch in schema if branch != "null"}
        return kinds.pop() if len(kinds) == 1 else "string"
    if isinstance(schema, str):
        return AVRO.get(schema, "string")
    match schema.get("logicalType"):
        case "decimal": return f"decimal(38,{schema.get('scale', 0)})"
        case "date": return "date"
        case "uuid": return "string"
        case "timestamp-millis" | "timestamp-micros" | "local-timestamp-millis" | "local-timestamp-micros": return "timestamp"
        case "time-millis" | "time-micros": return "string"
    return avro_type(schema["type"]) if schema["type"] not in ("array", "map", "record", "error") else "string"


def avro_typed(value, kind):
    match value:
        case None | bool(): return value if kind == "boolean" or value is None else str(value).lower()
        case bytes(): return base64.b64encode(value).decode() if kind == "binary" else plain(value)
        case int(): return value if kind in ("integer", "long") else Number(str(value))
        case float(): return finite(value, kind)
        case decimal.Decimal(): return format(value, "f")
        case datetime.datetime(): return f"{value.year:04}-{value:%m-%dT%H:%M:%S.%f}Z"
        case datetime.date(): return value.isoformat()
    shown = avro_shown(value)
    return REFUSED if isinstance(shown, str) and "\0" in shown else shown


def finite(value, kind):
    if kind not in ("double", "float"):
        return value
    return REFUSED if value != value or value in (float("inf"), float("-inf")) else bits(value)


def plain(value):
    try:
        return REFUSED if b"\0" in value else value.decode()
    except UnicodeDecodeError:
        return REFUSED


def avro_shown(value):
    match value:
        case bytes(): return base64.b64encode(value).decode()
        case decimal.Decimal(): return format(value, "f")
        case datetime.datetime():
            return f"{value.year:04}-{value:%m-%dT%H:%M:%S.%f}000" + ("Z" if value.tzinfo else "")
        case datetime.time(): return f"{value:%H:%M:%S.%f}"
        case datetime.date(): return value.isoformat()
        case uuid.UUID(): return str(value)
        case float() if value != value: return "NaN"
        case float() if value in (float("inf"), float("-inf")): return "inf" if value > 0 else "-inf"
        case list(): return [avro_shown(one) for one in value]
        case dict(): return {name: avro_shown(one) for name, one in value.items()}
    return value
