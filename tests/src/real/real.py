"""Real files, as Weir and as others read them.

    real.py prepare <files> <sample.txt or "all"> <site> <part>/<parts>
    real.py compare <site>

`prepare` looks at each file in three ways, and writes a contract and a blob into the site for each: a column of its own
type for each field (`typed`), a column of text for each (`text`), and one for the first field alone, so that all others are
rescued (`rescued`). It prints a line of JSON for each blob. `compare` reads the tables that Weir made, and prints what differs.
"""

import base64
import collections
import hashlib
import json
import pathlib
import pickle
import re
import shutil
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "transform" / "parquet")]

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq

import columns
import packages
import text
import tree
import writers
from model import EITHER, MISSING, REFUSED, File, bits, parsed, same_json, same_typed

# A contract has at most 1,024, and a megabyte.
MOST_COLUMNS = 1_000
READERS = {"parquet": columns.read, "avro": tree.read_avro, "csv": text.read, "tsv": text.read,
           "json": tree.read_json, "ndjson": tree.read_json, "jsonl": tree.read_json}


def chosen(files, wish):
    every = sorted(path for path in files.rglob("*") if path.is_file() and packages.kind(path))
    names = {str(path.relative_to(files)): path for path in every}
    if wish == "all":
        # Each content once.
        once = {hashlib.sha256(path.read_bytes()).digest(): name for name, path in reversed(names.items())}
        return {name: names[name] for name in sorted(once.values())}
    return {line: names[line] for line in pathlib.Path(wish).read_text().splitlines() if line}


def prepare(files, wish, site, part):
    files, site = pathlib.Path(files), pathlib.Path(site)
    (site / "expected").mkdir()
    first, step = map(int, part.split("/"))
    for number, (name, path) in list(enumerate(chosen(files, wish).items()))[first::step]:
        kind = packages.kind(path)
        found = READERS[kind](path)
        (site / "expected" / f"f{number:05}").write_bytes(pickle.dumps((name, kind, found)))
        for look in looks(found):
            dataset = f"f{number:05}_{look}"
            blob = f"{dataset}/{re.sub('[^A-Za-z0-9._-]', '_', path.name)}"
            text = contract(dataset, looked_at(found, look), wanted(found, look), kind)
            (site / "datasets" / f"{dataset}.toml").write_text(text)
            target = site / "landing" / "landing" / blob
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            print(json.dumps({"name": name, "blob": blob}))


def looks(found):
    """Fields without names are those of columns, all of them."""
    nameless = isinstance(found, File) and found.columns and found.columns[0][0] is None
    return ["typed", "text"] if nameless else ["typed", "text", "rescued"]


def looked_at(found, look):
    """The same file with every column as text, for that look."""
    if look != "text" or not isinstance(found, File):
        return found
    texts = File(found.settings, [(name, "string", None) for name, _, _ in found.columns], found.count)
    texts.refused, texts.shown = found.refused, found.shown
    texts.typed = [[as_text(value, kind) for value in shown] for (_, kind, _), shown in zip(found.columns, found.shown)]
    return texts


def as_text(shown, kind):
    """A value of `_rescued` as a column of text has it."""
    match shown:
        case None: return None
        case bool(): return str(shown).lower()
        case int(): return str(shown)
        case str() if shown == MISSING: return None
        case str() if kind == "binary":
            data = base64.b64decode(shown)
            try:
                return REFUSED if b"\0" in data else data.decode()
            except UnicodeDecodeError:
                return REFUSED
        case str() if "\0" in shown and shown != EITHER: return REFUSED
    return shown


def wanted(found, look):
    """Places of the fields that the contract has columns for."""
    return usable(found)[: 1 if look == "rescued" else MOST_COLUMNS]


def usable(found):
    """Places of the fields that a column can be given: their names are names, and different ones."""
    if not isinstance(found, File):
        return []
    names = [name for name, _, _ in found.columns]
    if names and names[0] is None:
        return list(range(len(names)))
    counts = collections.Counter(name.lower() for name in names)
    fits = lambda name: name.strip() == name and 0 < len(name.encode()) <= 256 and counts[name.lower()] == 1 and not re.match("/|event:|column:", name)
    return [at for at, name in enumerate(names) if fits(name)]


def contract(dataset, found, places, kind):
    settings = found.settings if isinstance(found, File) else {"type": json.dumps(kind)}
    lines = [f'name = "{dataset}"', "[source]", 'kind = "blob"', 'container = "landing"', f'path = "{dataset}/**"']
    lines += ["[format]", "max_record_bytes = 67108864", *(f"{key} = {value}" for key, value in settings.items())]
    for at in places:
        name, data_type, form = found.columns[at]
        lines += ["[[columns]]", f'name = "c{at}"', f'type = "{data_type}"']
        if name is not None:
            lines.append(f"from = {quoted(name)}")
        if form:
            lines.append(f'format = "{form}"')
        values = (value for row, value in enumerate(found.typed[at]) if row not in found.refused)
        if not any(value is None or value == EITHER for value in values):
            lines.append("nullable = false")
    if not places:
        lines += ["[[columns]]", 'name = "nothing"', 'type = "string"']
    return "\n".join(lines) + "\n"


