//! `[source]` and `[format]`: where bytes come from and how they become records.

use super::columns::Columns;
use crate::error::ErrorKind;
use crate::glob::MAX_PATTERN_CHARS;
use crate::keys;
use crate::model::{Compression, Format, FormatKind, OnDelete, OnOverwrite, Source};
use crate::reader::{At, Place, Report, Table, quoted};

const MAX_PATHS: usize = 32;
const MAX_NULL_VALUES: usize = 64;
const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;
const MAX_RECORD_BYTES: u64 = 64 * 1024 * 1024;
const DEFAULT_CONSUMER_GROUP: &str = "$Default";

/// Keys that mean something for CSV only.
const CSV_KEYS: [&str; 4] = ["delimiter", "quote", "header", "null_values"];

pub(super) struct SourceAt {
    pub(super) value: Source,
    /// One place a path, or one for the hub.
    pub(super) claims: Vec<Place>,
}

impl Source {
    pub(super) fn is_events(&self) -> bool {
        matches!(self, Source::Events { .. })
    }
}

pub(super) fn read(top: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    let nothing =
        || SourceAt { value: Source::Events { hub: String::new(), consumer_group: String::new() }, claims: Vec::new() };
    let Some(table) = top.table("source", &keys::SOURCE, report) else {
        if top.key_place("source").is_none() {
            top.missing("source", "missing: a contract needs a `[source]`", report);
        }
        return nothing();
    };
    match table.required_choice("kind", "source kind", &[("blob", false), ("events", true)], report) {
        Some(At { value: false, .. }) => read_blob(&table, report),
        Some(At { value: true, .. }) => read_events(&table, report),
        None => nothing(),
    }
}

fn read_blob(table: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    refuse(table, &["hub", "consumer_group"], "belongs to `kind = \"events\"`", report);
    let container = table.required_text("container", report);
    if let Some(container) = container.as_ref().filter(|container| !is_container(container.value)) {
        let message = format!(
            "{} is not a container: 3 to 63 lower-case letters, digits and single hyphens between them",
            quoted(container.value)
        );
        report.add(ErrorKind::InvalidValue, &container.place, message);
    }
    let paths = table.texts("path", 1..=MAX_PATHS, report);
    if table.key_place("path").is_none() {
        table.missing("path", "missing: say which blobs (`sales/*.csv`), as a string or a list", report);
    }
    for (index, path) in paths.iter().enumerate() {
        if let Err(message) = check_glob(path.value) {
            report.add(ErrorKind::InvalidValue, &path.place, message);
        } else if paths[..index].iter().any(|earlier| earlier.value == path.value) {
            report.add(ErrorKind::Conflict, &path.place, format!("{} is there already", quoted(path.value)));
        }
    }
    let overwrites = [("replace", OnOverwrite::Replace), ("append", OnOverwrite::Append)];
    let on_overwrite = table.choice("on_overwrite", "choice", &overwrites, report).map(|at| at.value);
    let deletions = [("keep", OnDelete::Keep), ("remove", OnDelete::Remove)];
    let on_delete = table.choice("on_delete", "choice", &deletions, report);
    if let (Some(OnOverwrite::Append), Some(At { value: OnDelete::Remove, place })) = (on_overwrite, &on_delete) {
        let message = "`remove` needs `on_overwrite = \"replace\"`: with `append` the rows are of all versions";
        report.add(ErrorKind::Conflict, place, message);
    }
    SourceAt {
        value: Source::Blob {
            container: container.map(|container| container.value.to_owned()).unwrap_or_default(),
            paths: paths.iter().map(|path| path.value.to_owned()).collect(),
            on_overwrite: on_overwrite.unwrap_or_default(),
            on_delete: on_delete.map(|at| at.value).unwrap_or_default(),
        },
        claims: paths.into_iter().map(|path| path.place).collect(),
    }
}

fn read_events(table: &Table<'_>, report: &mut Report<'_>) -> SourceAt {
    refuse(table, &["container", "path", "on_overwrite", "on_delete"], "belongs to `kind = \"blob\"`", report);
    let hub = table.required_text("hub", report);
    if let Some(hub) = hub.as_ref().filter(|hub| !is_hub(hub.value)) {
        let message = format!(
            "{} is not an event hub: at most 256 letters, digits, `.`, `-` and `_`, a letter or digit at both ends",
            quoted(hub.value)
        );
        report.add(ErrorKind::InvalidValue, &hub.place, message);
    }
    let group = table.text("consumer_group", report);
    if let Some(group) = group.as_ref().filter(|group| !is_consumer_group(group.value)) {
        let message = format!(
            "{} is not a consumer group: `$Default`, or at most 50 letters, digits, `.`, `-` and `_`",
            quoted(group.value)
        );
        report.add(ErrorKind::InvalidValue, &group.place, message);
    }
    SourceAt {
        value: Source::Events {
            hub: hub.as_ref().map(|hub| hub.value.to_owned()).unwrap_or_default(),
            consumer_group: group.map_or(DEFAULT_CONSUMER_GROUP, |group| group.value).to_owned(),
        },
        claims: hub.into_iter().map(|hub| hub.place).collect(),
    }
}

