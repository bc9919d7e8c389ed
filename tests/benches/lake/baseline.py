"""The other side of the `lake` bench: what a careful Python user writes with `deltalake` and `polars` alone.

`python -I baseline.py COMMAND [ARGS]` prints one JSON object. Times are of `time.perf_counter`, memory is in MB of 10^6
bytes, and whatever is not the thing measured (events, imports, the creation of the table) stays outside the clock.
"""

import json
import math
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

USAGE = """\
python -I baseline.py COMMAND
  append TABLE_DIR BATCHES ROWS [--pass-handle | --keep-handle]
  append-frames TABLE_DIR BATCHES ROWS [--pass-handle | --keep-handle]
  optimize TABLE_DIR [--target-size BYTES]
  double-compaction TABLE_DIR
  race TABLE_DIR PROCESSES BATCHES ROWS
  read TABLE_DIR"""

HANDLES = [[], ["--pass-handle"], ["--keep-handle"]]
SOURCE = "eventhub/clicks/0"  # names the producer: the lineage of a row and the application of a transaction
UTC_MICROSECONDS = pl.Datetime("us", "UTC")  # without a zone the table would need the timestampNtz feature
TEXTS = ["event_id", "user_id", "session", "page", "referrer", "agent", "country"]
EVENT = dict.fromkeys(TEXTS, pl.String) | {"at": UTC_MICROSECONDS, "duration_ms": pl.Int64, "price": pl.Float64}
LINEAGE = {"_source": pl.String, "_source_position": pl.Int64, "_ingested_at": UTC_MICROSECONDS}
PAGES = ["home", "search", "product", "basket", "checkout", "account", "help"]
COUNTRIES = ["AT", "BR", "CH", "DE", "FR", "GB", "IN", "JP", "US"]
SYSTEMS = ["Windows NT 10.0; Win64; x64", "X11; Linux x86_64", "Macintosh; Intel Mac OS X 10_15_7"]
AGENT = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"


def body(position):
    """The JSON of one event, about 1 KB, the same for the same position."""
    dice = random.Random(position)
    page, before = dice.choice(PAGES), dice.choice(PAGES)
    at = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=7 * position)
    event = {
        "event_id": dice.randbytes(16).hex(),
        "user_id": f"user-{dice.randrange(50_000)}",
        "session": dice.randbytes(16).hex(),
        "page": f"https://shop.example.com/{page}/{dice.randrange(9_999)}?campaign={dice.randbytes(110).hex()}",
        "referrer": f"https://www.example.org/{before}?click={dice.randbytes(180).hex()}",
        "agent": AGENT.format(dice.choice(SYSTEMS), dice.randrange(138, 144)),
        "country": dice.choice(COUNTRIES),
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "duration_ms": dice.randrange(1, 60_000),
        "price": round(dice.uniform(1, 500), 2),
    }
    return json.dumps(event, separators=(",", ":")).encode()


def events(first, rows):
    """A batch as the Event Hub trigger hands it over: sequence numbers and bodies."""
    positions = list(range(first, first + rows))
    return positions, [body(position) for position in positions]


def frame_of(positions, bodies, source=SOURCE):
    """The rows of a batch. The schema is given, so that no batch decides by itself what a column is."""
    return pl.read_ndjson(b"\n".join(bodies), schema=EVENT).with_columns(
        pl.lit(source).alias("_source"),
        pl.Series("_source_position", positions, dtype=pl.Int64),
        pl.lit(datetime.now(timezone.utc), dtype=UTC_MICROSECONDS).alias("_ingested_at"),
    )


def append(path, batches, rows, handle, frames_first):
    """What a batch costs as the log grows; with `frames_first` the clock sees the commit alone."""
    table = create(path)
    first = (table.transaction_version(SOURCE) or 0) + 1  # go on where the last run stopped: known batches are skipped
    kept = table if handle == ["--keep-handle"] else None
    depth, skipped, times = table.version(), 0, []
    for number in range(batches):
        batch = events(first + number * rows, rows)
        frame = frame_of(*batch) if frames_first else None
        written, seconds = timed(lambda: ingest(path, batch, frame, kept, handle == ["--pass-handle"]))
        skipped += not written
        times.append(seconds)
    return {
        "batches": batches,
        "rows": batches * rows,
        "skipped": skipped,
        "version_before": depth,
        "seconds": round(sum(times), 6),
        "per_batch_ms": [milliseconds(seconds) for seconds in times[:5]],
        "last_ms": [milliseconds(seconds) for seconds in times[-5:]],
        "peak_rss_mb": memory_mb("VmHWM"),
    }


def ingest(path, batch, frame, kept, pass_handle):
    """Writes a batch unless the table has it already; false if it has. This is the function that is measured.

    A write to the *path* loads the table a second time. Between the check and that load another instance may commit the
    same batch, and delta-rs then commits it once more. A write to the *handle* that was checked is refused instead.
    """
    positions, bodies = batch
    version = positions[-1]
    table = kept or DeltaTable(path)
    if kept:
        kept.update_incremental()
    seen = table.transaction_version(SOURCE)
    if seen is not None and seen >= version:
        return False
    if frame is None:
        frame = frame_of(positions, bodies)
    write(table if kept or pass_handle else path, frame, SOURCE, version)
    return True


def optimize(path, target_size=None):
    """Compaction as a timer would run it. It works in batches of Arrow, so memory is as telling as time."""
    table, load_seconds = timed(lambda: DeltaTable(path))
    before = memory_mb("VmRSS")
    metrics, seconds = timed(lambda: table.optimize.compact(target_size=target_size))
    return {
        "seconds": seconds,
        "load_seconds": load_seconds,
        "metrics": metrics,
        "rss_before_mb": before,
        "peak_rss_mb": memory_mb("VmHWM"),
    }


