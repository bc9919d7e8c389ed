//! What changed in a table from one version to the next, file by file, and what a file's statistics say of a column of
//! whole numbers: what a reader needs to know which of its own results are out of date.

use chrono::{DateTime, NaiveDate};
use serde_json::Value;
use weir_contract::{DataType, TableColumn};

use crate::error::LakeError;
use crate::log::actions::{Line, Remove};
use crate::log::object_path;
use crate::snapshot::FileEntry;
use crate::table::Table;

/// The files of one commit that rows came with or went with. A commit that moved rows from file to file has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub version: i64,
    /// Rows that are new.
    pub added: Vec<FileEntry>,
    /// Rows that went, unless they are in `kept`. Without statistics: the log has none of them.
    pub removed: Vec<FileEntry>,
    /// Rows of removed files that stay. Empty where the commit is not one of Weir's, whose word it is.
    pub kept: Vec<FileEntry>,
}

impl Change {
    /// Whether any row came or went.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Table {
    /// What changed in the commits `from..=to`. `None` when the log does not have all of them any more.
    pub async fn changes(&self, from: i64, to: i64) -> Result<Option<Vec<Change>>, LakeError> {
        let mut changes = Vec::new();
        for version in from..=to {
            let Some(bytes) = self.at.read_commit(version).await? else { return Ok(None) };
            let change = self.change(version, self.at.decode(version, &bytes)?)?;
            if !change.is_empty() {
                changes.push(change);
            }
        }
        Ok(Some(changes))
    }

    fn change(&self, version: i64, lines: Vec<Line>) -> Result<Change, LakeError> {
        let root = &self.at.root;
        let (mut added, mut removed, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let mut ours = false;
        for line in lines {
            ours |= line.commit_info.is_some_and(|info| info.weir.is_some());
            if let Some(add) = line.add {
                let files = if add.data_change { &mut added } else { &mut kept };
                files.push(FileEntry::from_add(root, add).map_err(|message| self.at.corrupt(root, message))?);
            }
            if let Some(remove) = line.remove.filter(|remove| remove.data_change) {
                let Remove { path: log_path, partition_values, size, .. } = remove;
                let object = object_path(root, &log_path).map_err(|message| self.at.corrupt(&log_path, message))?;
                removed.push(FileEntry {
                    object,
                    log_path,
                    partition_values: partition_values.unwrap_or_default(),
                    size: size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                    rows: None,
                    stats: None,
                });
            }
        }
        // What another engine calls unchanged may be of other files than those that it removes.
        let kept = if ours && !removed.is_empty() { kept } else { Vec::new() };
        Ok(Change { version, added, removed, kept })
    }
}

/// What is certain of a column of a file: its values are within, as whole numbers (days, or microseconds, since 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholeRange {
    /// `None`: the file may hold any value.
    pub bounds: Option<(i64, i64)>,
    /// Rows without a value; `None`: unknown.
    pub nulls: Option<u64>,
    pub rows: Option<u64>,
}

impl FileEntry {
    /// What partition values and statistics say of a column of dates, timestamps or whole numbers.
    pub fn whole_range(&self, column: &TableColumn) -> WholeRange {
        let rows = self.rows;
        if let Some(value) = self.partition_values.get(&column.name) {
            let value = value.as_deref().filter(|value| !value.is_empty());
            let nulls = if value.is_none() { rows } else { Some(0) };
            let whole = value.and_then(|value| whole(&Value::from(value), column.data_type));
            return WholeRange { bounds: whole.map(|whole| (whole, whole)), nulls, rows };
        }
        let stats: Value = self.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        let bound = |kind: &str| whole(stats.get(kind)?.get(&column.name)?, column.data_type);
        let nulls = stats.get("nullCount").and_then(|counts| counts.get(&column.name)).and_then(Value::as_u64);
        let bounds = bound("minValues").zip(bound("maxValues"));
        // Writers cut times to milliseconds, downwards.
        let slack = if column.data_type == DataType::Timestamp { 999 } else { 0 };
        WholeRange { bounds: bounds.map(|(min, max)| (min, max.saturating_add(slack))), nulls, rows }
    }
}

/// A value of statistics or a partition as a whole number. `None` in doubt.
fn whole(value: &Value, data_type: DataType) -> Option<i64> {
    let text = value.as_str();
    match data_type {
        DataType::Date => {
            let date = NaiveDate::parse_from_str(text?, "%Y-%m-%d").ok()?;
            Some(i64::from(date.to_epoch_days()))
        }
        DataType::Timestamp => Some(DateTime::parse_from_rfc3339(text?).ok()?.timestamp_micros()),
        _ => value.as_i64().or_else(|| text?.parse().ok()),
    }
}