def quoted(name):
    return '"' + "".join(c if c not in '"\\' and c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in name) + '"'


def compare(site):
    site = pathlib.Path(site)
    for file in sorted((site / "expected").iterdir()):
        name, kind, found = pickle.loads(file.read_bytes())
        read = isinstance(found, File)
        for look in looks(found):
            differences = list(differing(site, f"{file.name}_{look}", looked_at(found, look), wanted(found, look)))
            print(json.dumps({
                "name": name, "kind": kind, "look": look, "differences": summed(differences), "examples": differences[:3],
                "records": found.count if read else 0, "values": found.count * len(found.columns) if read else 0,
                "second": True if read and found.second is None else found.second if read else found}))


def summed(differences):
    """What differs, without its places: `12 × …`."""
    counts = collections.Counter(what for what, _ in differences)
    return [f"{count} × {what}" for what, count in sorted(counts.items())]


def differing(site, dataset, found, places):
    clean, refused = table(site, dataset), table(site, f"{dataset}__quarantine")
    reasons = dict(zip(refused.get("_source_position", []), map(json.loads, refused.get("_reasons", []))))
    rows = {position: row for row, position in enumerate(clean.get("_source_position", []))}
    positions = sorted(rows | reasons)
    if len(positions) != len(rows) + len(reasons) or len(rows) != len(clean.get("_source_position", [])):
        yield "a place twice", None
    elif isinstance(found, str):
        # What the other reader does not read.
        if rows or not reasons:
            yield f"{len(rows)} records are taken, {found}", None
    elif len(positions) != found.count:
        yield f"{len(positions)} records of {found.count}", list(reasons.values())[:2]
    else:
        taken = []
        for record, position in enumerate(positions):
            faulty = [at for at in places if found.typed[at][record] == REFUSED]
            if position in reasons:
                text = "; ".join(reasons[position])
                if record not in found.refused and not (faulty and all(f"`c{at}`" in text for at in faulty)):
                    yield f"refused: {re.sub('[0-9]+', 'N', text)[:200]}", [record, [column[record] for column in found.typed][:8]]
            elif record in found.refused:
                yield f"taken, though it is no record ({found.refused[record]})", record
            elif faulty:
                yield "taken, with a value that its column cannot hold", [record, [found.columns[at] for at in faulty]]
            else:
                taken.append((rows[position], record))
        yield from differing_values(clean, taken, found, places)
        yield from differing_rescued(clean, taken, found, [at for at in range(len(found.columns)) if at not in places])


def differing_values(clean, taken, found, places):
    for at in places:
        name, kind, _ = found.columns[at]
        column = clean.get(f"c{at}", [])
        for row, record in taken:
            value, expected = column[row], found.typed[at][record]
            if (value != expected or type(value) is not type(expected)) and not same_typed(value, expected):
                yield f"a {kind} differs", [record, name, repr(value)[:300], repr(expected)[:300]]


def differing_rescued(clean, taken, found, rest):
    for row, record in taken:
        text = clean["_rescued"][row]
        rescued = parsed(text) if text else {}
        for at in rest:
            name, shown = found.columns[at][0], found.shown[at][record]
            if shown == EITHER:
                rescued.pop(name, None)
            elif shown != MISSING and name not in rescued:
                yield "a field is not rescued", [record, name]
            elif shown != MISSING and not same_json(rescued.pop(name), shown):
                yield "a rescued value differs", [record, name, text[:300], repr(shown)[:300]]
        if rescued:
            yield "something else is rescued", [record, list(rescued)[:5]]


def table(site, name):
    """Columns of one of Weir's tables, as texts and numbers of Python's."""
    folder = site / "lake" / name
    if not folder.is_dir():
        return {}
    columns = collections.defaultdict(list)
    for file in deltalake.DeltaTable(str(folder)).file_uris():
        read = pq.ParquetFile(file.removeprefix("file://")).read()
        for field in read.schema.names:
            columns[field] += stored(read.column(field))
    return columns


def stored(column):
    kind = column.type
    column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)
    if pa.types.is_floating(kind):
        return [None if value is None else bits(value) for value in column.to_pylist()]
    if pa.types.is_decimal(kind):
        return [None if value is None else format(value, "f") for value in column.to_pylist()]
    if pa.types.is_date(kind):
        return [None if value is None else value.isoformat() for value in column.to_pylist()]
    if pa.types.is_timestamp(kind):
        return [None if value is None else writers.cut(writers.instant(value, "us", True)) for value in column.cast(pa.int64()).to_pylist()]
    if kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    return column.to_pylist()


if __name__ == "__main__":
    {"prepare": prepare, "compare": compare}[sys.argv[1]](*sys.argv[2:])
