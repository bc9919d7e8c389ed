#!/usr/bin/env python3
"""Makes a Python wheel of a binary: wheel.py <binary> <version> <folder>

`pip install weir-ingest` then brings the program `weir`, and nothing else: no Python code, no dependencies. The wheel says which
glibc the binary needs, so that pip does not install it where it cannot run. The same binary gives the same bytes.
"""

import base64
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import zipfile

NAME, MODULE = "weir-ingest", "weir_ingest"
SUMMARY = "Exactly-once serverless ingestion for Azure: files and events in, Delta Lake out"


def platform(binary):
    """`manylinux_2_28_x86_64`, by the newest symbol of glibc that the binary asks for."""
    machine = {0x3E: "x86_64", 0xB7: "aarch64"}[int.from_bytes(binary.read_bytes()[18:20], "little")]
    symbols = subprocess.run(["objdump", "-T", binary], check=True, capture_output=True, text=True).stdout
    strong = [line for line in symbols.splitlines() if " w " not in line]
    versions = [tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", "\n".join(strong))]
    major, minor = max(versions, default=(2, 17))
    return f"manylinux_{major}_{minor}_{machine}"


def main(binary, version, folder):
    repository = pathlib.Path(__file__).resolve().parents[2]
    tag = f"py3-none-{platform(binary)}"
    info, scripts = f"{MODULE}-{version}.dist-info", f"{MODULE}-{version}.data/scripts"
    metadata = (
        f"Metadata-Version: 2.4\nName: {NAME}\nVersion: {version}\nSummary: {SUMMARY}\nLicense-Expression: MIT\n"
        f"License-File: LICENSE\nRequires-Python: >=3.8\nProject-URL: Source, https://github.com/weir-data/weir\n"
        "Description-Content-Type: text/markdown\n\n"
        f"# Weir\n\n{SUMMARY}.\n\n```sh\nweir demo            # all of it on this machine\n"
        "weir new orders.csv  # a contract from a file\nweir dev             # the app here\n```\n"
    )
    files = {
        f"{scripts}/weir": binary.read_bytes(),
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: weir\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/licenses/LICENSE": (repository / "LICENSE").read_bytes(),
    }
    record = [f"{name},sha256={digest(content)},{len(content)}" for name, content in sorted(files.items())]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    wheel = folder / f"{MODULE}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.startswith(scripts) else 0o100644) << 16
            archive.writestr(entry, content)
    print(wheel)


def digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    if len(sys.argv) != 4 or not os.access(sys.argv[1], os.X_OK):
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
