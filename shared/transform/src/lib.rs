//! Bytes and a contract in, a clean and a quarantined frame out.
//!
//! [`Transform`] is a contract made ready once. Each of its entry points ([`csv`](Transform::csv),
//! [`ndjson`](Transform::ndjson), [`events`](Transform::events), [`rows`](Transform::rows)) takes one chunk of whole
//! records and returns an [`Output`]. Nothing here knows the network, the clock or the environment: time, positions and
//! keys are arguments, so the same call always gives the same frames.
//!
//! # What it guarantees
//! - **The books balance.** Every record is one row of exactly one of the two frames, with its position.
//! - **Data never fails a chunk.** What is wrong with a record is written beside it in quarantine. Errors mean a wrong
//!   contract, a wrong key or a defect.
//! - **Nothing is altered silently.** A value that its type cannot hold exactly is a fault: no wrapping, no rounding. Two
//!   exceptions, both documented by the types: doubles are the nearest binary value, timestamps are cut to microseconds.
//! - **Reasons name columns, fields and rules, never values.**
//! - **Memory** is a small multiple of the chunk.
//!
//! # What counts as a record and as a value
//! | | CSV | NDJSON, events | Parquet rows |
//! |---|---|---|---|
//! | record | a non-empty line; line ends inside quotes belong to the field | a line that is not blank; a body | a row |
//! | null | an unquoted `null_values` text (in columns other than strings also quoted or padded) | `null`, or no such field | null |
//! | string | any UTF-8 without NUL | a string; any other value as its JSON text | strings; other values as text |
//! | `long` to `byte` | `[+-]?[0-9]+` | the same, as a number or in a string | whole numbers in range |
//! | `double`, `float` | `[+-]?` digits, with a point and an exponent or without; finite | the same | finite numbers |
//! | `decimal` | digits that fit the scale exactly, with an exponent too | the same | the same, and decimals of any width |
//! | `boolean` | `true`, `false`, in any case | the same | booleans |
//! | `date` | `YYYY-MM-DD` or the column's `format` | the same | dates, midnights, or such text |
//! | `timestamp` | RFC 3339 and its kin ([`times`]), a missing zone is UTC; or the column's `format`, which may be an epoch's | the same | any timestamp, or such text |
//! | `binary` | base64 | base64 | bytes, or base64 text |
//!
//! Spaces and tabs around anything but a string mean nothing. A field or column given twice: CSV takes the first and
//! rescues the others, JSON quarantines the record. What becomes of unknown fields says the contract
//! (`drift`). Rules see the values before privacy, of records without other faults.
//!
//! # Personal data
//! Protection applies to the contract's columns in the clean frame. Where one of them is personal, unknown fields stay out
//! of that frame, because any of them may be a copy: the report counts the records. Unless the contract says otherwise by
//! name, or has no personal column: then `_rescued` and added columns hold originals. Quarantine's `_raw` always does, because
//! a record that was refused has to be reprocessable. Grant access to quarantine tables accordingly, and erase from them too.

mod added;
mod avro;
mod columns;
mod convert;
mod csv;
mod days;
mod derive;
mod error;
mod events;
mod faults;
mod fields;
mod json;
mod looks;
mod output;
mod parallel;
mod parquet;
mod partition;
mod paths;
mod plan;
mod privacy;
mod quality;
mod rows;
mod rules;
mod sql;
mod text;
mod times;
mod values;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use polars::prelude::{Column, DataFrame, IntoColumn};
use weir_contract::limits::CELLS_PER_BYTE;
use weir_contract::{Contract, DataType, MAX_EVENT_RECORDS, Stop};

pub use crate::avro::{AvroBlock, AvroChunk, AvroLayout, AvroRecords, avro_columns};
pub use crate::csv::CsvLayout;
pub use crate::derive::Derivation;
pub use crate::error::{ErrorKind, TransformError};
pub use crate::events::{EventMeta, EventRecord};
pub use crate::parquet::{ParquetPart, ParquetRows, ParquetStep, parquet_columns, parquet_parts};
pub use crate::privacy::PseudonymKey;
pub use crate::quality::{HeldBack, QualityReport, RuleCount, most_frequent};
pub use crate::sql::{check_condition, check_query, function_names};
pub use crate::text::reads_as;

use crate::columns::{Bounds, Decoded};
use crate::error::Result;
use crate::events::Around;
use crate::output::{Positions, Quarantine, Records, finish};
use crate::plan::Plan;

/// Where a chunk came from. The same for all of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lineage {
    pub source: String,
    pub source_version: String,
    /// Microseconds since 1970-01-01 UTC.
    pub ingested_at_us: i64,
}

