"""The other side of the `events` bench: a Python function on Event Hub batches, with polars and deltalake.

`python -I baseline.py TABLE_DIR ENVELOPES` reads envelopes, one a line, as the Functions host would post them, and prints
{"events": …, "seconds": …}. The clock begins with the bytes of a request and ends with the commit: what azure-functions
does around it (gRPC to a worker process, an object for each event) is not in the figure. A batch is written through the
table that was checked, so that two deliveries at once cannot both commit.
"""

import base64
import json
import sys
import time
from datetime import datetime, timezone

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake

UTC = pl.Datetime("us", "UTC")
TEXTS = ["event_id", "event_type", "user_id", "session_id", "url", "referrer", "ip", "user_agent"]
EVENT = dict.fromkeys(TEXTS, pl.String) | {"event_time": UTC, "duration_ms": pl.Int64}
LINEAGE = {"_source": pl.String, "_source_position": pl.Int64, "_ingested_at": UTC}


def ingest(path, request):
    envelope = json.loads(request)
    metadata = envelope["Metadata"]
    context = metadata["PartitionContext"]
    source = f"eventhub/{context['EventHubName']}/{context['PartitionId']}"
    positions = json.loads(metadata["SequenceNumberArray"])
    table = DeltaTable(path)
    if (table.transaction_version(source) or -1) >= positions[-1]:
        return 0
    bodies = [base64.b64decode(body) for body in json.loads(envelope["Data"]["events"])]
    frame = pl.read_ndjson(b"\n".join(bodies), schema=EVENT).with_columns(
        pl.lit(source).alias("_source"),
        pl.Series("_source_position", positions, dtype=pl.Int64),
        pl.lit(datetime.now(timezone.utc), dtype=UTC).alias("_ingested_at"),
    )
    transaction = Transaction(app_id=source, version=positions[-1])
    properties = CommitProperties(app_transactions=[transaction])
    write_deltalake(table, frame, mode="append", commit_properties=properties)
    return len(positions)


def main(path, envelopes):
    empty = pl.DataFrame(schema=EVENT | LINEAGE)
    write_deltalake(path, empty, mode="error")
    with open(envelopes, "rb") as file:
        requests = file.read().splitlines()
    began = time.perf_counter()
    events = sum(ingest(path, request) for request in requests)
    print(json.dumps({"events": events, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main(*sys.argv[1:])
