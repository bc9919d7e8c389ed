//! Avro: blocks become lines of JSON objects, one a datum, which then go the way of all NDJSON. So there is one grammar of
//! values, and quarantine shows a readable record.
//!
//! What JSON lacks is written so that nothing is altered silently: bytes as base64 (as text where a string column takes
//! them and they are UTF-8), decimals with all their digits, dates and instants in ISO 8601 and UTC, numbers that are none
//! as words. A block that lies about its records or is damaged gives those before the damage, and one refused record for
//! the rest.
//!
//! Hand-written, because the reader for it has to stand any bytes within a budget: a schema may be recursive, an array may
//! say that it holds 2^60 nulls, and a block may unpack without end.

mod codec;
mod cursor;
mod datum;
mod envelope;
mod schema;
mod values;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use weir_contract::limits::{AVRO_COLUMN, AVRO_PAYLOAD, AVRO_RECORD};
use weir_contract::{Allowance, DataType, Stop, field_of};

use crate::columns::Target;
use crate::fields::Fields;
use codec::Codec;
use cursor::{Cursor, Fault};
use datum::{Lines, Want};
use envelope::Envelope;
use schema::{Record, Schema, Schemas};

use crate::FileColumn;

/// A record of no bytes is possible, but a million of them is not meant.
const FREE_RECORDS: u64 = 1_000;

const MORE: &str = "the Avro block holds more than the records that it says it has";

/// A file's schema, made ready: which field is text, which holds the record.
#[derive(Debug, Clone)]
pub struct AvroLayout {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    schemas: Schemas,
    codec: Codec,
    /// What takes each field of the datum.
    wants: Vec<Want>,
    envelope: Option<Envelope>,
    max_record_bytes: usize,
    /// What each record draws beside its values.
    of_record: u64,
}

/// Part of a block's records.
#[derive(Debug, PartialEq, Eq)]
pub enum AvroChunk {
    /// One JSON object a line, for [`crate::Transform::ndjson`].
    Lines(Vec<u8>),
    /// Records that stand for what cannot be read, each with its reason: one, or several that follow each other.
    Refused(Vec<String>),
}

/// The records of one block, some at a time.
#[derive(Debug)]
pub struct AvroBlock {
    shared: Arc<Shared>,
    data: Vec<u8>,
    at: usize,
    left: u64,
    refused: Option<String>,
    allowance: Allowance,
}

impl AvroLayout {
    /// # Errors
    /// Why no record of the file can be read: the reason to refuse it with.
    pub(crate) fn new(
        schema: &str,
        codec: &str,
        targets: &[Target],
        fields: &Fields,
        payload: Option<&str>,
        max_record_bytes: usize,
    ) -> Result<Self, String> {
        let codec = Codec::named(codec).ok_or("the Avro codec is none of null, deflate, snappy and zstandard")?;
        let schemas = Schemas::parse(schema)?;
        let top = schemas.top();
        let column = |name: &str| fields.column(name).map(|column| &targets[column]);
        let want = |name: &str| match column(name).map(|target| target.data_type) {
            None => Want::Any,
            Some(DataType::String) => Want::Text,
            Some(DataType::Binary) => Want::Bytes,
            Some(_) => Want::Value,
        };
        let wants = top.fields.iter().map(|field| want(&field.name)).collect();
        let is_column = |name: &str| column(name).is_some() || fields.paths.get(name).is_some();
        let envelope = payload.map(|payload| envelope(top, payload, is_column)).transpose()?;
        let of_payload = if envelope.is_some() { AVRO_PAYLOAD } else { 0 };
        let of_record = AVRO_RECORD + AVRO_COLUMN * targets.len() as u64 + of_payload;
        Ok(Self { shared: Arc::new(Shared { schemas, codec, wants, envelope, max_record_bytes, of_record }) })
    }