def double_compaction(path):
    """Two timers compact at once, the second with the handle that it loaded before the first was done."""
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "table")
        shutil.copytree(path, copy)
        rows_before = count(copy)
        first, second = DeltaTable(copy), DeltaTable(copy)
        return {
            "version": second.version(),
            "rows_before": rows_before,
            "first": compacted(first),
            "second": compacted(second),
            "rows_after": count(copy),
        }


def compacted(table):
    """The metrics of a compaction or the text of its error."""
    try:
        return table.optimize.compact()
    except DeltaError as error:
        return f"{type(error).__name__}: {error}"


def race(path, processes, batches, rows):
    """Writers in processes of their own, one application each, all with the retries that delta-rs has built in.

    Spawned, not forked: the thread pools of polars and delta-rs do not survive a fork.
    """
    create(path)
    before = count(path)
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(processes)
    with ProcessPoolExecutor(processes, spawn, share_start, (start,)) as pool:
        jobs = [pool.submit(race_writer, path, worker, batches, rows) for worker in range(processes)]
        writers = [job.result() for job in jobs]
    times = sorted(took for writer in writers for took in writer["times"])
    return {
        "processes": processes,
        "batches": processes * batches,
        "failed": processes * batches - len(times),
        "errors": sum((writer["errors"] for writer in writers), Counter()),
        # The clock of perf_counter is one for all processes of the machine.
        "seconds": round(max(writer["ended"] for writer in writers) - min(writer["began"] for writer in writers), 6),
        "p50_ms": percentile(times, 0.50),
        "p99_ms": percentile(times, 0.99),
        "rows_expected": before + len(times) * rows,
        "rows": count(path),
    }


def share_start(start):
    """Gives the barrier to a worker: only a starting process can be given one."""
    global START
    START = start


def race_writer(path, worker, batches, rows):
    """Commits frames that are ready, as soon as every writer is."""
    source = f"eventhub/clicks/{worker}"
    first = (DeltaTable(path).transaction_version(source) or 0) + 1
    ready = [events(first + number * rows, rows) for number in range(batches)]
    ready = [(positions[-1], frame_of(positions, bodies, source)) for positions, bodies in ready]
    times, errors = [], Counter()
    START.wait(timeout=120)
    began = time.perf_counter()
    for version, frame in ready:
        try:
            _, seconds = timed(lambda: write(path, frame, source, version))
            times.append(seconds)
        except DeltaError as error:
            errors[f"{type(error).__name__}: {str(error).splitlines()[0]}"] += 1
    return {"began": began, "ended": time.perf_counter(), "times": times, "errors": errors}


def read(path):
    """The same two numbers by two engines: the one inside `deltalake` (DataFusion) and polars."""
    table = DeltaTable(path)
    protocol = table.protocol()
    position = pl.col("_source_position")
    sql = 'SELECT count(*) AS "rows", sum("_source_position") AS "sum" FROM t'
    return {
        "version": table.version(),
        "protocol": [protocol.min_reader_version, protocol.min_writer_version],
        "files": len(table.file_uris()),
        "deltalake": answer(lambda: pl.DataFrame(QueryBuilder().register("t", table).execute(sql))),
        "polars": answer(lambda: pl.scan_delta(path).select(rows=pl.len(), sum=position.sum()).collect()),
        "peak_rss_mb": memory_mb("VmHWM"),
    }


def create(path):
    """The table, made empty if there is none: a set-up step, which no batch should pay for."""
    return DeltaTable.create(path, Schema.from_arrow(pl.Schema(EVENT | LINEAGE)), mode="ignore")


def write(target, frame, source, version):
    """One commit: the rows and the mark that they are in the table."""
    mark = CommitProperties(app_transactions=[Transaction(source, version)])
    write_deltalake(target, frame, mode="append", commit_properties=mark)


def count(path):
    """Rows that a reader finds now."""
    return pl.scan_delta(path).select(pl.len()).collect().item()


def timed(call):
    """What a call returned and the seconds that it took."""
    started = time.perf_counter()
    result = call()
    return result, round(time.perf_counter() - started, 6)


def answer(query):
    """The only row of a query's result, with the seconds that it took."""
    result, seconds = timed(query)
    return result.row(0, named=True) | {"seconds": seconds}


def milliseconds(seconds):
    return round(seconds * 1e3, 3)


def memory_mb(field):
    """Resident memory (`VmRSS` now, `VmHWM` at most) of this process; only Linux tells.

    Not `getrusage`: a child starts with the `ru_maxrss` of its parent, here the Rust bench.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return round(int(lines[field].split()[0]) * 1024 / 1e6, 1)


def percentile(ordered, share):
    """In milliseconds, by the nearest rank; none of nothing."""
    return milliseconds(ordered[math.ceil(share * len(ordered)) - 1]) if ordered else None


def main(arguments):
    match arguments:
        case ["append" | "append-frames" as command, path, batches, rows, *handle] if handle in HANDLES:
            return append(path, int(batches), int(rows), handle, frames_first=command == "append-frames")
        case ["optimize", path]:
            return optimize(path)
        case ["optimize", path, "--target-size", size]:
            return optimize(path, int(size))
        case ["double-compaction", path]:
            return double_compaction(path)
        case ["race", path, processes, batches, rows]:
            return race(path, int(processes), int(batches), int(rows))
        case ["read", path]:
            return read(path)
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
