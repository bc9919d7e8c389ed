//! CSV: bytes straight into typed columns, in one pass. The common record (UTF-8, no quotes) costs no allocation and no
//! second look; a record that is faulty costs its reason. There is no separate slow path to disagree with the fast one.
//!
//! A record is a non-empty line; a line end (`\n` or `\r\n`) inside quotes is part of its field. A quote opens a field
//! only as its first byte and is doubled inside it. A quoted field that never closes ends with its line, so one stray
//! quote cannot swallow the chunk.

mod layout;

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memchr2};
use rayon::prelude::*;
use weir_contract::{DataType, Format};

use crate::added::{Added, Form};
use crate::columns::{Batch, Bounds, Decoded, Target};
use crate::error::{Result, TransformError};
use crate::faults::Reason;
use crate::fields::Fields;
use crate::json::quoted;
use crate::parallel::{line_estimate, parts};

use layout::Slot;

pub use layout::CsvLayout;
pub(crate) use layout::{BOM, layout};

/// How the bytes are cut into fields.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
    header: bool,
    null_values: Vec<String>,
    empty_is_null: bool,
    /// A quoted field may hold line ends.
    multiline: bool,
    decimal_comma: bool,
    /// What makes a quote in a quoted field one of its characters; else another quote does.
    escape: Option<u8>,
    /// There may be a delimiter behind the last field.
    trailing: bool,
    /// Why a record is refused that is no UTF-8, or was none in its own encoding.
    not_text: Arc<str>,
}

impl Dialect {
    pub(crate) fn new(format: &Format) -> Result<Self> {
        let unusable = |byte: u8| !byte.is_ascii() || matches!(byte, b'\n' | b'\r' | 0);
        if unusable(format.delimiter) || format.quote.is_some_and(unusable) || format.quote == Some(format.delimiter) {
            return Err(TransformError::Format(
                "delimiter and quote must be two different ASCII characters, and no line ends".to_owned(),
            ));
        }
        Ok(Self {
            delimiter: format.delimiter,
            quote: format.quote,
            header: format.header,
            empty_is_null: format.null_values.iter().any(String::is_empty),
            null_values: format.null_values.iter().filter(|text| !text.is_empty()).cloned().collect(),
            multiline: format.quoted_newlines,
            decimal_comma: format.decimal_comma,
            escape: format.escape,
            trailing: format.trailing_delimiter,
            not_text: not_text(format).into(),
        })
    }

    fn quotes_line_ends(&self) -> bool {
        self.multiline && self.quote.is_some()
    }

    #[inline]
    fn is_null(&self, text: &str) -> bool {
        if text.is_empty() { self.empty_is_null } else { self.null_values.iter().any(|null| null == text) }
    }
}

/// Decodes whole records. `first` says that the chunk starts the blob: without a header a byte order mark may stand there.
pub(crate) fn decode<'d>(
    dialect: &Dialect,
    layout: &CsvLayout,
    targets: &[Target],
    fields: &Fields,
    bounds: Bounds<'_>,
    chunk: &'d [u8],
    first: bool,
) -> Result<Decoded<'d>> {
    let chunk = if first && !dialect.header { chunk.strip_prefix(BOM).unwrap_or(chunk) } else { chunk };
    let quoted = dialect.quotes_line_ends() && dialect.quote.is_some_and(|quote| memchr(quote, chunk).is_some());
    let next_record = |from: usize| {
        if quoted { None } else { memchr(b'\n', &chunk[from..]).map(|at| from + at + 1) }
    };
    let cuts = if quoted { quoted_cuts(chunk, dialect) } else { parts(chunk.len(), next_record) };
    let decoded: Vec<Decoded<'d>> = cuts
        .into_par_iter()
        .map(|part| {
            let bytes = &chunk[part];
            let records = line_estimate(bytes, targets.len(), bounds.max_rows);
            let mut added = Added::new(Form::Text);
            for name in &layout.added {
                added.place(fields, name);
            }
            let batch = Batch::new(targets, fields, added, bounds, records);
            Decoder { dialect, layout, batch }.decode(bytes)
        })
        .collect();
    if bounds.stop.is_set() {
        return Err(TransformError::Stopped);
    }
    Decoded::join(fields, decoded)
}

/// Cuts where records end; a newline inside quotes is none, so this reads every field.
fn quoted_cuts(chunk: &[u8], dialect: &Dialect) -> Vec<std::ops::Range<usize>> {
    let mut at = 0;
    parts(chunk.len(), |from| {
        while at < from && at < chunk.len() {
            at = record_end(chunk, at, dialect);
        }
        Some(at)
    })
}

struct Decoder<'a, 'd> {
    dialect: &'a Dialect,
    layout: &'a CsvLayout,
    batch: Batch<'a, 'd>,
}

