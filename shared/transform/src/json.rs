//! JSON: one object a record, read once and straight into typed columns. No tree is built, so nesting costs no stack.
//!
//! A value keeps its own text until its column's type reads it: numbers lose no digit, and what is nested arrives in a
//! string column as the JSON it was. A string is read by the same grammar as a CSV field; a JSON literal by its text.

mod scan;
mod shape;

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;
use rayon::prelude::*;
use weir_contract::{DataType, UnknownFields, pushed};

use crate::added::{Added, Form, member};
use crate::columns::{Batch, Bounds, Decoded, Target};
use crate::error::{Result, TransformError};
use crate::faults::{Reason, UnknownNames};
use crate::fields::Fields;
use crate::looks::Looks;
use crate::parallel::{line_estimate, part_count, parts};
use crate::paths::Place;
use crate::text::Mismatch;
use scan::{Malformed, Scan, Token, elements};

pub(crate) use shape::Shape;

/// Decodes the non-blank lines of a chunk.
pub(crate) fn decode_lines<'d>(
    targets: &[Target],
    fields: &Fields,
    bounds: Bounds<'_>,
    chunk: &'d [u8],
) -> Result<Decoded<'d>> {
    let next_line = |from: usize| memchr(b'\n', &chunk[from..]).map(|at| from + at + 1);
    let decoded: Vec<Decoded<'d>> = parts(chunk.len(), next_line)
        .into_par_iter()
        .map(|part| {
            let bytes = &chunk[part];
            decode(targets, fields, bounds, line_estimate(bytes, targets.len(), bounds.max_rows), Lines::new(bytes))
        })
        .collect();
    if bounds.stop.is_set() {
        return Err(TransformError::Stopped);
    }
    Decoded::join(fields, decoded)
}

/// The non-blank lines of a chunk.
pub(crate) fn lines(chunk: &[u8]) -> impl Iterator<Item = &[u8]> {
    Lines::new(chunk).map(|(line, _)| line)
}

/// The non-blank lines of a chunk; as text, where they are.
struct Lines<'d> {
    bytes: &'d [u8],
    at: usize,
    /// Lines that are looked at together, so that they are still in the cache when they are read.
    block: Range<usize>,
    /// Mostly all of it is UTF-8; else each record is looked at by itself.
    text: Option<&'d str>,
}

impl<'d> Lines<'d> {
    const BLOCK_BYTES: usize = 128 * 1024;

    fn new(bytes: &'d [u8]) -> Self {
        Self { bytes, at: 0, block: 0..0, text: None }
    }

    fn next_block(&mut self) {
        let (start, length) = (self.at, self.bytes.len());
        let about = length.min(start + Self::BLOCK_BYTES);
        let end = memchr(b'\n', &self.bytes[about..]).map_or(length, |at| about + at + 1);
        self.block = start..end;
        self.text = simdutf8::basic::from_utf8(&self.bytes[start..end]).ok();
    }
}

impl<'d> Iterator for Lines<'d> {
    type Item = (&'d [u8], Option<&'d str>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.at == self.block.end {
                if self.at == self.bytes.len() {
                    return None;
                }
                self.next_block();
            }
            let (start, rest) = (self.at, &self.bytes[self.at..self.block.end]);
            let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
            self.at = self.block.end.min(start + line.len() + 1);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !blank(line) {
                let from = start - self.block.start;
                return Some((line, self.text.and_then(|text| text.get(from..from + line.len()))));
            }
        }
    }
}

/// Decodes one object per body.
pub(crate) fn decode_bodies<'d>(
    targets: &[Target],
    fields: &Fields,
    bounds: Bounds<'_>,
    bodies: &[&'d [u8]],
) -> Result<Decoded<'d>> {
    let parts = part_count(bodies.iter().map(|body| body.len()).sum());
    let decoded: Vec<Decoded<'d>> = bodies
        .par_chunks(bodies.len().div_ceil(parts).max(1))
        .map(|part| decode(targets, fields, bounds, part.len(), part.iter().map(|body| (*body, None))))
        .collect();
    if bounds.stop.is_set() {
        return Err(TransformError::Stopped);
    }
    if decoded.is_empty() {
        return Ok(decode(targets, fields, bounds, 0, std::iter::empty()));
    }
    Decoded::join(fields, decoded)
}

