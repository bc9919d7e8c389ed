//! `[format]`: how bytes become records.

use super::columns::Columns;
use super::source::refuse;
use crate::error::ErrorKind;
use crate::keys;
use crate::model::{Compression, ENCODINGS, Format, FormatKind};
use crate::reader::{Report, Table, check_bytes};

const MAX_NULL_VALUES: usize = 64;
const MAX_PAYLOAD_BYTES: usize = 256;
const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;
const MAX_RECORD_BYTES: u64 = 64 * 1024 * 1024;
const DEFAULT_SPLIT_BYTES: u64 = 256 * 1024 * 1024;
const MIN_SPLIT_BYTES: u64 = 1024 * 1024;

/// Keys that mean something for CSV only.
const CSV_KEYS: [&str; 6] = ["delimiter", "quote", "quoted_newlines", "header", "null_values", "decimal_comma"];

pub(super) fn read(top: &Table<'_>, events: bool, columns: &Columns<'_>, report: &mut Report<'_>) -> Format {
    let mut format = Format {
        kind: FormatKind::Auto,
        compression: Compression::Auto,
        delimiter: b',',
        quote: Some(b'"'),
        header: true,
        null_values: vec![String::new()],
        quoted_newlines: true,
        decimal_comma: false,
        payload: None,
        encoding: ENCODINGS[0],
        max_record_bytes: DEFAULT_RECORD_BYTES,
        split_bytes: DEFAULT_SPLIT_BYTES,
    };
    let Some(table) = top.table("format", &keys::FORMAT, report) else { return format };
    read_kind(&table, events, &mut format, report);
    read_csv_keys(&table, &mut format, report);
    read_payload(&table, &mut format, report);
    if let Some(from) = columns.first_from().filter(|_| format.kind == FormatKind::Csv && !format.header) {
        let message = "names a field, but with `header = false` fields are taken in column order";
        report.add(ErrorKind::Conflict, &from.place, message);
    }
    read_limits(&table, &mut format, report);
    format
}

/// `type`, and the keys that other formats have.
fn read_kind(table: &Table<'_>, events: bool, format: &mut Format, report: &mut Report<'_>) {
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
    if !matches!(format.kind, FormatKind::Avro | FormatKind::Auto) {
        refuse(table, &["payload"], "belongs to `type = \"avro\"` or `\"auto\"`", report);
    }
    if matches!(format.kind, FormatKind::Parquet | FormatKind::Avro) {
        refuse(table, &["encoding"], "belongs to text: Parquet and Avro say their own", report);
        let whole = |value: &Compression| matches!(value, Compression::Gzip | Compression::Zstd);
        if let Some(compression) = compression.filter(|compression| whole(&compression.value)) {
            let message = "belongs to text: Parquet and Avro compress their own pages and blocks";
            report.add(ErrorKind::Conflict, &compression.place, message);
        }
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
