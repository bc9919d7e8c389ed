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
    /// `add` with `dataChange=false`: rows that were there before, in another file.
    pub(crate) kept: Vec<DataFile>,
    /// Paths of every `remove`.
    pub(crate) removes: Vec<String>,
    /// `remove` with `dataChange=true`: rows went, not only files.
    pub(crate) removed: Vec<DataFile>,
    /// Some added file is to be read through a deletion vector.
    pub(crate) deletion_vectors: bool,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) note: Option<Note>,
}

/// Weir's own note in `commitInfo`: which rows went. The rest of the commit says which came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// The rows of this source (at these positions, both ends included).
    Replaced { source: String, positions: Option<(i64, i64)> },
    /// The rows that have the key of a new one. `covered`: no others went; else some went although a newer one stays.
    Upserted { keys: Vec<String>, covered: bool },
    /// Rows that the note does not name, because their keys are personal, or that are of many sources: the files tell.
    Deleted,
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
            let files = if add.data_change { &mut self.adds } else { &mut self.kept };
            files.push(add.file()?);
        }
        if let Some(remove) = line.remove {
            self.deletion_vectors |= remove.deletion_vector.is_some();
            let file = remove.file()?;
            self.removes.push(file.path.clone());
            self.removed.extend(Some(file).filter(|_| remove.data_change));
        }
        self.metadata = line.metadata.or(self.metadata.take());
        let note = line.commit_info.as_ref().and_then(|info| info.get("weir")).and_then(Note::read);
        self.note = note.or(self.note.take());
        Ok(())
    }
}

impl Note {
    /// `None` for another operation, and for a note that is not as we write it: the planner then reloads.
    fn read(note: &Value) -> Option<Self> {
        match note.get("operation")?.as_str()? {
            "replace_source" => Self::replaced(note),
            "upsert" => {
                let keys = note.get("keys")?.as_array()?.iter().map(|key| Some(key.as_str()?.to_owned()));
                let keys = keys.collect::<Option<Vec<_>>>().filter(|keys| !keys.is_empty())?;
                let covered = note.get("covered").and_then(Value::as_bool).unwrap_or(false);
                Some(Self::Upserted { keys, covered })
            }
            "delete_where" | "replace_sources" => Some(Self::Deleted),
            _ => None,
        }
    }

    fn replaced(note: &Value) -> Option<Self> {
        let positions = match note.get("positions") {
            None | Some(Value::Null) => None,
            Some(Value::Array(ends)) => match ends.as_slice() {
                [first, last] => Some((first.as_i64()?, last.as_i64()?)),
                _ => return None,
            },
            Some(_) => return None,
        };
        Some(Self::Replaced { source: note.get("source")?.as_str()?.to_owned(), positions })
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
    #[serde(default)]
    partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default = "yes")]
    data_change: bool,
    deletion_vector: Option<serde::de::IgnoredAny>,
}

impl Remove<'_> {
    /// Only its lineage will be read, which is never in partition values: those are optional here.
    fn file(&self) -> Result<DataFile, &'static str> {
        Ok(DataFile {
            path: decode(&self.path)?,
            partition_values: self.partition_values.clone().unwrap_or_default(),
            num_records: None,
            size_bytes: self.size.unwrap_or(0),
        })
    }
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
