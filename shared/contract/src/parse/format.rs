//! `[format]`: how bytes become records.

use super::columns::Columns;
use super::source::refuse;
use crate::error::ErrorKind;
use crate::format::by_extension;
use crate::keys;
use crate::model::{Compression, ENCODINGS, Format, FormatKind, Source};
use crate::path::pointer;
use crate::reader::{At, Report, Table, check_bytes};

const MAX_NULL_VALUES: usize = 64;
const MAX_PAYLOAD_BYTES: usize = 256;
const MAX_RECORD_BYTES: u64 = 64 * 1024 * 1024;
const MAX_SKIP_LINES: u64 = 1_000;
const MIN_SPLIT_BYTES: u64 = 1024 * 1024;

/// Keys that mean something for CSV only.
const CSV_KEYS: [&str; 10] = [
    "delimiter",
    "quote",
    "quoted_newlines",
    "header",
    "null_values",
    "decimal_comma",
    "skip_lines",
    "comment",
    "trailing_delimiter",
    "escape",
];

pub(super) fn read(top: &Table<'_>, source: &Source, columns: &Columns<'_>, report: &mut Report<'_>) -> Format {
    let mut format = Format::default();
    let Some(table) = top.table("format", &keys::FORMAT, report) else { return format };
    read_kind(&table, source, &mut format, report);
    read_csv_keys(&table, &mut format, report);
    read_more_csv_keys(&table, &mut format, report);
    read_payload(&table, &mut format, report);
    read_records(&table, &mut format, report);
    if let Some(from) = columns.first_from().filter(|_| format.kind == FormatKind::Csv && !format.header) {
        let message = "names a field, but with `header = false` fields are taken in column order";
        report.add(ErrorKind::Conflict, &from.place, message);
    }
    read_limits(&table, &mut format, report);
    format
}

/// `type`, and the keys that other formats have.
fn read_kind(table: &Table<'_>, source: &Source, format: &mut Format, report: &mut Report<'_>) {
    let events = source.is_events();
    const KINDS: [(&str, FormatKind); 6] = [
        ("csv", FormatKind::Csv),
        ("ndjson", FormatKind::Ndjson),
        ("json", FormatKind::Json),
        ("parquet", FormatKind::Parquet),
        ("avro", FormatKind::Avro),
        ("auto", FormatKind::Auto),
    ];
    const COMPRESSIONS: [(&str, Compression); 4] = [
        ("auto", Compression::Auto),
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
    ];
    let kind = table.choice("type", "format", &KINDS, report);
    if let Some(kind) = &kind {
        if events && matches!(kind.value, FormatKind::Csv | FormatKind::Parquet) {
            let message = "events hold JSON or Avro: `auto`, `ndjson`, `json` or `avro`";
            report.add(ErrorKind::Conflict, &kind.place, message);
        }
        format.kind = kind.value;
    }
    let compression = table.choice("compression", "compression", &COMPRESSIONS, report);
    format.compression = compression.as_ref().map_or(Compression::Auto, |compression| compression.value);
    if let Some(encoding) = table.choice("encoding", "encoding", &ENCODINGS.map(|name| (name, name)), report) {
        format.encoding = encoding.value;
    }
    if events {
        refuse(table, &["encoding", "split_bytes"], "belongs to `kind = \"blob\"`", report);
        refuse(table, &CSV_KEYS, "belongs to `kind = \"blob\"`", report);
    }
    if kind.is_none() && table.key_place("type").is_some() {
        return; // it may have been meant for any of them
    }
    if !events && !matches!(format.kind, FormatKind::Csv | FormatKind::Auto) {
        refuse(table, &CSV_KEYS, "belongs to `type = \"csv\"` or `\"auto\"`", report);
    }
    if matches!(format.kind, FormatKind::Csv | FormatKind::Parquet) {
        refuse(table, &["payload"], "belongs to JSON and Avro", report);
    }
    if !matches!(format.kind, FormatKind::Ndjson | FormatKind::Json | FormatKind::Auto) {
        refuse(table, &["records"], "belongs to JSON", report);
    }
    refuse_without_effect(table, source, format, report);
    if matches!(format.kind, FormatKind::Parquet | FormatKind::Avro) {
        refuse(table, &["encoding"], "belongs to text: Parquet and Avro say their own", report);
        let whole = |value: &Compression| matches!(value, Compression::Gzip | Compression::Zstd);
        if let Some(compression) = compression.filter(|compression| whole(&compression.value)) {
            let message = "belongs to text: Parquet and Avro compress their own pages and blocks";
            report.add(ErrorKind::Conflict, &compression.place, message);
        }
    }
}

