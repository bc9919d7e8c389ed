"""Delimited text: what Python's `csv` reads of a file, the contract that fits it, and DuckDB's opinion."""

import codecs
import collections
import csv
import datetime
import decimal
import gzip
import re
import tempfile

import duckdb

from model import EITHER, File, bits

csv.field_size_limit(1 << 30)
MARKS = [(codecs.BOM_UTF8, "utf-8", "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16", "utf-16"), (codecs.BOM_UTF16_BE, "utf-16be", "utf-16")]
WHOLE = re.compile(r"[ \t]*[+-]?[0-9]+[ \t]*", re.A)
NUMBER = re.compile(r"[ \t]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*", re.A)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
INSTANT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})?")
# How Python and Weir spell a day or an instant that is not ISO 8601.
FORMS = ["%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%m/%d/%y", "%d-%b-%y", "%d-%b-%Y", "%b %d %Y", "%m/%d/%Y %H:%M",
         "%Y/%m/%d %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y/%m/%d %H:%M"]
ABSENT = ["NA", "NaN", "nan", "NULL", "null", "N/A", "n/a", ".", "-", "None", "inf", "Inf"]


# As browsers have windows-1252: every byte is a character.
codecs.register_error("every-byte", lambda error: ("".join(map(chr, error.object[error.start:error.end])), error.end))


def content_of(path):
    content = path.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def decoded(content):
    """Text, the contract's encoding, and whether that is Unicode."""
    for mark, name, codec in MARKS:
        if content.startswith(mark):
            return content.decode(codec), name
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return content.decode("cp1252", "every-byte"), "windows-1252"


def grid(text, delimiter):
    escape = {"escapechar": "\\", "doublequote": False} if escaped(text) else {}
    return [row for row in csv.reader(lines(text), delimiter=delimiter, **escape) if row]


def escaped(text):
    """Whether a backslash stands before quotes in fields, and before nothing else."""
    return re.search(r'[A-Za-z ]\\"[A-Za-z ]', text) is not None and re.search(r'\\[^"]', text) is None


def lines(text):
    """Lines for `csv`, with their ends. A lone carriage return is one if it ends the first line; form feeds end none."""
    first = re.search(r"\r\n|\r|\n", text)
    end = first.group()[-1] if first else "\n"
    start = 0
    while start < len(text):
        after = text.find(end, start) + 1 or len(text)
        yield text[start:after]
        start = after


def delimiter_of(text, path):
    """The one that parts most rows into the same number of fields, two or more."""
    best, score = ",", 0.0
    candidates = "\t,;|" if path.suffix == ".tsv" else ",;\t|"
    head = text[:200_000]
    for delimiter in candidates:
        try:
            counts = [len(row) for row in grid(head, delimiter)][:200]
        except csv.Error:
            continue
        common = max(set(counts), key=counts.count) if counts else 1
        found = counts.count(common) / len(counts) if common > 1 else 0
        if found > score + 0.05:
            best, score = delimiter, found
    return best


def headed(rows):
    """Whether the first row names fields: texts, different ones, where others have something else."""
    first = rows[0]
    if any(NUMBER.fullmatch(name) for name in first) or len({name.strip().lower() for name in first}) < len(first):
        return False
    return all(name.strip() for name in first[1:]) and any(name.strip() for name in first)


def read(path):
    text, encoding = decoded(content_of(path))
    delimiter = delimiter_of(text, path)
    try:
        rows = grid(text, delimiter)
    except csv.Error as error:
        return f"csv: {error}"
    if not rows:
        return File({"type": '"csv"', "encoding": f'"{encoding}"'})
    header = rows.pop(0) if headed(rows) else None
    widths = collections.Counter(map(len, rows))
    width = len(header) if header else widths.most_common(1)[0][0]
    faults = {at: "fields" for at, row in enumerate(rows) if len(row) != width}
    faults.update({at: "NUL" for at, row in enumerate(rows) if at not in faults and any("\0" in cell for cell in row)})
    good = [row for at, row in enumerate(rows) if at not in faults]
    cells = [[row[at] for row in good] for at in range(width)]
    absent = ["", *(word for word in ABSENT if any(is_absent(word, column) for column in cells))]
    settings = {"type": '"csv"', "encoding": f'"{encoding}"', "null_values": absent_list(absent)}
    if delimiter != ",":
        settings["delimiter"] = {"\t": '"\\t"'}.get(delimiter, f'"{delimiter}"')
    if not header:
        settings["header"] = "false"
    if escaped(text):
        settings["escape"] = '"\\\\"'
    names = [name.strip(" \t") for name in header] if header else [None] * width
    kinds = [inferred(column, absent) for column in cells]
    found = File(settings, [(name, *kind) for name, kind in zip(names, kinds)], len(rows))
    found.refused = faults
    nulls, found.second = second(text, delimiter, rows, header, width, absent)
    places = [at for at in range(len(rows)) if at not in faults]
    for at, (kind, form) in enumerate(kinds):
        typed, shown = [None] * len(rows), [None] * len(rows)
        for place, value in zip(places, cells[at]):
            typed[place] = conversion(kind, form, value, absent)
            shown[place] = EITHER if value in absent else value
            if kind == "string" and value in absent:
                typed[place] = EITHER if nulls is None else None if nulls[place][at] else value
        found.typed[at], found.shown[at] = typed, shown
    return found


