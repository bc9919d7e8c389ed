#!/usr/bin/env python3
"""Storage operations of a blob: `weir backfill` of many small blobs on Azurite, whose access log is counted.

usage: operations.py <weir binary> <folder with Azurite's node_modules> [blobs, default 10000]

The tests install Azurite into <target>/azurite-<hash>. What is counted is what Azure would bill: each request of the
process, its start and the sweep included. Seconds say little: Azurite is one thread of Node.js on the same machine.
"""
import base64
import collections
import concurrent.futures
import email.utils
import hashlib
import hmac
import http.client
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

from backfill import CONTRACT, HEAD, ROWS

ACCOUNT = "devstoreaccount1"
# No secret: every Azurite has this key.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
REQUEST = re.compile(r'"(\w+) (\S+) HTTP/1.1" (\d+)')
LOCAL = threading.local()


def request(port, method, path, query=(), body=b"", headers=()):
    """A request signed with the account's key; connections are kept."""
    headers = dict(headers) | {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    named = "".join(f"{key}:{headers[key]}\n" for key in sorted(headers) if key.startswith("x-ms-"))
    resource = f"/{ACCOUNT}{path}" + "".join(f"\n{key}:{value}" for key, value in sorted(query))
    to_sign = f"{method}\n\n\n{len(body) or ''}\n\n\n\n\n\n\n\n\n{named}{resource}"
    digest = hmac.new(base64.b64decode(KEY), to_sign.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    if not hasattr(LOCAL, "connection"):
        LOCAL.connection = http.client.HTTPConnection("127.0.0.1", port)
    url = path + ("?" + "&".join(f"{key}={value}" for key, value in query) if query else "")
    LOCAL.connection.request(method, url, body, headers)
    answer = LOCAL.connection.getresponse()
    answer.read()
    if answer.status != 201:
        sys.exit(f"{method} {url}: {answer.status}")


def kind(method, url):
    path = url.split("?")[0].removeprefix(f"/{ACCOUNT}/")
    if "comp=list" in url:
        return "list"
    place = "blob" if path.startswith("landing/") else "log" if "/_delta_log/" in path else "data file"
    return f"{method} {place}"


def main(weir, azurite, blobs):
    with tempfile.TemporaryDirectory() as root:
        script = os.path.join(azurite, "node_modules/azurite/dist/src/azurite.js")
        options = ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
        log_path = f"{root}/azurite.log"
        with open(log_path, "w") as log:
            node = subprocess.Popen(
                ["node", script, *options, "--blobPort=0", "--queuePort=0", "--tablePort=0"], stdout=log, cwd=root
            )
        try:
            measure(weir, blobs, root, log_path)
        finally:
            node.terminate()


def measure(weir, blobs, root, log_path):
    port, waited = None, time.time()
    while port is None:
        if time.time() - waited > 60:
            sys.exit("Azurite does not start")
        time.sleep(0.1)
        found = re.search(r"Blob service is successfully listening at http://127.0.0.1:(\d+)", open(log_path).read())
        port = found and int(found[1])
    for container in ["landing", "lake"]:
        request(port, "PUT", f"/{ACCOUNT}/{container}", [("restype", "container")])
    content = HEAD + ROWS[:10_000].rsplit(b"\n", 1)[0] + b"\n"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        put = lambda number: request(
            port, "PUT", f"/{ACCOUNT}/landing/orders/{number}.csv", body=content, headers={"x-ms-blob-type": "BlockBlob"}
        )
        list(pool.map(put, range(blobs)))
    os.makedirs(f"{root}/datasets")
    with open(f"{root}/datasets/orders.toml", "w") as contract:
        contract.write(CONTRACT.format(format=""))
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    connection = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url};"
    settings = dict(
        WEIR_LAKE_URL=f"{url}/lake/tables", WEIR_LANDING_URL=url, WEIR_DATASETS=f"{root}/datasets", WEIR_LOG="warn",
        AzureWebJobsStorage=connection, BlobEvents=connection,
    )
    for run in ["ingest", "sweep again, all there"]:
        before, began = os.path.getsize(log_path), time.time()
        subprocess.run([weir, "backfill", "orders", "--json"], check=True, capture_output=True, env=os.environ | settings)
        took = time.time() - began
        time.sleep(0.5)
        with open(log_path) as log:
            log.seek(before)
            found = [REQUEST.search(line) for line in log]
        counts = collections.Counter(kind(line[1], line[2]) for line in found if line)
        total = sum(counts.values())
        print(f"{run}: {blobs} blobs of {len(content)} bytes, {took:.1f} s, {total} requests, {total / blobs:.3f} a blob")
        for name, count in counts.most_common():
            print(f"  {name:<16}{count:>8}   {count / blobs:.4f} a blob")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10_000)