/// What became of a chunk. `records == clean.height() + quarantined.height()`. Its `Debug` shows no value.
#[derive(Clone)]
pub struct Output {
    /// Columns as [`Contract::table_columns`], then unknown fields that are to be columns of the table: strings, those
    /// that have a value in this chunk ([`weir_contract::UnknownFields::Add`]).
    pub clean: DataFrame,
    /// Columns as [`Contract::quarantine_columns`], in the order of the records.
    pub quarantined: DataFrame,
    pub records: u64,
    /// The first rule with action `fail` that a record violates, or that [`Transform::hold_back`] was given. Nothing of
    /// the same blob or batch may reach the table: a blob is held back by [`QualityReport::verdict`], a batch by
    /// [`Transform::hold_back`].
    pub held_back: Option<String>,
    /// What this chunk was like.
    pub report: QualityReport,
}

impl fmt::Debug for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Output")
            .field("records", &self.records)
            .field("clean", &self.clean.height())
            .field("quarantined", &self.quarantined.height())
            .field("held_back", &self.held_back)
            .finish()
    }
}

/// What an event's body looks like that is not what its contract's format says; `None`: like nothing that has a name.
pub fn looks_like(body: &[u8], event: &EventMeta<'_>) -> Option<Cow<'static, str>> {
    looks::named(body, event.content_type())
}

/// A column that a file says that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumn {
    /// As a contract's `from` names it.
    pub from: String,
    /// The type that holds all of its values.
    pub data_type: DataType,
}

/// A contract made ready. Cheap to clone, and to share between threads.
#[derive(Debug, Clone)]
pub struct Transform {
    plan: Arc<Plan>,
    hold_back: Option<Arc<str>>,
    stop: Stop,
}

impl Transform {
    /// Checks and compiles everything that a chunk will need.
    ///
    /// # Errors
    /// A rule that is no boolean condition on one record (with its name and line), a date pattern that cannot work, two
    /// columns that read one field, or a pseudonymised column without a key.
    pub fn new(contract: &Contract, key: Option<&PseudonymKey>) -> Result<Self> {
        Ok(Self { plan: Arc::new(Plan::new(contract, key)?), hold_back: None, stop: Stop::never() })
    }

    /// The same transform, sending every record to quarantine because `rule` was violated elsewhere in its blob or batch.
    #[must_use]
    pub fn hold_back(&self, rule: &str) -> Self {
        Self { hold_back: Some(rule.into()), ..self.clone() }
    }

    /// The same transform, giving up with [`TransformError::Stopped`] soon after the flag is set.
    #[must_use]
    pub fn until(&self, stop: &Stop) -> Self {
        Self { stop: stop.clone(), ..self.clone() }
    }