fn refuse(table: &Table<'_>, names: &[&str], reason: &str, report: &mut Report<'_>) {
    for place in names.iter().filter_map(|name| table.key_place(name)) {
        report.add(ErrorKind::Conflict, &place, reason);
    }
}

/// Azure's rule for containers.
fn is_container(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// Azure's rule for event hubs.
fn is_hub(name: &str) -> bool {
    let alphanumeric = |character: char| character.is_ascii_alphanumeric();
    (1..=256).contains(&name.len())
        && name.chars().all(|character| alphanumeric(character) || matches!(character, '.' | '-' | '_'))
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

fn is_consumer_group(name: &str) -> bool {
    name == DEFAULT_CONSUMER_GROUP || name.len() <= 50 && is_hub(name)
}

fn check_glob(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("is empty: say which blobs (`sales/*.csv`)".to_owned());
    }
    if pattern.chars().count() > MAX_PATTERN_CHARS {
        return Err(format!("is too long: at most {MAX_PATTERN_CHARS} characters are allowed"));
    }
    if pattern.starts_with('/') {
        return Err("begins with `/`: paths are relative to the container".to_owned());
    }
    if pattern.contains('\\') || pattern.chars().any(char::is_control) {
        return Err("has a backslash or a control character: folders are separated by `/`".to_owned());
    }
    for segment in pattern.split('/') {
        match segment {
            "" => return Err("has an empty folder name (`//`, or a `/` at the end)".to_owned()),
            "." | ".." => return Err(format!("has a folder `{segment}`: blob paths do not go up or stay")),
            "**" => {}
            _ if segment.contains("**") => {
                return Err(format!("has `**` within {}: it stands alone between slashes", quoted(segment)));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn read_format(top: &Table<'_>, events: bool, columns: &Columns<'_>, report: &mut Report<'_>) -> Format {
    const KINDS: [(&str, FormatKind); 4] = [
        ("csv", FormatKind::Csv),
        ("ndjson", FormatKind::Ndjson),
        ("parquet", FormatKind::Parquet),
        ("auto", FormatKind::Auto),
    ];
    const COMPRESSIONS: [(&str, Compression); 3] =
        [("auto", Compression::Auto), ("none", Compression::None), ("gzip", Compression::Gzip)];
    let mut format = Format {
        kind: if events { FormatKind::Ndjson } else { FormatKind::Auto },
        compression: Compression::Auto,
        delimiter: b',',
        quote: Some(b'"'),
        header: true,
        null_values: vec![String::new()],
        max_record_bytes: DEFAULT_RECORD_BYTES,
    };
    let Some(table) = top.table("format", &keys::FORMAT, report) else { return format };
    let kind = table.choice("type", "format", &KINDS, report);
    if let Some(kind) = &kind {
        if events && kind.value != FormatKind::Ndjson {
            report.add(ErrorKind::Conflict, &kind.place, "events are always `ndjson`: one JSON object a body");
        }
        format.kind = kind.value;
    }
    if let Some(compression) = table.choice("compression", "compression", &COMPRESSIONS, report) {
        format.compression = compression.value;
    }
    read_csv_keys(&table, &mut format, report);
    let readable = kind.is_some() || table.key_place("type").is_none();
    if readable && !matches!(format.kind, FormatKind::Csv | FormatKind::Auto) {
        refuse(&table, &CSV_KEYS, "belongs to `type = \"csv\"` or `\"auto\"`", report);
    }
    if let Some(from) = columns.first_from().filter(|_| format.kind == FormatKind::Csv && !format.header) {
        let message = "names a field, but with `header = false` fields are taken in column order";
        report.add(ErrorKind::Conflict, &from.place, message);
    }
    if let Some(limit) = table.count("max_record_bytes", report) {
        match usize::try_from(limit.value) {
            Ok(bytes) if (1..=MAX_RECORD_BYTES).contains(&limit.value) => format.max_record_bytes = bytes,
            _ => {
                let message = format!("is {}: it must be 1 to {MAX_RECORD_BYTES} (64 MiB)", limit.value);
                report.add(ErrorKind::InvalidValue, &limit.place, message);
            }
        }
    }
    format
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
    if table.key_place("null_values").is_some() {
        let values = table.texts("null_values", 0..=MAX_NULL_VALUES, report);
        format.null_values = values.iter().map(|value| value.value.to_owned()).collect();
    }
}
