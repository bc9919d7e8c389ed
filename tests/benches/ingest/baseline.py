"""The Python side of the `ingest` bench: a function that scans the file and sinks it into a Delta table, as most would
write it with `polars` and `deltalake`.

`python -I baseline.py INPUT TABLE_DIR` prints one JSON object. The clock sees the function alone, as in a warm
worker: neither the start of Python nor the imports. It does less than Weir: no quality rules, nobody is masked, no
quarantine (a faulty value fails the file), and a second delivery doubles the rows.
"""

import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import polars as pl

MONEY, UTC_MICROSECONDS = pl.Decimal(12, 2), pl.Datetime("us", "UTC")
SALES = {
    "l_orderkey": pl.Int64, "l_partkey": pl.Int64, "l_suppkey": pl.Int64, "l_linenumber": pl.Int32,
    "l_quantity": MONEY, "l_extendedprice": MONEY, "l_discount": MONEY, "l_tax": MONEY,
    "l_returnflag": pl.String, "l_linestatus": pl.String,
    "l_shipdate": pl.Date, "l_commitdate": pl.Date, "l_receiptdate": pl.Date,
    "l_shipinstruct": pl.String, "l_shipmode": pl.String, "l_comment": pl.String,
}  # fmt: skip
CUSTOMERS = {
    "customer_key": pl.Int64, "name": pl.String, "email": pl.String, "phone": pl.String, "address": pl.String,
    # Polars reads no decimals from JSON.
    "nation_key": pl.Int32, "account_balance": pl.Float64, "market_segment": pl.String, "comment": pl.String,
}  # fmt: skip


def scan(path):
    match Path(path).suffix:
        case ".csv":
            return pl.scan_csv(path, schema=SALES)
        case ".ndjson":
            return pl.scan_ndjson(path, schema=CUSTOMERS)
        case ".parquet":
            return pl.scan_parquet(path)
        case suffix:
            sys.exit(f"no reader for {suffix}")


def ingest(path, table):
    """The function that is measured."""
    rows = scan(path).with_columns(
        pl.lit(Path(path).name).alias("_source"),
        pl.lit(datetime.now(timezone.utc), dtype=UTC_MICROSECONDS).alias("_ingested_at"),
    )
    rows.sink_delta(table, mode="append")


def peak_bytes():
    """Resident memory at most; only Linux tells."""
    status = Path("/proc/self/status")
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.exists() else {}
    return int(lines["VmHWM"].split()[0]) * 1024 if lines else None


def main(path, table):
    import deltalake  # noqa: F401 (sink_delta would import it inside the clock)

    began = time.perf_counter()
    ingest(path, table)
    seconds = time.perf_counter() - began
    peak = peak_bytes()
    rows = pl.scan_delta(table).select(pl.len()).collect().item()
    return {"seconds": seconds, "rows": rows, "peak_bytes": peak}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(json.dumps(main(*sys.argv[1:])))
