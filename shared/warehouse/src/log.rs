//! One commit of a Delta log as the planner needs it. Unknown actions and fields are skipped, as the protocol asks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::plan::DataFile;

/// Everything of a commit that can change rows.
#[derive(Debug, Default)]
pub(crate) struct Actions {
    /// `add` with `dataChange=true`, in the order of the log.
    pub(crate) adds: Vec<DataFile>,
    /// Paths of every `remove`.
    pub(crate) removes: Vec<String>,
    /// Some `remove` has `dataChange=true`: rows went, not only files.
    pub(crate) rows_removed: bool,
    /// Some added file is to be read through a deletion vector.
    pub(crate) deletion_vectors: bool,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) replaced: Option<Replaced>,
}

/// Weir's own note in `commitInfo`: the rows of this source (of these sequence numbers, both ends included) were replaced.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Replaced {
    pub(crate) source: String,
    pub(crate) positions: Option<(i64, i64)>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) id: String,
    #[serde(rename = "schemaString")]
    pub(crate) schema: String,
}

/// Reads the JSON lines of one commit.
pub(crate) fn parse(version: i64, body: &[u8]) -> Result<Actions, Error> {
    let mut actions = Actions::default();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let fail = |detail: String| Error::Log { version, line: index + 1, detail };
        // serde_json's own message may quote the line, so only the place is told.
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| fail(format!("not a Delta action (at byte {} of the line)", error.column())))?;
        actions.take(line).map_err(|detail| fail(detail.to_owned()))?;
    }
    Ok(actions)
}

impl Actions {
    fn take(&mut self, line: Line<'_>) -> Result<(), &'static str> {
        if let Some(add) = line.add {
            self.deletion_vectors |= add.deletion_vector.is_some();
            if add.data_change {
                self.adds.push(add.file()?);
            }
        }
        if let Some(remove) = line.remove {
            self.rows_removed |= remove.data_change;
            self.removes.push(decode(&remove.path)?);
        }
        self.metadata = line.metadata.or(self.metadata.take());
        let note = line.commit_info.as_ref().and_then(|info| info.get("weir")).and_then(Replaced::from_note);
        self.replaced = note.or(self.replaced.take());
        Ok(())
    }
}

impl Replaced {
    /// `None` for another operation, and for a note that is not as we write it: the planner then reloads.
    fn from_note(note: &Value) -> Option<Self> {
        if note.get("operation")?.as_str()? != "replace_source" {
            return None;
        }
        let positions = match note.get("positions") {
            None | Some(Value::Null) => None,
            Some(Value::Array(ends)) => match ends.as_slice() {
                [first, last] => Some((first.as_i64()?, last.as_i64()?)),
                _ => return None,
            },
            Some(_) => return None,
        };
        Some(Replaced { source: note.get("source")?.as_str()?.to_owned(), positions })
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    add: Option<Add<'a>>,
    #[serde(borrow)]
    remove: Option<Remove<'a>>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    #[serde(rename = "commitInfo")]
    commit_info: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default)]
    partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    size: u64,
    #[serde(default = "yes")]
    data_change: bool,
    #[serde(borrow)]
    stats: Option<Cow<'a, str>>,
    deletion_vector: Option<serde::de::IgnoredAny>,
}

impl Add<'_> {
    fn file(self) -> Result<DataFile, &'static str> {
        #[derive(Deserialize)]
        struct Stats {
            #[serde(rename = "numRecords")]
            num_records: Option<u64>,
        }
        // Statistics are optional, so broken ones count as none.
        let stats = self.stats.as_deref().and_then(|text| serde_json::from_str::<Stats>(text).ok());
        Ok(DataFile {
            path: decode(&self.path)?,
            partition_values: self.partition_values,
            num_records: stats.and_then(|stats| stats.num_records),
            size_bytes: self.size,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remove<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(default = "yes")]
    data_change: bool,
}

/// An action that does not say is taken to change data: that costs a reload at worst.
fn yes() -> bool {
    true
}

/// Paths are percent-encoded once in the log, on top of what a partition's folder name already encodes.
fn decode(path: &str) -> Result<String, &'static str> {
    match percent_decode_str(path).decode_utf8() {
        Ok(path) if !path.is_empty() => Ok(path.into_owned()),
        Ok(_) => Err("a file action without a path"),
        Err(_) => Err("a path that is not UTF-8 once decoded"),
    }
}
