//! Samples of files in, a contract that a person would have written out.
//!
//! [`of_text`] looks at CSV, lines of JSON and JSON documents; [`of_columns`] takes what Parquet and Avro files say of
//! themselves. Both give a [`Draft`], whose [`Draft::toml`] is the contract's text. Every value of the sample is held against
//! the types of a contract by the engine's own rules ([`weir_transform::reads_as`]), so that a type which is drafted
//! refuses no value that was looked at. No I/O: the caller reads the files, and tries the contract on them.

mod csv_form;
mod json_form;
mod names;
mod personal;
mod render;
mod times;
mod values;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;
use weir_contract::{DataType, FormatKind};
use weir_transform::FileColumn;

pub use crate::names::dataset_name;
pub use crate::render::DraftColumn;

use crate::csv_form::Dialect;
use crate::json_form::{Field, Fields, records_within};
use crate::render::{Text, quoted};
use crate::times::Order;
use crate::values::{Around, Seen, Verdict};

/// Fields with longer names are not taken: a contract has no place for them.
const MAX_FIELD_BYTES: usize = 256;
const MAX_COLUMNS: usize = 1_024;
/// Records that say where others are within them.
const SHAPE_RECORDS: usize = 100;
/// What a person would still read.
const MAX_NOTES: usize = 20;
/// Of a contract that does not say it, and of any contract.
const DEFAULT_RECORD_BYTES: usize = 1024 * 1024;
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// Where the dataset's records will come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Blob { container: String, paths: Vec<String> },
    Hub { hub: String },
}

/// Parts of a text file, unpacked: its beginning, and perhaps some of its middle and of its end.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub pieces: Vec<Vec<u8>>,
    /// Whether the one piece is all of it.
    pub whole: bool,
}

/// A contract that is not written down yet.
#[derive(Debug, Clone)]
pub struct Draft {
    pub kind: FormatKind,
    pub columns: Vec<DraftColumn>,
    /// What a person should know of it.
    pub notes: Vec<String>,
    /// Records that were looked at; `None` where the file says its types itself.
    pub records: Option<u64>,
    /// Keys of `[format]` and their values, as TOML.
    format: Vec<(&'static str, String)>,
    /// Whether fields differ by case alone.
    match_case: bool,
}

/// Why no contract can be made, for the person who asked for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

impl Draft {
    /// The contract's text. `head` are lines of comment above it.
    pub fn toml(&self, name: &str, source: &Source, head: &[String]) -> String {
        let Self { columns, format, match_case, .. } = self;
        Text { name, head, columns, source, format, match_case: *match_case }.toml()
    }

    /// Says in `[format]` what the file's name does not say. `by_name` is what its extension stands for.
    pub fn tell_kind(&mut self, by_name: Option<FormatKind>) {
        // An array is known by its first character; a document that is none has its type in `format` already.
        let told = by_name == Some(self.kind) || self.kind == FormatKind::Json && by_name == Some(FormatKind::Ndjson);
        let kind = match self.kind {
            FormatKind::Csv => "csv",
            FormatKind::Ndjson => "ndjson",
            FormatKind::Json => "json",
            FormatKind::Parquet => "parquet",
            FormatKind::Avro => "avro",
            FormatKind::Auto => "auto",
        };
        if !told && !self.format.iter().any(|(key, _)| *key == "type") {
            self.format.insert(0, ("type", quoted(kind)));
        }
    }

