#!/usr/bin/env python3
"""Large blobs and many small ones, through `weir backfill` on a local disk (docs/benchmarks.md, "Blobs").

usage: backfill.py <weir binary> [megabytes of the large blob, default 5000] [small blobs, default 10000]
"""
import os
import resource
import subprocess
import sys
import tempfile
import time

CONTRACT = """name = "orders"
[source]
kind = "blob"
container = "landing"
path = "orders/*.csv"
[format]
type = "csv"
{format}
[[columns]]
name = "id"
type = "long"
[[columns]]
name = "amount"
type = "decimal(12,2)"
[[columns]]
name = "note"
type = "string"
[[columns]]
name = "at"
type = "timestamp"
"""
HEAD = b"id,amount,note,at\n"
ROWS = "".join(
    f"{i},{i % 1000}.25,a note of customer {i % 977} and more text,2026-01-{i % 28 + 1:02}T10:00:{i % 60:02}Z\n"
    for i in range(200_000)
).encode()


def main(weir, megabytes, small):
    with tempfile.TemporaryDirectory() as root:
        def run(name, landing, lake, form=""):
            os.makedirs(f"{root}/datasets", exist_ok=True)
            with open(f"{root}/datasets/orders.toml", "w") as contract:
                contract.write(CONTRACT.format(format=form))
            settings = dict(
                WEIR_LAKE_URL=f"file://{root}/{lake}", WEIR_LANDING_URL=f"file://{root}/{landing}",
                WEIR_DATASETS=f"{root}/datasets", WEIR_MEMORY_BUDGET_MB="512", WEIR_LOG="warn",
            )
            began = time.time()
            subprocess.run([weir, "backfill", "orders", "--json"], check=True, capture_output=True, env=os.environ | settings)
            took = time.time() - began
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            print(f"{name}: {took:.2f} s, peak resident so far {peak} MB", flush=True)
            return took

        def blob(landing, name, copies):
            os.makedirs(f"{root}/{landing}/landing/orders", exist_ok=True)
            with open(f"{root}/{landing}/landing/orders/{name}.csv", "wb") as file:
                file.write(HEAD)
                for _ in range(copies):
                    file.write(ROWS)

        tenth = max(1, megabytes * 1_000_000 // 10 // len(ROWS))
        blob("one", "big", 10 * tenth)
        whole = run("one blob, piece by piece", "one", "lake-one")
        run("one blob, in parts", "one", "lake-parts", "quoted_newlines = false")
        os.remove(f"{root}/one/landing/orders/big.csv")
        tenths = 0.0
        for number in range(10):
            blob("ten", str(number), tenth)
            tenths += run(f"tenth {number}", "ten", "lake-ten")
        print(f"one blob / ten tenths, one after the other: {whole / tenths:.2f}")
        os.makedirs(f"{root}/many/landing/orders")
        content = HEAD + ROWS[:10_000].rsplit(b"\n", 1)[0] + b"\n"
        for number in range(small):
            with open(f"{root}/many/landing/orders/{number}.csv", "wb") as file:
                file.write(content)
        took = run(f"{small} blobs of 10 KB", "many", "lake-many")
        files = sum(name.endswith(".parquet") for name in os.listdir(f"{root}/lake-many/orders"))
        print(f"{small / took:.0f} blobs/s, {small / files:.1f} blobs a file")
        run(f"sweep of {small} blobs that are all there", "many", "lake-many")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000,
         int(sys.argv[3]) if len(sys.argv) > 3 else 10_000)