impl<'d> Decoder<'_, 'd> {
    fn decode(mut self, bytes: &'d [u8]) -> Decoded<'d> {
        let text = if memchr(0, bytes).is_none() { simdutf8::basic::from_utf8(bytes).ok() } else { None };
        let mut at = 0;
        while at < bytes.len() && !self.batch.is_stopped() {
            at = match bytes[at..] {
                [b'\n', ..] => at + 1,
                [b'\r'] => at + 1,
                [b'\r', b'\n', ..] => at + 2,
                _ => match text {
                    Some(text) => self.record(bytes, text, at),
                    None => self.doubtful(bytes, at),
                },
            };
        }
        self.batch.finish()
    }

    /// A record in bytes that are not all text: looked at by itself, so that its neighbours do not suffer.
    #[cold]
    fn doubtful(&mut self, bytes: &'d [u8], at: usize) -> usize {
        let end = record_end(bytes, at, self.dialect);
        let record = &bytes[at..end];
        let problem = match std::str::from_utf8(record) {
            Err(_) => Reason::Text(Arc::clone(&self.dialect.not_text)),
            Ok(_) if memchr(0, record).is_some() => "NUL character".into(),
            Ok(text) => {
                self.record(record, text, 0);
                return end;
            }
        };
        self.batch.fault(problem);
        self.batch.pad(0..self.batch.targets.len());
        self.batch.end(without_line_end(record));
        end
    }

    /// Decodes the record at `at` and returns where the next one starts.
    #[inline]
    fn record(&mut self, bytes: &'d [u8], text: &str, at: usize) -> usize {
        let (start, mut at, mut index) = (at, at, 0);
        let slots = &self.layout.fields;
        let (mut rescued, mut blank_surplus) = (String::new(), false);
        let end = loop {
            let field = field(bytes, at, self.dialect);
            if let Some(fault) = field.fault {
                self.batch.fault(Reason::Field(index, fault));
            }
            match slots.get(index) {
                Some(Slot::Column(column)) => self.value(*column, text, &field),
                Some(Slot::Added(place)) => self.add(*place, text, &field),
                Some(Slot::Rescued(name)) => self.rescue(&mut rescued, name, text, &field),
                None => blank_surplus = field.start == field.end && !field.quoted,
            }
            index += 1;
            at = field.next;
            if field.last {
                break at;
            }
        };
        if index != slots.len() && !(self.dialect.trailing && blank_surplus && index == slots.len() + 1) {
            self.ragged(index);
        }
        for fault in &self.layout.faults {
            self.batch.fault(fault.clone());
        }
        for column in &self.layout.absent {
            self.batch.pad(*column..*column + 1);
        }
        if !rescued.is_empty() {
            rescued.push('}');
            self.batch.rescue(rescued);
        }
        self.batch.end(without_line_end(&bytes[start..end]));
        end
    }

    /// In a string column a quoted text is never null, as in PostgreSQL; in other columns quotes mean nothing.
    #[inline]
    fn value(&mut self, column: usize, text: &str, field: &Field) {
        let data_type = self.batch.targets[column].data_type;
        let string = data_type == DataType::String;
        let mut value = content(text, field, self.dialect);
        let null = if string {
            !field.quoted && self.dialect.is_null(&value)
        } else {
            self.dialect.is_null(crate::text::trim(&value))
        };
        if null {
            return self.batch.null(column);
        }
        if self.dialect.decimal_comma && is_fractional(data_type) {
            value = with_decimal_point(&value).into();
        }
        self.batch.text(column, &value);
    }

    fn add(&mut self, place: usize, text: &str, field: &Field) {
        let value = content(text, field, self.dialect);
        if field.quoted || !self.dialect.is_null(&value) {
            let row = self.batch.row();
            self.batch.added.put(place, row, &value);
        }
    }

    fn rescue(&mut self, object: &mut String, name: &str, text: &str, field: &Field) {
        let value = content(text, field, self.dialect);
        object.push(if object.is_empty() { '{' } else { ',' });
        object.push_str(name);
        object.push(':');
        if !field.quoted && self.dialect.is_null(&value) {
            object.push_str("null");
        } else {
            object.push_str(&quoted(&value));
        }
    }

    #[cold]
    fn ragged(&mut self, count: usize) {
        let expected = self.layout.fields.len();
        if self.layout.refusal.is_some() {
            return; // there is no header to tell how many there should be
        }
        self.batch.fault(Reason::Fields(count, expected));
        for column in self.layout.columns_from(count) {
            self.batch.pad(column..column + 1);
        }
    }
}

/// One field, found but not yet read.
struct Field {
    start: usize,
    end: usize,
    quoted: bool,
    /// Holds doubled quotes.
    escaped: bool,
    /// The record ends here.
    last: bool,
    /// Where the next field or record starts.
    next: usize,
    fault: Option<&'static str>,
}