    /// Unpacks a block, which says that it has `count` records. What it unpacks to and what it gives is drawn from the
    /// allowance of its file.
    pub fn block(&self, count: u64, data: &[u8], allowance: &Allowance) -> AvroBlock {
        allowance.earn_avro(data.len());
        let shared = Arc::clone(&self.shared);
        let (data, mut refused) = match shared.codec.unpack(data, allowance.left()) {
            Ok(data) => (data, None),
            Err(reason) => (Vec::new(), Some(reason.to_owned())),
        };
        allowance.take(data.len() as u64);
        let mut left = count;
        if refused.is_none() && count > data.len() as u64 + FREE_RECORDS {
            refused = Some("the Avro block says that it has more records than bytes".to_owned());
        }
        if refused.is_none() && count == 0 && !data.is_empty() {
            refused = Some(MORE.to_owned());
        }
        if refused.is_some() {
            left = 0;
        }
        AvroBlock { shared, data, at: 0, left, refused, allowance: allowance.clone() }
    }
}

/// The records of several blocks of one file, so that blocks of one record each do not make a frame each.
#[derive(Debug)]
pub struct AvroRecords {
    layout: AvroLayout,
    allowance: Allowance,
    /// Blocks that are not opened yet: their counts and bytes; or why one is none.
    stored: VecDeque<Result<(u64, Bytes), String>>,
    open: Option<AvroBlock>,
    /// What comes after the lines before it.
    refused: Vec<String>,
    /// Lines that come after those.
    after: Vec<u8>,
}

/// Refused records that are given at a time: each of them alone would be a frame.
const REFUSED_TOGETHER: usize = 4_096;

impl AvroRecords {
    /// What the blocks give is drawn from the allowance.
    pub fn new(layout: AvroLayout, allowance: Allowance) -> Self {
        Self { layout, allowance, stored: VecDeque::new(), open: None, refused: Vec::new(), after: Vec::new() }
    }

    /// Adds a block behind the others, as it is stored.
    pub fn push(&mut self, count: u64, data: Bytes) {
        self.stored.push_back(Ok((count, data)));
    }

    /// Adds one record that stands for a block which cannot be read.
    pub fn refuse(&mut self, reason: String) {
        self.stored.push_back(Err(reason));
    }

    /// Further records, until their lines have `enough` bytes; `None` when all blocks are given, and when nobody waits any
    /// more.
    pub fn next(&mut self, enough: usize, stop: &Stop) -> Option<AvroChunk> {
        let mut lines = std::mem::take(&mut self.after);
        while lines.len() < enough
            && (lines.is_empty() || self.refused.is_empty())
            && self.refused.len() < REFUSED_TOGETHER
        {
            let Some(mut block) = self.open.take() else {
                match self.stored.pop_front() {
                    None => break,
                    Some(Ok((count, data))) => self.open = Some(self.layout.block(count, &data, &self.allowance)),
                    Some(Err(reason)) => self.refused.push(reason),
                }
                continue;
            };
            match block.next(enough - lines.len(), stop) {
                // Behind what is refused already.
                Some(AvroChunk::Lines(more)) if !self.refused.is_empty() => {
                    self.after = more;
                    self.open = Some(block);
                    break;
                }
                Some(AvroChunk::Lines(more)) if lines.is_empty() => lines = more,
                Some(AvroChunk::Lines(more)) => lines.extend_from_slice(&more),
                Some(AvroChunk::Refused(reasons)) => self.refused.extend(reasons),
                None if stop.is_set() => return None,
                None => continue,
            }
            self.open = Some(block);
        }
        if !lines.is_empty() {
            return Some(AvroChunk::Lines(lines));
        }
        (!self.refused.is_empty()).then(|| AvroChunk::Refused(std::mem::take(&mut self.refused)))
    }
}

/// The columns of an Avro file of this schema. Fields of a record within a record are columns of their own, by their paths.
///
/// # Errors
/// Why the file cannot be read.
pub fn avro_columns(schema: &str) -> Result<Vec<FileColumn>, String> {
    let schemas = Schemas::parse(schema)?;
    let mut columns = Vec::new();
    gather(&schemas, schemas.top(), &mut Vec::new(), &mut columns);
    Ok(columns)
}

/// Records within each other whose fields become columns.
const MAX_COLUMN_DEPTH: usize = 4;
const MAX_FILE_COLUMNS: usize = 1_000;

