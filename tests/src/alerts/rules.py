"""Runs the alert rules on what a day puts into the tables. argv: folder of the rules. Prints `<day> <rule>` for each that fires."""
import datetime, pathlib, sys
import duckdb_kql

rules = {path.stem: path.read_text() for path in sorted(pathlib.Path(sys.argv[1]).glob("*.kql"))}
now = datetime.datetime(2026, 12, 1, 8, 0, tzinfo=datetime.timezone.utc)
OK, BAD = True, False


def maintained(until=0):
    return [(minute, "maintain", OK, 1) for minute in range(0, 30, 5) if minute >= until]


def day(requests, undelivered=0):
    return maintained() + requests, undelivered


# Minutes ago, function, outcome, how many requests the row stands for.
days = {
    "nothing_but_the_timer": day([]),
    "good": day([(minute, "ingest_blob", OK, 20) for minute in range(30)] + [(3, "ingest_blob", BAD, 1)]),
    # What the host samples stands for more than one row.
    "good_sampled": day([(2, "ingest_blob", OK, 100), (3, "ingest_blob", BAD, 1)] + [(m, "ingest_blob", BAD, 1) for m in (5, 9)]),
    "app_down": ([(minute, "maintain", OK, 1) for minute in (20, 25)], 0),
    "app_never_started": ([], 0),
    "maintain_fails": ([(minute, "maintain", BAD, 1) for minute in range(0, 30, 5)], 0),
    # Retries wait up to 5 minutes.
    "one_partition_stuck": day([(minute, "ingest_clickstream", BAD, 1) for minute in (1, 6, 11, 16, 21, 26)]
                               + [(minute, "ingest_blob", OK, 20) for minute in range(30)]),
    "parked": day([(4, "park_tasks", OK, 1)]),
    "throttled": day([(minute, "ingest_blob", minute % 3 > 0, 1) for minute in range(30)]),
    "undelivered": day([], undelivered=3),
}
windows = {"dead": 15, "stuck": 30, "parked": 15, "failing": 30, "undelivered": 15}
assert rules.keys() == windows.keys(), rules.keys()

for name, (requests, undelivered) in days.items():
    for rule, query in rules.items():
        con = duckdb_kql.connect()
        con.sql("CREATE TABLE AppRequests (TimeGenerated TIMESTAMPTZ, Name VARCHAR, Success BOOLEAN, ItemCount INTEGER)")
        con.sql("CREATE TABLE AegDeliveryFailureLogs (TimeGenerated TIMESTAMPTZ, Message VARCHAR)")
        # The service looks at the rule's window and no further.
        for minute, function, success, count in requests:
            if minute < windows[rule]:
                con.execute("INSERT INTO AppRequests VALUES (?, ?, ?, ?)", [now - datetime.timedelta(minutes=minute), function, success, count])
        for _ in range(undelivered):
            con.execute("INSERT INTO AegDeliveryFailureLogs VALUES (?, 'busy')", [now])
        if duckdb_kql.kql(con, query).fetchall():
            print(name, rule)
