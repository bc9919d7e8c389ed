"""Makes the Avro files of this folder: `pip install fastavro cramjam` (1.13.1, 2.x), then run it here.

The writer is not ours, and the schema of capture.avro is the one of Event Hubs Capture.
"""

import datetime as dt
import json
from decimal import Decimal

import fastavro

CAPTURE = {
    "type": "record", "name": "EventData", "namespace": "Microsoft.ServiceBus.Messaging",
    "fields": [
        {"name": "SequenceNumber", "type": "long"},
        {"name": "Offset", "type": "string"},
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "SystemProperties", "type": {"type": "map", "values": ["long", "double", "string", "bytes"]}},
        {"name": "Properties", "type": {"type": "map", "values": ["long", "double", "string", "bytes", "null"]}},
        {"name": "Body", "type": ["null", "bytes"]},
    ],
}

ORDERS = {
    "type": "record", "name": "Order", "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "tax", "type": {"type": "fixed", "name": "Tax", "size": 8, "logicalType": "decimal",
                                 "precision": 18, "scale": 4}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at_ms", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "at_us", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "clock", "type": {"type": "int", "logicalType": "time-millis"}},
        {"name": "small", "type": "float"},
        {"name": "large", "type": "double"},
        {"name": "ok", "type": "boolean"},
        {"name": "raw", "type": "bytes"},
        {"name": "note", "type": "bytes"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "tree", "type": ["null", {"type": "record", "name": "Node", "fields": [
            {"name": "v", "type": "int"}, {"name": "next", "type": ["null", "Node"]}]}]},
    ],
}


def order(number):
    at = dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=number)
    return {
        "id": number - 3, "name": None if number % 3 == 0 else f"na\"me\n{number}",
        "price": Decimal(number * 25 - 50) / 100, "tax": Decimal(-number) / 10000,
        "day": dt.date(2024, 2, 28) + dt.timedelta(days=number), "at_ms": at, "at_us": at,
        "clock": dt.time(1, 2, 3, 4000), "small": 0.1, "large": [1e300, 0.1, -2.5][number % 3],
        "ok": number % 2 == 0, "raw": bytes([0, 255, number % 256]), "note": f"größe {number}".encode(),
        "state": ["NEW", "PAID"][number % 2], "tags": ["a", "b\\"][: number % 3],
        "tree": None if number % 2 else {"v": 1, "next": {"v": 2, "next": None}},
    }


def body(number):
    if number == 5:
        return b"not json"
    if number == 6:
        return None
    if number == 7:
        return b"[1]"
    if number == 8:
        return b'{\n  "page": "/8",\n  "Offset": "own"\n}'
    return json.dumps({"page": f"/{number}", "n": number}).encode()


def event(number):
    return {
        "SequenceNumber": number, "Offset": str(number * 100), "EnqueuedTimeUtc": "11/24/2026 6:25:00 AM",
        "SystemProperties": {"x-opt-partition-key": "k"}, "Properties": {"a": 1.5, "b": None}, "Body": body(number),
    }


def write(name, schema, records, codec, interval=16_000):
    with open(name, "wb") as file:
        fastavro.writer(file, fastavro.parse_schema(schema), records, codec=codec, sync_interval=interval,
                        sync_marker=bytes(range(100, 116)))


for codec in ["null", "deflate", "snappy", "zstandard"]:
    write(f"orders.{codec}.avro", ORDERS, [order(number) for number in range(40)], codec, 700)
write("capture.avro", CAPTURE, [event(number) for number in range(1, 31)], "deflate", 900)
write("empty.avro", ORDERS, [], "null")