fn blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

fn decode<'d>(
    targets: &[Target],
    fields: &Fields,
    bounds: Bounds<'_>,
    count: usize,
    records: impl Iterator<Item = (&'d [u8], Option<&'d str>)>,
) -> Decoded<'d> {
    let batch = Batch::new(targets, fields, Added::new(Form::Json), bounds, count);
    let mut decoder = Decoder {
        batch,
        seen: vec![false; targets.len()],
        next: 0,
        rescued: String::new(),
        unknown: UnknownNames::default(),
    };
    for (record, text) in records {
        if decoder.batch.is_stopped() {
            break;
        }
        decoder.record(record, text);
    }
    decoder.batch.finish()
}

struct Decoder<'a, 'd> {
    batch: Batch<'a, 'd>,
    /// The columns that this record has given.
    seen: Vec<bool>,
    /// The column that probably comes next: fields mostly keep their order.
    next: usize,
    rescued: String,
    unknown: UnknownNames,
}

impl<'a, 'd> Decoder<'a, 'd> {
    /// `text` is the record, when that is known to be text.
    fn record(&mut self, record: &'d [u8], text: Option<&'d str>) {
        self.seen.fill(false);
        self.next = 0;
        self.rescued.clear();
        self.unknown.take();
        let is_object = text.or_else(|| simdutf8::basic::from_utf8(record).ok()).is_some_and(|text| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            self.object(text).is_ok()
        });
        let problem = if is_object { None } else { Some(Reason::Looks(Looks::like(record))) };
        for column in 0..self.seen.len() {
            if self.seen[column] {
                continue;
            }
            if problem.is_some() { self.batch.pad(column..column + 1) } else { self.missing(column) }
        }
        let unknown = self.unknown.take().filter(|_| problem.is_none());
        if let Some(unknown) = unknown {
            self.batch.fault(unknown);
        }
        match problem {
            Some(problem) => self.batch.fault(problem),
            None if !self.rescued.is_empty() => {
                self.rescued.push('}');
                self.batch.rescue(std::mem::take(&mut self.rescued));
            }
            None => {}
        }
        self.batch.end(record);
    }

    fn missing(&mut self, column: usize) {
        if self.batch.fields.refuses_without(&self.batch.targets[column]) {
            self.batch.fault(Reason::Missing(column));
            self.batch.pad(column..column + 1);
        } else {
            self.batch.null(column);
        }
    }

    fn object(&mut self, text: &str) -> std::result::Result<(), Malformed> {
        let mut scan = Scan::object(text)?;
        loop {
            if let Some(target) = self.batch.targets.get(self.next)
                && scan.skip_name(&target.json_name)
            {
                let value = scan.value()?;
                let column = self.next;
                self.known(column, value);
                self.within(column, value)?;
                continue;
            }
            let Some(name) = scan.name()? else { return Ok(()) };
            let name = match name.content() {
                Some(name) => Cow::Borrowed(name),
                None => Cow::Owned(serde_json::from_str::<String>(name.text).map_err(|_| Malformed)?),
            };
            let value = scan.value()?;
            let fields: &'a Fields = self.batch.fields;
            if let Some(place) = fields.paths.get(&name) {
                let column = fields.column(&name);
                if let Some(column) = column {
                    self.known(column, value);
                }
                self.place(place, value.text, &pushed("", &name), column.is_some())?;
                continue;
            }
            match self.column(&name) {
                Some(column) => self.known(column, value),
                None => self.unknown(&name, value.text),
            }
        }
    }

    /// Other columns may take what is within a column's value.
    #[inline]
    fn within(&mut self, column: usize, value: Token<'_>) -> std::result::Result<(), Malformed> {
        let fields: &'a Fields = self.batch.fields;
        if fields.paths.is_leaf() {
            return Ok(());
        }
        let targets: &'a [Target] = self.batch.targets;
        let field = &targets[column].field;
        match fields.paths.get(field) {
            Some(place) => self.place(place, value.text, &pushed("", field), true),
            None => Ok(()),
        }
    }

    /// Gives columns what they take from within a value that is at `path`. `is_kept`: the value is a column's as a whole, so
    /// that what no column takes is not unknown.
    fn place(&mut self, place: &'a Place, json: &str, path: &str, is_kept: bool) -> std::result::Result<(), Malformed> {
        match json.as_bytes().first() {
            Some(b'{') => {
                let mut scan = Scan::object(json)?;
                while let Some(name) = scan.name()? {
                    let name = match name.content() {
                        Some(name) => Cow::Borrowed(name),
                        None => Cow::Owned(serde_json::from_str::<String>(name.text).map_err(|_| Malformed)?),
                    };
                    let value = scan.value()?;
                    self.member(place, &name, value, path, is_kept)?;
                }
            }
            Some(b'[') => {
                for (index, value) in elements(json, usize::MAX)?.into_iter().enumerate() {
                    self.member(place, &index.to_string(), value, path, is_kept)?;
                }
            }
            Some(b'n') => {}
            _ if is_kept => {}
            _ => self.unknown(path, json),
        }
        Ok(())
    }

    fn member(
        &mut self,
        place: &'a Place,
        name: &str,
        value: Token<'_>,
        path: &str,
        is_kept: bool,
    ) -> std::result::Result<(), Malformed> {
        let Some(inner) = place.get(name) else {
            if !is_kept {
                self.unknown(&pushed(path, name), value.text);
            }
            return Ok(());
        };
        if let Some(column) = inner.column {
            self.known(column, value);
        }
        if inner.is_leaf() {
            return Ok(());
        }
        self.place(inner, value.text, &pushed(path, name), is_kept || inner.column.is_some())
    }

    fn known(&mut self, column: usize, value: Token<'_>) {
        self.next = column + 1;
        if std::mem::replace(&mut self.seen[column], true) {
            return self.batch.fault(Reason::GivenTwice(column));
        }
        match self.text(column, value) {
            Ok(None) => self.batch.null(column),
            Ok(Some(text)) => self.batch.text(column, &text),
            Err(reason) => {
                self.batch.fault(reason);
                self.batch.pad(column..column + 1);
            }
        }
    }

    /// The text that the column's type is to read; only a string column reads an object or an array.
    #[inline]
    fn text<'v>(&self, column: usize, json: Token<'v>) -> std::result::Result<Option<Cow<'v, str>>, Reason> {
        if let Some(content) = json.content() {
            return Ok(Some(Cow::Borrowed(content)));
        }
        let target = &self.batch.targets[column];
        if json.text.starts_with(['{', '[']) && target.data_type != DataType::String {
            return Err(Reason::Mismatch(column, Mismatch::Form));
        }
        text(json.text).map_err(|problem| Reason::Column(column, problem))
    }

    /// The column of a field; fields mostly keep their order.
    #[inline]
    fn column(&self, name: &str) -> Option<usize> {
        match self.batch.targets.get(self.next) {
            Some(target) if self.batch.fields.are_same(&target.field, name) => Some(self.next),
            _ => self.batch.fields.column(name),
        }
    }

    fn unknown(&mut self, name: &str, json: &str) {
        let policy = self.batch.fields.unknown;
        match policy {
            UnknownFields::Fail => self.unknown.push(name),
            UnknownFields::Add if self.add(name, json) => {}
            UnknownFields::Add | UnknownFields::Rescue => member(&mut self.rescued, name, json),
        }
    }

    /// False if the field can be no column.
    fn add(&mut self, name: &str, json: &str) -> bool {
        let row = self.batch.row();
        let Batch { fields, added, .. } = &mut self.batch;
        added.place(fields, name).is_some_and(|place| json == "null" || added.put(place, row, json))
    }
}

/// A value's text: a string's content, another value's own JSON, `None` for null.
pub(crate) fn text(json: &str) -> std::result::Result<Option<Cow<'_, str>>, &'static str> {
    match json.as_bytes() {
        [b'n', ..] => Ok(None),
        [b'"', ..] => match serde_json::from_str::<String>(json) {
            // So a reader of binary formats writes a byte that is no text.
            Err(_) if json.contains("\\udc") => Err("not UTF-8"),
            Err(_) => Err("not a sound JSON string"),
            Ok(text) if text.contains('\0') => Err("NUL character"),
            Ok(text) => Ok(Some(Cow::Owned(text))),
        },
        _ => Ok(Some(Cow::Borrowed(json))),
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