fn gather<'s>(schemas: &'s Schemas, record: &'s Record, names: &mut Vec<&'s str>, columns: &mut Vec<FileColumn>) {
    for field in &record.fields {
        if columns.len() >= MAX_FILE_COLUMNS {
            return;
        }
        names.push(&field.name);
        match without_null(&field.schema) {
            Some(Schema::Record(index)) if names.len() < MAX_COLUMN_DEPTH => {
                gather(schemas, schemas.record(*index), names, columns);
            }
            schema => {
                columns.push(FileColumn { from: field_of(names), data_type: schema.map_or(DataType::String, holder) })
            }
        }
        names.pop();
    }
}

/// The one branch of a union that is not null; `None` if there are several.
fn without_null(schema: &Schema) -> Option<&Schema> {
    let Schema::Union(branches) = schema else { return Some(schema) };
    let mut others = branches.iter().filter(|branch| !matches!(branch, Schema::Null));
    match (others.next(), others.next()) {
        (Some(one), None) => without_null(one),
        _ => None,
    }
}

/// The type of a contract that holds every value of a schema.
fn holder(schema: &Schema) -> DataType {
    match schema {
        Schema::Boolean => DataType::Boolean,
        Schema::Int => DataType::Integer,
        Schema::Long => DataType::Long,
        Schema::Float => DataType::Float,
        Schema::Double => DataType::Double,
        Schema::Bytes | Schema::Fixed(_) => DataType::Binary,
        Schema::Date => DataType::Date,
        Schema::Timestamp(..) => DataType::Timestamp,
        Schema::Decimal(_, scale) => match u8::try_from(*scale) {
            Ok(scale) if scale <= 38 => DataType::Decimal { precision: 38, scale },
            _ => DataType::String,
        },
        Schema::Null
        | Schema::String
        | Schema::Time(..)
        | Schema::Uuid
        | Schema::Duration
        | Schema::Enum(_)
        | Schema::Array(_)
        | Schema::Map(_)
        | Schema::Union(_)
        | Schema::Record(_) => DataType::String,
    }
}

fn envelope(top: &Record, payload: &str, is_column: impl Fn(&str) -> bool) -> Result<Envelope, String> {
    let Some(body) = top.fields.iter().position(|field| field.name == payload) else {
        return Err(format!("the Avro file has no field `{payload}`, which `[format] payload` names"));
    };
    if !top.fields[body].schema.holds_bytes() {
        return Err(format!("the Avro file's field `{payload}` holds neither bytes nor a string"));
    }
    let wanted = top.fields.iter().map(|field| field.name != payload && is_column(&field.name)).collect();
    Ok(Envelope { body, wanted })
}

impl AvroBlock {
    /// Further records, until their lines have `enough` bytes; `None` at the end, and when nobody waits any more.
    pub fn next(&mut self, enough: usize, stop: &Stop) -> Option<AvroChunk> {
        let shared = Arc::clone(&self.shared);
        let before = self.allowance.left();
        let mut lines = Lines::new(shared.max_record_bytes, shared.of_record, before, stop);
        while self.left > 0 && lines.len() < enough {
            let mut cursor = Cursor::new(&self.data[self.at..]);
            if let Err(fault) = lines.datum(&mut cursor, &shared.schemas, &shared.wants, shared.envelope.as_ref()) {
                let why = match fault {
                    Fault::Damaged => "is damaged",
                    Fault::TooMuch => "gives, with all before it, more than 512 times the bytes of its file",
                    Fault::Stopped => return None,
                };
                self.refused = Some(format!("the Avro block {why}: {} of its records cannot be read", self.left));
                self.left = 0;
                break;
            }
            self.at += cursor.position();
            self.left -= 1;
            if self.left == 0 && self.at < self.data.len() {
                self.refused = Some(MORE.to_owned());
            }
        }
        self.allowance.take(before - lines.left());
        if lines.len() > 0 {
            return Some(AvroChunk::Lines(lines.into_bytes()));
        }
        self.refused.take().map(|reason| AvroChunk::Refused(vec![reason]))
    }
}