    fn bounds(&self) -> Bounds<'_> {
        Bounds { max_record_bytes: self.plan.max_record_bytes, max_rows: self.plan.max_rows, stop: &self.stop }
    }

    /// How many records may be given at a time, so that a frame stays below [`weir_contract::limits::FRAME_BYTES`] however
    /// short they are.
    pub fn max_rows(&self) -> usize {
        self.plan.max_rows
    }

    /// Rows of one frame that is made of so many bytes of text. More than [`max_rows`](Transform::max_rows) where the cells
    /// take no more than the text pays for.
    pub fn max_rows_of(&self, bytes: usize) -> usize {
        (bytes.saturating_mul(CELLS_PER_BYTE) / self.plan.row_bytes)
            .min(self.plan.max_added_rows)
            .max(self.plan.max_rows)
    }

    /// What a row takes in a frame beside its text, about.
    pub fn row_bytes(&self) -> usize {
        self.plan.row_bytes
    }

    /// Maps the fields of a CSV file to columns. `header` is the first record; it is not read when the contract says
    /// that there is none.
    ///
    /// # Errors
    /// Only when the contract wants a header and none is passed. A header that does not fit gives a layout that
    /// quarantines every record, with the reason; one that is none at all is a record itself
    /// ([`csv_without_header`](Transform::csv_without_header)).
    pub fn csv_layout(&self, header: Option<&[u8]>) -> Result<CsvLayout> {
        csv::layout(&self.plan.dialect, self.plan.given(), &self.plan.fields, header)
    }

    /// Transforms whole CSV records, the header cut off. The first record has position `first_position`; in a file
    /// without a header a byte order mark is accepted where positions begin (at 0 or 1).
    pub fn csv(&self, layout: &CsvLayout, chunk: &[u8], first_position: i64, lineage: &Lineage) -> Result<Output> {
        let Plan { dialect, fields, .. } = &*self.plan;
        let targets = self.plan.given();
        let decoded = csv::decode(dialect, layout, targets, fields, self.bounds(), chunk, first_position <= 1)?;
        self.finish(decoded, Positions::From(first_position), None, lineage)
    }

    /// Transforms the beginning of a CSV file whose first line is no header ([`CsvLayout::refusal`]): that line is refused
    /// as the record before the first, so that nothing of the file is missing in the books.
    pub fn csv_without_header(
        &self,
        layout: &CsvLayout,
        header: &[u8],
        chunk: &[u8],
        first_position: i64,
        lineage: &Lineage,
    ) -> Result<Output> {
        let mut output = self.csv(layout, chunk, first_position, lineage)?;
        let reason = layout.refusal().unwrap_or_default().to_owned();
        let record = (header.trim_ascii(), first_position.saturating_sub(1), reason);
        let header = self.quarantine_records(&[record], lineage)?;
        output.quarantined = header.quarantined.vstack(&output.quarantined)?;
        output.records += header.records;
        output.report.merge(header.report);
        Ok(output)
    }

    /// Transforms whole lines of JSON objects. The first non-blank line has position `first_position`.
    pub fn ndjson(&self, chunk: &[u8], first_position: i64, lineage: &Lineage) -> Result<Output> {
        let decoded = json::decode_lines(self.plan.given(), &self.plan.fields, self.bounds(), chunk)?;
        self.finish(decoded, Positions::From(first_position), None, lineage)
    }

    /// Transforms whole lines of JSON, whose records are where the contract says (`records`, `payload`): each line may hold
    /// several. A line without any is one refused record. Positions count records.
    pub fn json(&self, chunk: &[u8], first_position: i64, lineage: &Lineage) -> Result<Output> {
        if self.plan.shape.is_plain() {
            return self.ndjson(chunk, first_position, lineage);
        }
        let mut records: Vec<Cow<'_, [u8]>> = Vec::new();
        let mut refused = Vec::new();
        for line in json::lines(chunk) {
            if self.stop.is_set() {
                return Err(TransformError::Stopped);
            }
            match self.unfold(line, MAX_EVENT_RECORDS) {
                Ok(found) => records.extend(found),
                Err(reason) => {
                    refused.push((records.len(), reason));
                    records.push(Cow::Borrowed(line));
                }
            }
        }
        let bodies: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        let mut decoded = json::decode_bodies(self.plan.given(), &self.plan.fields, self.bounds(), &bodies)?;
        decoded.refuse(refused);
        self.finish(decoded, Positions::From(first_position), None, lineage)
    }

    /// Whether the records of a JSON line or body are to be looked for within it ([`unfold`](Transform::unfold)).
    pub fn unfolds(&self) -> bool {
        !self.plan.shape.is_plain()
    }

    /// Whether a line or body is one record all the same.
    pub fn keeps_count(&self) -> bool {
        self.plan.shape.keeps_count()
    }

    /// The records of one JSON line or body, where the contract says that they are: `most` at most.
    ///
    /// # Errors
    /// Why it has none: the reason to refuse it with, as one record.
    pub fn unfold<'t>(&self, text: &'t [u8], most: usize) -> std::result::Result<Vec<Cow<'t, [u8]>>, String> {
        self.plan.shape.records(&self.plan.fields, text, most)
    }

    /// Makes the schema of an Avro file ready, whose blocks become lines for [`ndjson`](Transform::ndjson).
    ///
    /// # Errors
    /// The reason to refuse the whole file with.
    pub fn avro_layout(&self, schema: &str, codec: &str) -> std::result::Result<AvroLayout, String> {
        let Plan { fields, max_record_bytes, payload, .. } = &*self.plan;
        AvroLayout::new(schema, codec, self.plan.given(), fields, payload.as_deref(), *max_record_bytes)
    }

    /// Transforms events, each body one JSON object with its own position, and nothing known of what is around it.
    ///
    /// # Errors
    /// When there are not as many positions as bodies.
    pub fn events(&self, bodies: &[&[u8]], positions: &[i64], lineage: &Lineage) -> Result<Output> {
        if bodies.len() != positions.len() {
            return Err(TransformError::Argument("every event needs exactly one position"));
        }
        let records: Vec<_> = bodies
            .iter()
            .zip(positions)
            .map(|(body, position)| EventRecord { body, position: *position, event: 0 })
            .collect();
        self.event_records(&records, &[EventMeta::default()], lineage)
    }

    /// Transforms records of events, in order.
    ///
    /// # Errors
    /// When a record's event is not among `events`.
    pub fn event_records(
        &self,
        records: &[EventRecord<'_>],
        events: &[EventMeta<'_>],
        lineage: &Lineage,
    ) -> Result<Output> {
        if records.iter().any(|record| record.event >= events.len()) {
            return Err(TransformError::Argument("every record needs its event"));
        }
        let plan = &*self.plan;
        let bodies: Vec<&[u8]> = records.iter().map(|record| record.body).collect();
        let positions: Vec<i64> = records.iter().map(|record| record.position).collect();
        let mut decoded = json::decode_bodies(plan.of_body(), &plan.fields, self.bounds(), &bodies)?;
        if !plan.event_fields.is_empty() {
            let lengths: Vec<usize> = match decoded.columns.first() {
                Some(column) if !records.is_empty() => column.chunk_lengths().collect(),
                _ => vec![records.len()],
            };
            events::fill(plan, &mut decoded, &lengths, |row| events[records[row].event])?;
        }
        events::say_content_types(&mut decoded.faults, |row| events[records[row].event]);
        let around = Around { events, of: &|row| records[row].event };
        self.finish(decoded, Positions::Each(&positions), Some(around), lineage)
    }

    /// What a Parquet file is to be opened with.
    pub fn max_record_bytes(&self) -> usize {
        self.plan.max_record_bytes
    }

    /// Transforms rows as read from Parquet, with the source's field names. In quarantine a row is a JSON object.
    pub fn rows(&self, step: &ParquetStep, first_position: i64, lineage: &Lineage) -> Result<Output> {
        let Plan { fields, max_record_bytes, .. } = &*self.plan;
        let conformed = rows::conform(self.plan.given(), fields, self.bounds(), step)?;
        let raw = rows::Raw::new(step, fields, *max_record_bytes);
        let records = Records {
            columns: conformed.columns,
            count: step.rows,
            faults: conformed.faults,
            rescued: conformed.rescued,
            added: conformed.added,
            positions: Positions::From(first_position),
            raw: &|row| raw.of(row),
            around: None,
        };
        finish(&self.plan, self.hold_back.as_deref(), records, lineage, &self.stop)
    }

    /// Quarantines records that the caller itself refuses (too long, undecodable): bytes, position and reason. The
    /// reason must name no value.
    pub fn quarantine_records(&self, records: &[(&[u8], i64, String)], lineage: &Lineage) -> Result<Output> {
        self.quarantine(records, |_| None, lineage)
    }

    /// [`Transform::quarantine_records`] of events, with what stands around each.
    ///
    /// # Errors
    /// When there are not as many events as records.
    pub fn quarantine_events(
        &self,
        records: &[(&[u8], i64, String)],
        events: &[EventMeta<'_>],
        lineage: &Lineage,
    ) -> Result<Output> {
        if records.len() != events.len() {
            return Err(TransformError::Argument("every record needs its event"));
        }
        self.quarantine(records, |row| Some((row, events[row])), lineage)
    }

    fn quarantine<'e>(
        &self,
        records: &[(&[u8], i64, String)],
        event: impl Fn(usize) -> Option<(usize, EventMeta<'e>)>,
        lineage: &Lineage,
    ) -> Result<Output> {
        let mut quarantine = Quarantine::new(&self.plan, records.len());
        for (row, (raw, position, reason)) in records.iter().enumerate() {
            let reasons = serde_json::Value::from(vec![reason.as_str()]).to_string();
            quarantine.push(*position, &reasons, raw, event(row));
        }
        let Output { mut report, clean, .. } = self.ndjson(&[], 0, lineage)?;
        let count = records.len() as u64;
        (report.records, report.faulty) = (count, count);
        records.iter().for_each(|(_, _, reason)| report.count_reason(reason.clone(), 1));
        report.bound();
        let quarantined = quarantine.finish(lineage)?;
        Ok(Output { clean, quarantined, records: count, held_back: None, report })
    }

    /// The one record that stands in quarantine for a blob that is held back whole, at position 0 and without bytes. The
    /// output has it as its only record; its report is empty, because it is none of the blob's records.
    pub fn held_back_record(&self, held_back: &HeldBack, lineage: &Lineage) -> Result<Output> {
        let mut quarantine = Quarantine::new(&self.plan, 1);
        quarantine.push(0, &serde_json::Value::from(held_back.report.clone()).to_string(), &[], None);
        let nothing = self.ndjson(&[], 0, lineage)?;
        Ok(Output { quarantined: quarantine.finish(lineage)?, records: 1, ..nothing })
    }

    fn finish(
        &self,
        decoded: Decoded<'_>,
        positions: Positions<'_>,
        around: Option<Around<'_>>,
        lineage: &Lineage,
    ) -> Result<Output> {
        let Decoded { columns, raw, faults, rescued, added } = decoded;
        let records = Records {
            columns: columns.into_iter().map(IntoColumn::into_column).collect::<Vec<Column>>(),
            count: raw.len(),
            faults,
            rescued,
            added,
            positions,
            raw: &|row| Cow::Borrowed(raw[row]),
            around,
        };
        finish(&self.plan, self.hold_back.as_deref(), records, lineage, &self.stop)
    }
}