/// Finds the field at `at`: the only place that knows where fields and records end.
#[inline(always)]
fn field(bytes: &[u8], at: usize, dialect: &Dialect) -> Field {
    if dialect.quote.is_some() && bytes.get(at).copied() == dialect.quote {
        return quoted_field(bytes, at, dialect);
    }
    let stop = find_end(bytes, at, dialect.delimiter);
    let last = bytes.get(stop).is_none_or(|byte| *byte == b'\n');
    let end = if last && stop > at && bytes[stop - 1] == b'\r' { stop - 1 } else { stop };
    Field { start: at, end, quoted: false, escaped: false, last, next: (stop + 1).min(bytes.len()), fault: None }
}

#[inline(never)]
fn quoted_field(bytes: &[u8], at: usize, dialect: &Dialect) -> Field {
    let quote = bytes[at];
    let (start, mut from, mut escaped) = (at + 1, at + 1, false);
    let within = if dialect.multiline { bytes } else { &bytes[..line_end(bytes, at)] };
    let close = loop {
        let rest = within.get(from..).unwrap_or_default();
        let found = dialect.escape.map_or_else(|| memchr(quote, rest), |escape| memchr2(quote, escape, rest));
        match found.map(|found| from + found) {
            None => break None,
            Some(found) if dialect.escape == Some(bytes[found]) => {
                escaped = true;
                from = found + 2;
            }
            Some(found) if dialect.escape.is_none() && bytes.get(found + 1) == Some(&quote) => {
                escaped = true;
                from = found + 2;
            }
            found => break found,
        }
    };
    let Some(close) = close else {
        let stop = line_end(bytes, at);
        let next = (stop + 1).min(bytes.len());
        return Field {
            start,
            end: stop,
            quoted: true,
            escaped: false,
            last: true,
            next,
            fault: Some("unclosed quote"),
        };
    };
    let stop = find_end(bytes, close + 1, dialect.delimiter);
    let last = bytes.get(stop).is_none_or(|byte| *byte == b'\n');
    let fault = match &bytes[close + 1..stop] {
        [] => None,
        [b'\r'] if last => None,
        _ => Some("text after the closing quote"),
    };
    Field { start, end: close, quoted: true, escaped, last, next: (stop + 1).min(bytes.len()), fault }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found)
}

fn is_fractional(data_type: DataType) -> bool {
    matches!(data_type, DataType::Double | DataType::Float | DataType::Decimal { .. })
}

/// A number with its decimal comma made a point. A point in it (which may group thousands) becomes a comma, so that no
/// type takes it: `1.234` may be either of two numbers.
fn with_decimal_point(text: &str) -> String {
    let swapped = |character| match character {
        ',' => '.',
        '.' => ',',
        other => other,
    };
    text.chars().map(swapped).collect()
}

/// What a record is that is not UTF-8: intake marks what is no text in its own encoding so.
pub(crate) fn not_text(format: &Format) -> String {
    match format.encoding {
        "utf-8" => "not UTF-8".to_owned(),
        encoding => format!("not {encoding}"),
    }
}

#[inline(always)]
fn content<'t>(text: &'t str, field: &Field, dialect: &Dialect) -> Cow<'t, str> {
    let content = &text[field.start..field.end];
    match dialect.quote {
        Some(quote) if field.escaped => Cow::Owned(unescaped(content, quote.into(), dialect.escape)),
        _ => Cow::Borrowed(content),
    }
}

/// Before anything but a quote and itself an escape is a character like any other, as in PostgreSQL and Spark.
#[cold]
fn unescaped(content: &str, quote: char, escape: Option<u8>) -> String {
    let Some(escape) = escape.map(char::from) else {
        return content.replace(&format!("{quote}{quote}"), &quote.to_string());
    };
    let (mut text, mut characters) = (String::with_capacity(content.len()), content.chars().peekable());
    while let Some(character) = characters.next() {
        let escaped = (character == escape).then(|| characters.next_if(|next| *next == quote || *next == escape));
        text.push(escaped.flatten().unwrap_or(character));
    }
    text
}

fn record_end(bytes: &[u8], mut at: usize, dialect: &Dialect) -> usize {
    loop {
        let field = field(bytes, at, dialect);
        at = field.next;
        if field.last {
            return at;
        }
    }
}

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// The index of the first delimiter or newline from `at` on, or the length. Fields are short, so eight bytes at a time
/// beat a vector search: the lowest high bit of `(x - 1) & !x` marks the first zero byte of `x`.
#[inline]
fn find_end(bytes: &[u8], mut at: usize, delimiter: u8) -> usize {
    let (delimiters, newlines) = (ONES * u64::from(delimiter), ONES * u64::from(b'\n'));
    while let Some((word, _)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let (a, b) = (word ^ delimiters, word ^ newlines);
        let found = ((a.wrapping_sub(ONES) & !a) | (b.wrapping_sub(ONES) & !b)) & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at.min(bytes.len()) + rest.iter().position(|byte| *byte == delimiter || *byte == b'\n').unwrap_or(rest.len())
}

fn without_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}
