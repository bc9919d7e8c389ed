//! JSON: one object a record, read once and straight into typed columns. No tree is built, so nesting costs no stack.
//!
//! A value keeps its own text until its column's type reads it: numbers lose no digit, and what is nested arrives in a
//! string column as the JSON it was. A string is read by the same grammar as a CSV field; a JSON literal by its text.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use rayon::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use weir_contract::{DataType, UnknownFields};

use crate::added::{Added, Form, member};
use crate::columns::{Batch, Decoded, Target};
use crate::csv::BOM;
use crate::error::Result;
use crate::faults::{Reason, UnknownNames};
use crate::fields::Fields;
use crate::parallel::{part_count, parts};
use crate::text::Mismatch;

/// Decodes the non-blank lines of a chunk.
pub(crate) fn decode_lines<'d>(
    targets: &[Target],
    fields: &Fields,
    max_record_bytes: usize,
    chunk: &'d [u8],
) -> Result<Decoded<'d>> {
    let next_line = |from: usize| memchr(b'\n', &chunk[from..]).map(|at| from + at + 1);
    let decoded: Vec<Decoded<'d>> = parts(chunk.len(), next_line)
        .into_par_iter()
        .map(|part| {
            let lines = chunk[part].split(|byte| *byte == b'\n');
            let records = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).filter(|line| !blank(line));
            decode(targets, fields, max_record_bytes, records)
        })
        .collect();
    Decoded::join(fields, decoded)
}

/// Decodes one object per body.
pub(crate) fn decode_bodies<'d>(
    targets: &[Target],
    fields: &Fields,
    max_record_bytes: usize,
    bodies: &[&'d [u8]],
) -> Result<Decoded<'d>> {
    let parts = part_count(bodies.iter().map(|body| body.len()).sum());
    let decoded: Vec<Decoded<'d>> = bodies
        .par_chunks(bodies.len().div_ceil(parts).max(1))
        .map(|part| decode(targets, fields, max_record_bytes, part.iter().copied()))
        .collect();
    if decoded.is_empty() {
        return Ok(decode(targets, fields, max_record_bytes, std::iter::empty()));
    }
    Decoded::join(fields, decoded)
}

fn blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

fn decode<'d>(
    targets: &[Target],
    fields: &Fields,
    max_record_bytes: usize,
    records: impl Iterator<Item = &'d [u8]>,
) -> Decoded<'d> {
    let batch = Batch::new(targets, fields, Added::new(Form::Json), max_record_bytes, records.size_hint().0);
    let mut decoder = Decoder {
        batch,
        seen: vec![false; targets.len()],
        next: 0,
        rescued: String::new(),
        unknown: UnknownNames::default(),
    };
    records.for_each(|record| decoder.record(record));
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
    fn record(&mut self, record: &'d [u8]) {
        self.seen.fill(false);
        self.next = 0;
        self.rescued.clear();
        self.unknown.take();
        let problem = match std::str::from_utf8(record.strip_prefix(BOM).unwrap_or(record)) {
            Err(_) => Some("not UTF-8"),
            Ok(text) => {
                let mut json = serde_json::Deserializer::from_str(text);
                let read = Record(self).deserialize(&mut json).and_then(|()| json.end());
                read.err().map(|_| "not one JSON object")
            }
        };
        for column in 0..self.seen.len() {
            if self.seen[column] {
                continue;
            }
            if problem.is_some() { self.batch.pad(column..column + 1) } else { self.missing(column) }
        }
        if let (None, Some(unknown)) = (problem, self.unknown.take()) {
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

    fn known(&mut self, column: usize, value: &RawValue) {
        self.next = column + 1;
        if std::mem::replace(&mut self.seen[column], true) {
            return self.batch.fault(Reason::GivenTwice(column));
        }
        match self.text(column, value.get()) {
            Ok(None) => self.batch.null(column),
            Ok(Some(text)) => self.batch.text(column, &text),
            Err(reason) => {
                self.batch.fault(reason);
                self.batch.pad(column..column + 1);
            }
        }
    }

    /// The text that the column's type is to read; only a string column reads an object or an array.
    fn text<'v>(&self, column: usize, json: &'v str) -> std::result::Result<Option<Cow<'v, str>>, Reason> {
        let target = &self.batch.targets[column];
        if json.starts_with(['{', '[']) && target.data_type != DataType::String {
            return Err(Reason::Mismatch(column, Mismatch::Form));
        }
        text(json).map_err(|problem| format!("column `{}`: {problem}", target.name).into())
    }

    /// The field that probably comes next.
    fn likely(&self) -> Option<(&'a str, usize)> {
        let targets: &'a [Target] = self.batch.targets;
        targets.get(self.next).map(|target| (target.field.as_str(), self.next))
    }

    fn unknown(&mut self, name: &str, value: &RawValue) {
        let policy = self.batch.fields.unknown;
        match policy {
            UnknownFields::Fail => self.unknown.push(name),
            UnknownFields::Add if self.add(name, value.get()) => {}
            UnknownFields::Add | UnknownFields::Rescue => member(&mut self.rescued, name, value.get()),
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
        [b'"', content @ .., b'"'] if memchr(b'\\', content).is_none() => {
            Ok(Some(Cow::Borrowed(&json[1..json.len() - 1])))
        }
        [b'"', ..] => match serde_json::from_str::<String>(json) {
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

/// Reads one object into the decoder.
struct Record<'r, 'a, 'd>(&'r mut Decoder<'a, 'd>);

impl<'de> DeserializeSeed<'de> for Record<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<(), M::Error> {
        let decoder = self.0;
        while let Some(key) = map.next_key_seed(Key { fields: decoder.batch.fields, likely: decoder.likely() })? {
            let value: &RawValue = map.next_value()?;
            match key {
                Name::Column(column) => decoder.known(column, value),
                Name::Unknown(name) => decoder.unknown(&name, value),
            }
        }
        Ok(())
    }
}

enum Name {
    Column(usize),
    Unknown(String),
}

/// Resolves a field's name without keeping it.
struct Key<'a> {
    fields: &'a Fields,
    likely: Option<(&'a str, usize)>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Name;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> std::result::Result<Name, E> {
        match self.likely {
            Some((likely, column)) if self.fields.are_same(likely, name) => Ok(Name::Column(column)),
            _ => Ok(self.fields.column(name).map_or_else(|| Name::Unknown(name.to_owned()), Name::Column)),
        }
    }
}