def absent_list(words):
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def is_absent(word, column):
    """Whether a column is numbers but for a word."""
    others = [value for value in column if value not in ("", *ABSENT)]
    return word in column and (all(NUMBER.fullmatch(value) for value in others))


def inferred(column, absent):
    """The contract's type and, of days and instants, their format."""
    values = [value for value in column if value.strip(" \t") not in absent]
    if not values:
        return "string", None
    if all(WHOLE.fullmatch(value) for value in values):
        if any(re.match(r"[+-]?0[0-9]", value.strip()) for value in values):
            return "string", None
        top = max(abs(int(value)) for value in values)
        return ("long" if top < 2**63 else "decimal(38,0)" if top < 10**38 else "string"), None
    if all(NUMBER.fullmatch(value) for value in values):
        plain = [decimal.Decimal(value.strip()) for value in values]
        scale = max(0, *(-number.as_tuple().exponent for number in plain))
        digits = max(len(number.as_tuple().digits) + max(0, number.as_tuple().exponent) for number in plain)
        return (f"decimal({max(digits + scale, 18)},{scale})" if scale <= 4 and digits + scale <= 38 else "double"), None
    if all(value.strip(" \t").lower() in ("true", "false") for value in values):
        return "boolean", None
    if all(DATE.fullmatch(value) for value in values) and all(day(value) for value in values):
        return "date", None
    if all(INSTANT.fullmatch(value) for value in values) and all(instant(value) for value in values):
        return "timestamp", None
    for form in FORMS:
        if all(formed(value, form) for value in values):
            return ("timestamp" if "%H" in form else "date"), form
    return "string", None


def day(text):
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def formed(text, form):
    try:
        found = datetime.datetime.strptime(text, form)
    except ValueError:
        return None
    return found.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0") if "%H" in form else found.date().isoformat()


def instant(text):
    date, minutes, seconds, fraction, zone = INSTANT.fullmatch(text).groups()
    try:
        found = datetime.datetime.fromisoformat(f"{date}T{minutes}{seconds or ':00'}")
    except ValueError:
        return None
    if zone and zone != "Z":
        hours, rest = int(zone[1:3]), int(zone[-2:])
        shift = datetime.timedelta(hours=hours, minutes=rest)
        found += shift if zone[0] == "-" else -shift
    micros = (fraction or ".")[1:7].ljust(6, "0")
    return f"{found.year:04}-{found:%m-%dT%H:%M:%S}.{micros}Z"


def conversion(kind, form, value, absent):
    """What a column of the type holds."""
    if kind == "string":
        return value
    text = value.strip(" \t")
    if text in absent:
        return None
    if kind == "long":
        return int(text)
    if kind.startswith("decimal"):
        scale = int(kind[:-1].split(",")[1])
        with decimal.localcontext(decimal.Context(80)):
            return format(decimal.Decimal(text).quantize(decimal.Decimal(1).scaleb(-scale)) + 0, "f")
    if kind == "double":
        return bits(float(text))
    if kind == "boolean":
        return text.lower() == "true"
    if form:
        return formed(text, form)
    return day(text) if kind == "date" else instant(text)


def second(text, delimiter, rows, header, width, absent):
    """Which cells DuckDB takes for null, which it tells from quoted ones; and what it reads otherwise."""
    if any(len(row) != width for row in rows) or not rows:
        return None, "not asked: rows of several widths"
    with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        columns = {f"c{at}": "VARCHAR" for at in range(width)}
        escape = "\\" if escaped(text) else '"'
        try:
            found = duckdb.sql(
                f"select * from read_csv('{file.name}', auto_detect=false, header={'true' if header else 'false'}, "
                f"delim='{delimiter}', quote='\"', escape='{escape}', columns={columns}, nullstr={absent}, "
                "allow_quoted_nulls=false, max_line_size=20000000)").fetchall()
        except duckdb.Error as error:
            return None, f"DuckDB: {str(error).splitlines()[0][:80]}"
    if len(found) != len(rows):
        return None, f"DuckDB: {len(found)} rows of {len(rows)}"
    nulls = [[cell is None for cell in row] for row in found]
    for row, other in zip(rows, found):
        for cell, also in zip(row, other):
            if also is not None and also != cell or also is None and cell not in absent:
                return None, f"DuckDB reads {also!r} for {cell!r}"[:120]
    return nulls, None