    /// Makes a column text, because some of its values are of no other type. Whether there is such a column.
    pub fn make_text(&mut self, name: &str) -> bool {
        let Some(column) = self.columns.iter_mut().find(|column| column.name == name) else { return false };
        if column.verdict.data_type == DataType::String {
            return false;
        }
        let personal = column.verdict.personal;
        column.verdict = Verdict { personal, ..Verdict::of(DataType::String) };
        true
    }
}

const NO_RECORD: &str = "there is a header and no record, so every column is text";
const ONE_OBJECT: &str = "the file is one JSON object, which is one record";

/// What a file of text is a file of.
///
/// # Errors
/// When it is empty, no text, or text without records.
pub fn of_text(sample: &Sample) -> Result<Draft, Problem> {
    if sample.pieces.first().is_none_or(|first| first.trim_ascii().is_empty()) {
        return Err(Problem("the file is empty: there is nothing to see what its records look like".to_owned()));
    }
    let (encoding, is_told) = encoding(sample);
    let texts = texts(sample, encoding);
    let told = is_told.then(|| encoding.name().to_lowercase());
    let text = texts.first().map(|text| text.trim_start_matches('\u{feff}').trim_start()).unwrap_or_default();
    match text.chars().next() {
        Some('{' | '[') => match of_json(&texts, text, sample.whole) {
            Some(draft) => draft,
            None => of_csv(&texts, told, sample.whole),
        },
        Some('<') => Err(Problem(
            "the file looks like XML or HTML, which Weir does not read; convert it to JSON or CSV".to_owned(),
        )),
        _ => of_csv(&texts, told, sample.whole),
    }
}

/// What a Parquet or Avro file is, by its own schema.
pub fn of_columns(kind: FormatKind, columns: Vec<FileColumn>) -> Draft {
    let mut notes = Vec::new();
    let columns: Vec<FileColumn> =
        columns.into_iter().filter(|column| can_be_named(&column.from, kind, &mut notes)).take(MAX_COLUMNS).collect();
    let labels: Vec<String> = columns.iter().map(|column| label(&column.from)).collect();
    let names = names::column_names(labels.iter().map(String::as_str));
    let columns = columns.into_iter().zip(names).zip(&labels).map(|((column, name), label)| DraftColumn {
        from: (column.from != name).then_some(column.from),
        verdict: Verdict { personal: personal::by_name(label), ..Verdict::of(column.data_type) },
        name,
        missing_percent: 0.0,
    });
    let columns: Vec<DraftColumn> = columns.collect();
    Draft { kind, match_case: differ_by_case(&columns), columns, notes, records: None, format: Vec::new() }
}

fn differ_by_case(columns: &[DraftColumn]) -> bool {
    let mut known = BTreeSet::new();
    !columns.iter().all(|column| known.insert(column.from.as_deref().unwrap_or(&column.name).to_lowercase()))
}

/// What a field is called, without the way to it.
fn label(from: &str) -> String {
    match weir_contract::pointer(from) {
        Ok(names) if from.starts_with('/') => names.join("_"),
        _ => from.to_owned(),
    }
}

fn can_be_named(field: &str, kind: FormatKind, notes: &mut Vec<String>) -> bool {
    let has_paths = matches!(kind, FormatKind::Ndjson | FormatKind::Json | FormatKind::Avro);
    let is_path = field.starts_with('/') && !has_paths;
    let named = !field.trim().is_empty() && field.len() <= MAX_FIELD_BYTES && !field.contains(char::is_control);
    let sound = named && !is_path && !field.starts_with("event:") && !field.starts_with("column:");
    if !sound {
        let shown: String = field.chars().filter(|character| !character.is_control()).take(40).collect();
        let note = match field.trim().is_empty() {
            true => "a field without a name is no column; its values are kept in `_rescued`".to_owned(),
            false => {
                format!("the field `{shown}` is no column, because a contract cannot name it; it is kept in `_rescued`")
            }
        };
        if notes.len() < MAX_NOTES && !notes.contains(&note) {
            notes.push(note);
        }
    }
    sound
}

/// The encoding's name in a contract, and whether it has to be said there.
fn encoding(sample: &Sample) -> (&'static encoding_rs::Encoding, bool) {
    let first = sample.pieces.first().map_or(&[][..], Vec::as_slice);
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(first) {
        return (encoding, false);
    }
    let is_utf8 = |piece: &Vec<u8>| std::str::from_utf8(whole_lines(piece, sample.whole)).is_ok();
    match sample.pieces.iter().all(is_utf8) {
        true => (encoding_rs::UTF_8, false),
        false => (encoding_rs::WINDOWS_1252, true),
    }
}

fn decoded<'p>(piece: &'p [u8], encoding: &'static encoding_rs::Encoding) -> Cow<'p, str> {
    encoding.decode_with_bom_removal(piece).0
}

/// Without the torn line at the end of a piece that ends somewhere.
fn whole_lines(piece: &[u8], whole: bool) -> &[u8] {
    if whole {
        return piece;
    }
    match piece.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &piece[..=end],
        None => piece,
    }
}

