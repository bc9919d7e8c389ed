//! A file read as ingestion would read it now, and nothing written anywhere.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use azure_functions_custom_handler::Event;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use polars::prelude::DataFrame;
use serde::Serialize;
use weir_contract::{REASONS, RESCUED, SOURCE_POSITION, Source};
use weir_intake::Blob;
use weir_transform::{Lineage, Output, QualityReport};

use super::blob::{BlobRef, Extent, Records};
use super::bodies::{Bodies, HubPlace, Time};
use crate::app::Dataset;
use crate::error::AppError;

/// Bytes of a file of event bodies: it is read whole.
const MAX_BODIES_BYTES: u64 = 256 * 1024 * 1024;

/// The records of a file, a chunk at a time.
pub(crate) struct Trial(Reader);

enum Reader {
    Blob(Box<Records>),
    Bodies(Box<Bodies>),
}

impl Trial {
    /// The file as a blob of its name, or as a file of event bodies, one a line, where the contract takes events.
    pub(crate) async fn open(dataset: &Arc<Dataset>, file: &FilePath) -> Result<Self, AppError> {
        let name = file_name(file);
        let failed = |source| AppError::File { file: file.to_owned(), source };
        if let Source::Events { hub, .. } = &dataset.contract.source {
            let size = std::fs::metadata(file).map_err(failed)?.len();
            if size > MAX_BODIES_BYTES {
                let problem = "a file of event bodies may have 256 MiB at most; take some of its lines";
                return Err(failed(std::io::Error::other(problem)));
            }
            let bodies = bodies(std::fs::read(file).map_err(failed)?.into());
            let placed = bodies.into_iter().map(Event::new).zip(0..).map(|(event, number)| (number, event)).collect();
            let place = HubPlace { hub: hub.clone(), partition: "0".to_owned() };
            let time = Time { until: None, of_one: Duration::from_secs(60) };
            let bodies = Bodies::new(Arc::clone(dataset), place, placed, lineage(&name, "1"), time);
            return Ok(Self(Reader::Bodies(Box::new(bodies))));
        }
        let at = BlobRef::new("file", &name, None)?;
        let blob = blob(file).await?;
        let lineage = lineage(&at.id(), blob.etag());
        let records = Records::open(dataset, &at, blob, lineage, Extent::Whole).await?;
        Ok(Self(Reader::Blob(Box::new(records))))
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Output>, AppError> {
        match &mut self.0 {
            Reader::Blob(records) => Ok(records.next().await?.map(|chunk| chunk.output)),
            Reader::Bodies(bodies) => bodies.next().await,
        }
    }
}

/// The name of a file in its folder; empty if it has none.
pub(crate) fn file_name(file: &FilePath) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file of this machine, as a blob.
pub(crate) async fn blob(file: &FilePath) -> Result<Blob, AppError> {
    let failed = |source| AppError::File { file: file.to_owned(), source };
    let path = file.canonicalize().map_err(failed)?;
    let key = Path::from_absolute_path(&path).map_err(|error| failed(std::io::Error::other(error)))?;
    Ok(Blob::open(Arc::new(LocalFileSystem::new()), key, None).await?)
}

fn lineage(source: &str, version: &str) -> Lineage {
    Lineage {
        source: source.to_owned(),
        source_version: version.to_owned(),
        ingested_at_us: chrono::Utc::now().timestamp_micros(),
    }
}

/// Lines, or all of it where lines are none: a document, or a packed body.
fn bodies(bytes: Bytes) -> Vec<Bytes> {
    let lines: Vec<&[u8]> =
        bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect();
    let is_value = |line: &&&[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    match lines.iter().take(10).all(|line| is_value(&line)) {
        true => lines.into_iter().map(|line| bytes.slice_ref(line)).collect(),
        false => vec![bytes],
    }
}

/// What would become of a file.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tried {
    pub(crate) records: u64,
    pub(crate) committed: u64,
    pub(crate) quarantined: u64,
    /// Reasons and the records that have them, the most frequent first.
    pub(crate) reasons: Vec<Reason>,
    /// Violations of rules that leave the row where it is, by the rule's name.
    pub(crate) rules: BTreeMap<String, u64>,
    /// Why nothing of the file would reach the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_back: Option<Vec<String>>,
    /// Rows of which unknown fields would be kept in `_rescued`.
    pub(crate) rescued: u64,
    /// Rows of which unknown fields would be left out, because a column is personal.
    pub(crate) left_out: u64,
    pub(crate) columns: Vec<Filled>,
    /// Whether every record of the file was read.
    pub(crate) complete: bool,
    #[serde(skip)]
    report: QualityReport,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reason {
    pub(crate) reason: String,
    pub(crate) records: u64,
    /// Place of the first of them in the file, from 1; of events the number of the body, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<i64>,
}

/// How many rows have a value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filled {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) data_type: String,
    pub(crate) rows: u64,
}

impl Tried {
    pub(crate) fn new(dataset: &Dataset) -> Self {
        let columns = dataset.contract.columns.iter().filter_map(|column| {
            let data_type = column.table_type()?.to_string();
            Some(Filled { name: column.name.clone(), data_type, rows: 0 })
        });
        Self { columns: columns.collect(), ..Self::default() }
    }

    pub(crate) fn add(&mut self, output: Output) {
        let Output { clean, quarantined, records, report, .. } = output;
        self.records += records;
        self.committed += clean.height() as u64;
        self.quarantined += quarantined.height() as u64;
        let filled = |name: &str| clean.column(name).map_or(0, |column| (column.len() - column.null_count()) as u64);
        self.rescued += filled(RESCUED);
        for column in &mut self.columns {
            column.rows += filled(&column.name);
        }
        for reason in report.reasons.keys() {
            if !self.reasons.iter().any(|known| known.reason == *reason) {
                self.reasons.push(Reason {
                    reason: reason.clone(),
                    records: 0,
                    first: first_with(&quarantined, reason),
                });
            }
        }
        self.report.merge(report);
    }

    /// `complete`: the whole file was read, so that its contract's verdict on it is known.
    pub(crate) fn finish(mut self, dataset: &Dataset, complete: bool) -> Self {
        self.complete = complete;
        for reason in &mut self.reasons {
            reason.records = self.report.reasons.get(&reason.reason).copied().unwrap_or(0);
        }
        self.reasons.retain(|reason| reason.records > 0);
        self.reasons.sort_by(|a, b| b.records.cmp(&a.records).then_with(|| a.reason.cmp(&b.reason)));
        self.left_out = self.report.left_out;
        self.rules = self.report.rules.iter().map(|(name, count)| (name.clone(), count.violations)).collect();
        if complete && let Some(held_back) = self.report.verdict(&dataset.contract) {
            self.held_back = Some(held_back.report);
            (self.committed, self.quarantined) = (0, self.records);
        }
        self
    }
}

/// The place of the first refused record that has a reason.
fn first_with(quarantined: &DataFrame, reason: &str) -> Option<i64> {
    let quoted = serde_json::to_string(reason).ok()?;
    let reasons = quarantined.column(REASONS).ok()?.str().ok()?;
    let row = reasons.iter().position(|reasons| reasons.is_some_and(|reasons| reasons.contains(&quoted)))?;
    quarantined.column(SOURCE_POSITION).ok()?.i64().ok()?.get(row)
}
