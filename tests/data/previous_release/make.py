"""Fills the tables of this folder. Usage: make.py <weir of the release before>."""

import base64, datetime, json, os, pathlib, shutil, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

here = pathlib.Path(__file__).resolve().parent
site = pathlib.Path(tempfile.mkdtemp())
(site / "datasets").mkdir()
(site / "lake").mkdir()
shutil.copy(here / "clicks.toml", site / "datasets")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
settings = {
    "WEIR_LAKE_URL": f"file://{site}/lake",
    "WEIR_DATASETS": f"{site}/datasets",
    "WEIR_WAREHOUSE_URL": f"sqlite://{site}/warehouse.db",
    "FUNCTIONS_CUSTOMHANDLER_PORT": str(port),
}
handler = subprocess.Popen([sys.argv[1], "serve"], env=settings, cwd=site)


def post(function, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{function}", json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    request.add_header("x-azure-functions-invocationid", "35e6e68c-0b7f-4b52-9d2c-8d6c7a9c1f10")
    with urllib.request.urlopen(request) as answer:
        print(function, json.loads(answer.read())["ReturnValue"])


def deliver(namespace, hub, group, partition, numbers, time, bad=()):
    """One batch; `bad` numbers are refused."""
    numbers = list(numbers)
    bodies = [b"no object" if n in bad else json.dumps({"n": n}).encode() for n in numbers]
    array = lambda values: json.dumps(values)
    post("ingest_clicks", {
        "Data": {"events": array([base64.b64encode(body).decode() for body in bodies])},
        "Metadata": {
            "PartitionContext": {
                "FullyQualifiedNamespace": f"{namespace}.servicebus.windows.net",
                "EventHubName": hub,
                "ConsumerGroup": group,
                "PartitionId": str(partition),
            },
            "SequenceNumberArray": array(numbers),
            "OffsetArray": array([str(n * 64) for n in numbers]),
            **({"EnqueuedTimeUtcArray": array([time] * len(numbers))} if time else {}),
            "sys": {"MethodName": "ingest_clicks", "UtcNow": "2026-01-05T10:00:00.0042Z"},
        },
    })


def run(task):
    message = base64.b64encode(json.dumps(task).encode()).decode()
    metadata = {"DequeueCount": "1", "Id": "\"9a5b2c1e-7f51-4f0e-9d3a-3c8a52d3f7aa\"",
                "sys": {"MethodName": "run_task", "UtcNow": "2026-01-05T10:00:00.0042Z"}}
    post("run_task", {"Data": {"event": message}, "Metadata": metadata})


while True:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
        break
    except urllib.error.URLError:
        time.sleep(0.05)

new_year = "2026-01-01T00:00:00"
deliver("ns", "clicks", "weir", 0, range(0, 50), new_year, bad=(7, 8))
# Without times, as old extensions of the host: a test can read the partition from a hub of today.
deliver("NS", "Clicks", "Weir", 1, range(0, 40), None, bad=(3,))
deliver("ns", "clicks", "other", 1, range(0, 20), None, bad=(3, 4, 5))
deliver("ns", "clicks", "weir", 2, range(0, 30), new_year)
deliver("ns", "clicks", "weir2", 2, range(20, 60), new_year)
deliver("ns", "clicks", "weir", 4, range(0, 100), new_year)
deliver("ns", "clicks", "weir2", 4, range(0, 10), "2026-02-01T00:00:00")
run({"task": "maintain", "dataset": "clicks"})
# Partition 3: quarantine is committed, and the process dies before the table is.
deliver("ns", "clicks", "weir", 3, range(0, 10), new_year)
deliver("ns", "clicks", "weir", 3, range(10, 20), new_year, bad=(12, 15))
handler.kill()
handler.wait()
log = site / "lake/clicks/_delta_log"
max(log.glob("*.json")).unlink()
shutil.rmtree(here / "lake", ignore_errors=True)
shutil.copytree(site / "lake", here / "lake")
shutil.copy(site / "warehouse.db", here / "warehouse.db")
shutil.rmtree(site)
