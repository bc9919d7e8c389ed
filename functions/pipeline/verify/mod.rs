//! Whether a dataset's tables hold what its sources give: these are read again with the contract of now, by the code that
//! ingests them, and compared row by row. Nothing is written.
//!
//! | | |
//! |---|---|
//! | `blobs.rs` | the blobs that the table's transaction ids name |
//! | `events.rs` | the events that the hub still has |
//! | `compare.rs` | a batch of records and the rows of both tables |
//! | `held.rs` | what both tables hold, at one moment |
//! | `findings.rs` | what differs |
//!
//! The tables are looked at before a source is read. Where rows differ they are looked at once more: what somebody has
//! committed of that source meanwhile is compared again.

mod blobs;
mod compare;
mod events;
mod findings;
mod held;

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;

use polars::prelude::DataFrame;
use serde::Serialize;
use serde_json::json;
use weir_contract::{SOURCE, Source};
use weir_lake::SourceRows;

use self::compare::Rules;
pub(crate) use self::findings::{Findings, SourceFindings};
use self::held::Held;
use crate::app::{App, Dataset, Runtime};
use crate::error::AppError;

/// How often what changes meanwhile is compared again.
const ATTEMPTS: usize = 3;
/// Sources that a report names which could not be compared, or that nobody knows.
const MOST_NAMED: usize = 1_000;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// Blobs: a path or a pattern as in contracts.
    pub(crate) source: Option<String>,
    /// Events.
    pub(crate) partition: Option<u32>,
    pub(crate) from: Option<i64>,
    pub(crate) to: Option<i64>,
    /// Rows that are told; all are counted.
    pub(crate) limit: usize,
    pub(crate) shows_values: bool,
}

impl Order {
    /// Whether it is about all that the tables hold.
    fn is_whole(&self) -> bool {
        self.source.is_none() && self.partition.is_none() && self.from.is_none() && self.to.is_none()
    }
}

/// A source that could not be compared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Unverified {
    pub(crate) source: String,
    pub(crate) why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Sources that were compared.
    pub(crate) sources: u64,
    pub(crate) findings: Findings,
    pub(crate) unverified: Vec<Unverified>,
    /// Those too that are not named.
    pub(crate) unverified_count: u64,
    /// Rows of sources that no transaction id names, by source.
    pub(crate) strangers: BTreeMap<String, u64>,
    pub(crate) stranger_rows: u64,
    /// What puts all of several sources right.
    pub(crate) command: Option<String>,
    /// Sources that could not be read.
    pub(crate) errors: Vec<Unverified>,
}

impl Report {
    pub(crate) fn is_equal(&self) -> bool {
        self.findings.differing == 0 && self.stranger_rows == 0
    }

    fn unverified(&mut self, source: &str, why: impl Into<String>, command: Option<String>) {
        self.unverified_count += 1;
        if self.unverified.len() < MOST_NAMED {
            self.unverified.push(Unverified { source: source.to_owned(), why: why.into(), command });
        }
    }

    fn failed(&mut self, source: &str, error: &AppError) {
        if self.errors.len() < MOST_NAMED {
            self.errors.push(Unverified { source: source.to_owned(), why: error.to_string(), command: None });
        }
    }

    pub(crate) fn to_json(&self, dataset: &str) -> serde_json::Value {
        json!({
            "dataset": dataset,
            "equal": self.is_equal(),
            "sources": self.sources,
            "records": self.findings.records,
            "reworded": self.findings.reworded,
            "differing": self.findings.differing,
            "counts": self.findings.counts,
            "differences": self.findings.sources,
            "command": self.command,
            "unverified": self.unverified,
            "unverifiedCount": self.unverified_count,
            "strangers": self.strangers,
            "strangerRows": self.stranger_rows,
            "errors": self.errors,
        })
    }
}

/// What the two kinds of sources share.
struct Work<'a> {
    runtime: &'a Runtime,
    dataset: &'a Arc<Dataset>,
    rules: Rules,
    order: Order,
    /// Told of each source that is done, of how many.
    watch: &'a dyn Fn(usize, usize),
}

/// Compares what a dataset's tables hold with what its sources give.
///
/// # Errors
/// When nothing could be compared, or nothing is what was asked for. What concerns one source alone stands in the report.
pub(crate) async fn verify(
    app: &App,
    dataset: &str,
    order: Order,
    watch: &dyn Fn(usize, usize),
) -> Result<Report, AppError> {
    let runtime = app.runtime().await?;
    let dataset = runtime.dataset(dataset)?;
    let rules = Rules::of(dataset, order.shows_values);
    let mut report = Report { findings: Findings::new(order.limit), ..Report::default() };
    let is_whole = order.is_whole();
    let work = Work { runtime, dataset, rules, order, watch };
    match &dataset.contract.source {
        Source::Blob { .. } => blobs::verify(&work, &mut report).await?,
        Source::Events { .. } => events::verify(&work, &mut report).await?,
        source @ Source::Derived(_) => {
            let (name, takes) = (dataset.contract.name.clone(), source.takes());
            return Err(AppError::WrongSource { name, takes, given: "sources to be read again" });
        }
    }
    if is_whole && dataset.ids_expire_ms().is_none() {
        strangers(&work, &mut report).await?;
    }
    let Report { sources, unverified_count, errors, .. } = &report;
    if !is_whole && *sources == 0 && *unverified_count == 0 && errors.is_empty() {
        return Err(AppError::NothingToVerify { dataset: dataset.contract.name.clone() });
    }
    Ok(report)
}

/// Rows of sources that neither table's ids name: others brought them.
async fn strangers(work: &Work<'_>, report: &mut Report) -> Result<(), AppError> {
    let Some(held) = Held::now(work.runtime, work.dataset).await? else { return Ok(()) };
    for side in held.both() {
        for file in &side.files {
            let frame = side.table.read_columns(file, &[SOURCE]).await?;
            let column = frame.column(SOURCE).and_then(|column| Ok(column.str()?.clone()));
            let column = column.map_err(|error| AppError::Transform(error.into()))?;
            for source in column.iter() {
                let source = source.unwrap_or_default();
                if held.stands(source) != (None, None) {
                    continue;
                }
                report.stranger_rows += 1;
                if report.strangers.len() < MOST_NAMED || report.strangers.contains_key(source) {
                    *report.strangers.entry(source.to_owned()).or_default() += 1;
                }
            }
        }
    }
    Ok(())
}

/// How many rows both tables have of a source at some positions.
async fn rows_at(held: &Held, sources: &[String], positions: RangeInclusive<i64>) -> Result<u64, AppError> {
    let mut count = 0;
    for side in held.both() {
        let rows = SourceRows { sources, positions: positions.clone(), since_us: None };
        let each = |frame: DataFrame| {
            count += frame.height() as u64;
            Ok(ControlFlow::Continue(()))
        };
        side.table.rows_in(&side.files, rows, &[SOURCE], each).await?;
    }
    Ok(count)
}