/// The pieces as text: the first from its beginning, the others from their first whole line.
fn texts<'s>(sample: &'s Sample, encoding: &'static encoding_rs::Encoding) -> Vec<Cow<'s, str>> {
    let single = encoding == encoding_rs::UTF_8 || encoding == encoding_rs::WINDOWS_1252;
    let pieces = sample.pieces.iter().take(if single { usize::MAX } else { 1 }).enumerate().map(|(at, piece)| {
        let piece = if single { whole_lines(piece, sample.whole) } else { piece };
        let start = match at {
            0 => 0,
            _ => piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |end| end + 1),
        };
        decoded(&piece[start..], encoding)
    });
    pieces.collect()
}

/// `told`: the encoding, where the contract has to say it.
fn of_csv(texts: &[Cow<'_, str>], told: Option<String>, whole: bool) -> Result<Draft, Problem> {
    let first = texts.first().map(|text| text.trim_start_matches('\u{feff}')).unwrap_or_default();
    if first.contains('\0') {
        return Err(Problem("the file is not text, Parquet or Avro: Weir does not read it".to_owned()));
    }
    let nothing = || Problem("the file has no records that CSV or JSON would have".to_owned());
    let mut dialect = Dialect::of(first).ok_or_else(nothing)?;
    if dialect.is_fixed_width(first) {
        let problem =
            "the fields of a line stand in columns of blanks; Weir reads files whose fields are divided by a character";
        return Err(Problem(problem.to_owned()));
    }
    if dialect.width > MAX_COLUMNS && !dialect.header {
        let problem = format!("a record has {} fields; a contract has {MAX_COLUMNS} columns at most", dialect.width);
        return Err(Problem(problem));
    }
    let after_sep = if dialect.says_delimiter { first.find('\n').map_or(first, |at| &first[at + 1..]) } else { first };
    let mut header = None;
    let mut fields: Vec<Seen> = (0..dialect.width).map(|_| Seen::default()).collect();
    let mut records = 0;
    let further = texts.iter().skip(1).map(|text| (text.as_ref(), false));
    for (text, is_first) in std::iter::once((after_sep, true)).chain(further) {
        let form = Dialect { skip_lines: if is_first { dialect.skip_lines } else { 0 }, ..dialect.clone() };
        let mut rows = form.records(text);
        if is_first && dialect.header {
            header = rows.next();
        }
        for record in rows.filter(|record| record.len() >= dialect.width) {
            records += 1;
            for (field, value) in fields.iter_mut().zip(record.iter()) {
                field.value(value);
            }
        }
    }
    let mut notes = Vec::new();
    let mut names: Vec<String> = match &header {
        Some(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
        None => (1..=dialect.width).map(|at| format!("column_{at}")).collect(),
    };
    let lacks_one = header.is_some() && names.len() + 1 == dialect.width;
    if lacks_one {
        // R writes the names of rows in a column without a name of its own.
        names.insert(0, "row".to_owned());
        (dialect.header, dialect.skip_lines) = (false, dialect.skip_lines + 1);
        notes
            .push("the header has a name less than there are fields: the first of them is the column `row`".to_owned());
    } else if !dialect.header {
        notes.push("the first line holds values, so the columns have no names; give them some".to_owned());
    }
    let mut known = BTreeSet::new();
    let named: Vec<(String, Seen)> = names
        .into_iter()
        .zip(fields)
        .filter(|(name, _)| can_be_named(name, FormatKind::Csv, &mut notes) && known.insert(name.clone()))
        .take(MAX_COLUMNS)
        .collect();
    if named.is_empty() {
        return Err(nothing());
    }
    let around = around(&named, dialect.delimiter, whole);
    let mut format = csv_keys(&dialect, told);
    let nulls = nulls(&named, around);
    if !nulls.is_empty() {
        let all: Vec<String> = std::iter::once("").chain(nulls).map(quoted).collect();
        format.push(("null_values", format!("[{}]", all.join(", "))));
    }
    let columns = columns(named, around, records, dialect.header);
    if columns.iter().any(|column| column.verdict.comma) {
        format.push(("decimal_comma", "true".to_owned()));
    }
    if records == 0 {
        notes.push(NO_RECORD.to_owned());
    }
    let match_case = differ_by_case(&columns);
    Ok(Draft { kind: FormatKind::Csv, match_case, columns, notes, records: Some(records), format })
}

fn csv_keys(dialect: &Dialect, encoding: Option<String>) -> Vec<(&'static str, String)> {
    let mut format = Vec::new();
    if let Some(encoding) = encoding {
        format.push(("encoding", quoted(&encoding)));
    }
    if dialect.delimiter != b',' {
        format.push(("delimiter", quoted(&char::from(dialect.delimiter).to_string())));
    }
    if !dialect.quoted {
        format.push(("quote", quoted("")));
    }
    if dialect.escape {
        format.push(("escape", quoted("\\")));
    }
    if dialect.comment {
        format.push(("comment", quoted("#")));
        if dialect.quoted {
            format.push(("quoted_newlines", "false".to_owned()));
        }
    }
    if dialect.skip_lines > 0 {
        format.push(("skip_lines", dialect.skip_lines.to_string()));
    }
    if dialect.trailing_delimiter {
        format.push(("trailing_delimiter", "true".to_owned()));
    }
    if !dialect.header {
        format.push(("header", "false".to_owned()));
    }
    format
}

/// What the fields of a CSV file say of each other.
fn around(named: &[(String, Seen)], delimiter: u8, whole: bool) -> Around {
    let commas = delimiter != b',' && named.iter().any(|(_, seen)| seen.has_decimal_comma());
    let told = named.iter().find_map(|(_, seen)| seen.order());
    let order = told.unwrap_or(if delimiter == b';' || commas { Order::DayFirst } else { Order::MonthFirst });
    let around = Around { order, commas, whole, json: false };
    // A decimal comma is the whole file's: where a point stands too, numbers with commas stay text.
    let mut verdicts = named.iter().map(|(name, seen)| seen.verdict(name, around));
    let has_points = verdicts.any(|verdict| verdict.point);
    Around { commas: commas && !has_points, ..around }
}

/// The texts that have to be null for the types of the columns.
fn nulls(named: &[(String, Seen)], around: Around) -> BTreeSet<&'static str> {
    let typed = named.iter().filter(|(name, seen)| !seen.is_empty() && seen.is_typed(name, around));
    typed.flat_map(|(_, seen)| seen.nulls.keys().copied()).collect()
}

fn columns(named: Vec<(String, Seen)>, around: Around, records: u64, has_names: bool) -> Vec<DraftColumn> {
    let labels: Vec<String> = named.iter().map(|(name, _)| label(name)).collect();
    let names = names::column_names(labels.iter().map(|label| label.trim()));
    let of_field = |((from, seen), name): ((String, Seen), String)| {
        let label = label(&from);
        let verdict = seen.verdict(&label, around);
        let nulls: u64 = if verdict.data_type == DataType::String { 0 } else { seen.nulls.values().sum() };
        let missing = (seen.missing + nulls).min(records);
        DraftColumn {
            from: (has_names && from != name).then_some(from),
            missing_percent: if records == 0 { 0.0 } else { missing as f64 * 100.0 / records as f64 },
            name,
            verdict,
        }
    };
    named.into_iter().zip(names).map(of_field).collect()
}

/// `first` is the first text without what stands before its first character. `None`: it only begins as JSON does.
fn of_json(texts: &[Cow<'_, str>], first: &str, whole: bool) -> Option<Result<Draft, Problem>> {
    let mut fields = Fields::default();
    let (mut format, mut notes, mut kind) = (Vec::new(), Vec::new(), FormatKind::Ndjson);
    let mut longest = None;
    if let Some(elements) = first.strip_prefix('[') {
        kind = FormatKind::Json;
        elements_of(elements).filter_map(|value| value.as_object().cloned()).for_each(|record| fields.record(&record));
    } else {
        let lines = || texts.iter().flat_map(|text| text.lines()).map(|line| line.trim_start_matches('\u{feff}'));
        let object = |line: &str| serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
        let begins_with_one = lines().find(|line| !line.trim().is_empty()).and_then(object).is_some();
        let document = if begins_with_one { None } else { object(first) };
        let is_lines = document.is_none();
        longest = match &document {
            Some(_) => Some(first.len()),
            None => lines().map(str::len).max(),
        };
        // The document, or the first lines, say where the records are.
        let some: Vec<Value> = lines().filter(|_| is_lines).filter_map(object).take(SHAPE_RECORDS).collect();
        let some: Vec<&Value> = document.iter().chain(&some).collect();
        let within = some.first().and_then(|record| records_within(record.as_object()?));
        let within = within.filter(|path| some.iter().all(|record| record.pointer(path).is_some_and(Value::is_array)));
        let mut take = |record: &Value| match &within {
            Some(path) => {
                let elements = record.pointer(path).and_then(Value::as_array).into_iter().flatten();
                elements.filter_map(Value::as_object).for_each(|record| fields.record(record));
            }
            None => record.as_object().into_iter().for_each(|record| fields.record(record)),
        };
        match &document {
            Some(document) => take(document),
            None => lines().filter(|_| is_lines).filter_map(object).for_each(|record| take(&record)),
        }
        if let Some(path) = &within {
            format.push(("records", quoted(path)));
        }
        if document.is_some() {
            kind = FormatKind::Json;
            format.insert(0, ("type", quoted("json")));
            if within.is_none() {
                notes.push(ONE_OBJECT.to_owned());
            }
        }
    }
    if let Some(bytes) = longest.filter(|bytes| *bytes > DEFAULT_RECORD_BYTES) {
        if bytes > MAX_RECORD_BYTES {
            let problem = format!(
                "a record is one JSON object of {bytes} bytes; Weir reads records of {MAX_RECORD_BYTES} at most"
            );
            return Some(Err(Problem(problem)));
        }
        let room = (2 * bytes).next_multiple_of(DEFAULT_RECORD_BYTES).min(MAX_RECORD_BYTES);
        format.push(("max_record_bytes", room.to_string()));
    }
    let (records, found) = fields.columns();
    if found.is_empty() && first.starts_with('{') && !whole {
        let problem =
            "the file is one large JSON object; Weir reads lines of JSON, arrays, and objects of 64 MiB at most";
        return Some(Err(Problem(problem.to_owned())));
    }
    if found.is_empty() {
        return None;
    }
    let named: Vec<(String, Seen)> = found
        .into_iter()
        .map(|field: Field| (field.from(), field.seen))
        .filter(|(name, _)| can_be_named(name, kind, &mut notes))
        .take(MAX_COLUMNS)
        .collect();
    let told = named.iter().find_map(|(_, seen)| seen.order());
    let order = told.unwrap_or(Order::MonthFirst);
    let around = Around { order, commas: false, whole, json: true };
    let columns = columns(named, around, records, true);
    Some(Ok(Draft { kind, match_case: differ_by_case(&columns), columns, notes, records: Some(records), format }))
}

/// The elements of an array, as far as they are there.
fn elements_of(text: &str) -> impl Iterator<Item = Value> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|character: char| character.is_whitespace() || character == ',');
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let value = values.next()?.ok()?;
        rest = &rest[values.byte_offset()..];
        Some(value)
    })
}

#[cfg(test)]
mod tests;