/// With `type = "auto"` a key is in vain where all paths end in extensions of other formats.
fn refuse_without_effect(table: &Table<'_>, source: &Source, format: &Format, report: &mut Report<'_>) {
    let (FormatKind::Auto, Source::Blob { paths, .. }) = (format.kind, source) else { return };
    let known: Vec<FormatKind> = paths.iter().filter_map(|path| by_extension(path)).collect();
    if paths.is_empty() || known.len() < paths.len() {
        return; // an extension may be anything
    }
    let none = |kinds: &[FormatKind]| !known.iter().any(|kind| kinds.contains(kind));
    if none(&[FormatKind::Csv]) {
        refuse(table, &CSV_KEYS, "has no effect: it belongs to CSV, and no path ends in `.csv`", report);
    }
    if none(&[FormatKind::Ndjson, FormatKind::Avro]) {
        refuse(table, &["payload"], "has no effect: it belongs to JSON and Avro, and no path ends so", report);
    }
    if none(&[FormatKind::Ndjson]) {
        refuse(table, &["records"], "has no effect: it belongs to JSON, and no path ends so", report);
    }
}

fn read_payload(table: &Table<'_>, format: &mut Format, report: &mut Report<'_>) {
    let Some(payload) = table.text("payload", report) else { return };
    check_bytes(payload.value, MAX_PAYLOAD_BYTES, &payload.place, report);
    if payload.value.is_empty() {
        let message = "is empty: name the field that holds the record, or leave it out";
        report.add(ErrorKind::InvalidValue, &payload.place, message);
    }
    format.payload = Some(payload.value.to_owned());
}

fn read_records(table: &Table<'_>, format: &mut Format, report: &mut Report<'_>) {
    let Some(records) = table.text("records", report) else { return };
    check_bytes(records.value, MAX_PAYLOAD_BYTES, &records.place, report);
    if let Err(problem) = pointer(records.value) {
        let suggestion = (!records.value.starts_with('/') && !records.value.is_empty())
            .then(|| format!("/{}", records.value.replace('.', "/")));
        report.add_with(ErrorKind::InvalidValue, &records.place, problem, suggestion);
    } else if format.payload.is_some() {
        report.add(ErrorKind::Conflict, &records.place, "goes not together with `payload`");
    }
    format.records = Some(records.value.to_owned());
}

fn read_limits(table: &Table<'_>, format: &mut Format, report: &mut Report<'_>) {
    if let Some(limit) = table.count("max_record_bytes", report) {
        match usize::try_from(limit.value) {
            Ok(bytes) if (1..=MAX_RECORD_BYTES).contains(&limit.value) => format.max_record_bytes = bytes,
            _ => {
                let message = format!("is {}: it must be 1 to {MAX_RECORD_BYTES} (64 MiB)", limit.value);
                report.add(ErrorKind::InvalidValue, &limit.place, message);
            }
        }
    }
    let Some(split) = table.count("split_bytes", report) else { return };
    format.split_bytes = split.value;
    if split.value < MIN_SPLIT_BYTES {
        let message = format!(
            "is {}: it must be {MIN_SPLIT_BYTES} (1 MiB) or more; a blob that is not larger than it is read whole",
            split.value
        );
        report.add(ErrorKind::InvalidValue, &split.place, message);
    }
}

fn read_csv_keys(table: &Table<'_>, format: &mut Format, report: &mut Report<'_>) {
    let quote = table.text("quote", report);
    if let Some(quote) = &quote {
        match quote.value.as_bytes() {
            [] => format.quote = None,
            [byte] if byte.is_ascii() && !b"\r\n".contains(byte) => format.quote = Some(*byte),
            _ => {
                let message = "must be one ASCII character, no line end; the empty string turns quoting off";
                report.add(ErrorKind::InvalidValue, &quote.place, message);
            }
        }
    }
    if let Some(delimiter) = table.text("delimiter", report) {
        match delimiter.value.as_bytes() {
            [byte] if Some(*byte) == format.quote => {
                report.add(ErrorKind::Conflict, &delimiter.place, "is the quote character as well");
            }
            [byte] if byte.is_ascii() && !b"\r\n".contains(byte) => format.delimiter = *byte,
            _ => report.add(ErrorKind::InvalidValue, &delimiter.place, "must be one ASCII character, no line end"),
        }
    } else if let Some(quote) = quote.filter(|_| format.quote == Some(format.delimiter)) {
        report.add(ErrorKind::Conflict, &quote.place, "is the delimiter as well");
    }
    if let Some(header) = table.flag("header", report) {
        format.header = header.value;
    }
    if let Some(quoted) = table.flag("quoted_newlines", report) {
        format.quoted_newlines = quoted.value;
    }
    if let Some(comma) = table.flag("decimal_comma", report) {
        format.decimal_comma = comma.value;
        if comma.value && format.delimiter == b',' && format.quote.is_none() {
            let message = "cannot be told from the delimiter: set `delimiter` or `quote`";
            report.add(ErrorKind::Conflict, &comma.place, message);
        }
    }
    if table.key_place("null_values").is_some() {
        let values = table.texts("null_values", 0..=MAX_NULL_VALUES, report);
        format.null_values = values.iter().map(|value| value.value.to_owned()).collect();
    }
}

/// Keys for what spreadsheets and other programs make of CSV.
fn read_more_csv_keys(table: &Table<'_>, format: &mut Format, report: &mut Report<'_>) {
    if let Some(lines) = table.count("skip_lines", report) {
        match usize::try_from(lines.value) {
            Ok(count) if lines.value <= MAX_SKIP_LINES => format.skip_lines = count,
            _ => {
                let message = format!("is {}: at most {MAX_SKIP_LINES} are allowed", lines.value);
                report.add(ErrorKind::InvalidValue, &lines.place, message);
            }
        }
    }
    if let Some(flag) = table.flag("trailing_delimiter", report) {
        format.trailing_delimiter = flag.value;
    }
    if let Some(comment) = table.text("comment", report) {
        format.comment = character(&comment, report).filter(|byte| {
            let taken = *byte == format.delimiter || Some(*byte) == format.quote;
            if taken {
                report.add(ErrorKind::Conflict, &comment.place, "is the delimiter or the quote as well");
            }
            !taken
        });
        if format.quote.is_some() && format.quoted_newlines {
            let message = "needs `quoted_newlines = false`: else a line of a quoted field could be taken for one";
            report.add(ErrorKind::Conflict, &comment.place, message);
        }
    }
    if let Some(escape) = table.text("escape", report) {
        let message = match character(&escape, report) {
            None => return,
            Some(_) if format.quote.is_none() => "has no effect without a `quote`",
            Some(byte) if Some(byte) == format.quote => "is the quote: that quotes are doubled is the default",
            Some(byte) if byte == format.delimiter => "is the delimiter as well",
            Some(byte) => {
                format.escape = Some(byte);
                return;
            }
        };
        report.add(ErrorKind::Conflict, &escape.place, message);
    }
}

fn character(text: &At<&str>, report: &mut Report<'_>) -> Option<u8> {
    match text.value.as_bytes() {
        [byte] if byte.is_ascii() && !b"\r\n".contains(byte) => Some(*byte),
        _ => {
            report.add(ErrorKind::InvalidValue, &text.place, "must be one ASCII character, no line end");
            None
        }
    }
}
