//! The Delta log: where it is, what its actions look like, and how the state of a table is replayed from it.

pub(crate) mod actions;
pub(crate) mod checkpoint;
mod guard;
pub(crate) mod head;
pub(crate) mod left_behind;
mod parsed_stats;
pub(crate) mod state;

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use self::actions::Line;
use crate::data::files::from_log_path;
use crate::error::LakeError;

/// A commit larger than this is not one of ours; refusing it keeps memory bounded.
const MAX_COMMIT_BYTES: u64 = 256 * 1024 * 1024;

/// `_delta_log`
pub(crate) fn log_folder(table_root: &Path) -> Path {
    table_root.clone().join("_delta_log")
}

/// `_delta_log/00000000000000000042.json`
pub(crate) fn commit_path(table_root: &Path, version: i64) -> Path {
    log_folder(table_root).join(format!("{version:020}.json"))
}

/// An object path of the table from a path in its log.
pub(crate) fn object_path(root: &Path, log_path: &str) -> Result<Path, String> {
    from_log_path(root, log_path).ok_or_else(|| "a data file outside the table's folder".to_owned())
}

/// A commit file as the store has it.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) bytes: Bytes,
    pub(crate) mark: Mark,
}

/// What tells an object from a later one of the same name, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) e_tag: Option<String>,
    /// When the store took it, by its own clock: milliseconds since the epoch.
    pub(crate) written_ms: Option<i64>,
}

impl Mark {
    pub(crate) fn of(object: &ObjectMeta) -> Self {
        Self { e_tag: object.e_tag.clone(), written_ms: Some(object.last_modified.timestamp_millis()) }
    }

    /// Whether both are certainly of different objects.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        matches!((&self.e_tag, &other.e_tag), (Some(left), Some(right)) if left != right)
    }
}

/// What an object of `_delta_log` is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogObject {
    Commit(i64),
    /// A checkpoint, or a part of one.
    Checkpoint {
        version: i64,
        shape: Shape,
    },
    Other,
}

/// How a checkpoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In one Parquet file.
    Single,
    /// In so many, of which this is one.
    Part { parts: u32 },
    /// Under a name of its own, perhaps with sidecars (version 2 of checkpoints).
    Named,
}

impl LogObject {
    pub(crate) fn of(object: &ObjectMeta) -> Self {
        let name = object.location.filename().unwrap_or_default();
        let Some((version, rest)) = name.split_once('.') else { return Self::Other };
        match (version.parse::<i64>(), rest) {
            (Ok(version), "json") => Self::Commit(version),
            (Ok(version), rest) => match Shape::of(rest) {
                Some(shape) => Self::Checkpoint { version, shape },
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

impl Shape {
    /// From what follows the version in a name.
    fn of(rest: &str) -> Option<Self> {
        let words: Vec<_> = rest.split('.').collect();
        match words.as_slice() {
            ["checkpoint", "parquet"] => Some(Self::Single),
            ["checkpoint", part, parts, "parquet"] if part.parse::<u32>().is_ok() => {
                Some(Self::Part { parts: parts.parse().ok()? })
            }
            ["checkpoint", _, "parquet" | "json"] => Some(Self::Named),
            _ => None,
        }
    }
}

/// Where a table is. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Location {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) root: Path,
    pub(crate) name: String,
}

impl Location {
    pub(crate) fn store_error(&self, action: &'static str, path: &Path, source: object_store::Error) -> LakeError {
        LakeError::Store { table: self.name.clone(), action, path: path.clone(), source: Box::new(source) }
    }

    pub(crate) fn corrupt(&self, path: impl ToString, message: impl ToString) -> LakeError {
        LakeError::Corrupt { table: self.name.clone(), path: path.to_string(), message: message.to_string() }
    }

    /// The bytes of commit `version`; `None` when it does not exist (yet).
    pub(crate) async fn read_commit(&self, version: i64) -> Result<Option<Bytes>, LakeError> {
        Ok(self.commit(version).await?.map(|commit| commit.bytes))
    }

    /// Commit `version`; `None` when it does not exist (yet).
    pub(crate) async fn commit(&self, version: i64) -> Result<Option<Commit>, LakeError> {
        let path = commit_path(&self.root, version);
        let found = match self.store.get(&path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.store_error("read", &path, error)),
        };
        if found.meta.size > MAX_COMMIT_BYTES {
            return Err(
                self.corrupt(&path, format!("commit of {} bytes; the limit is {MAX_COMMIT_BYTES}", found.meta.size))
            );
        }
        let mark = Mark::of(&found.meta);
        let bytes = found.bytes().await.map_err(|error| self.store_error("read", &path, error))?;
        Ok(Some(Commit { bytes, mark }))
    }

    /// Whether a table that was not there is there now: it has its first commit, or what that was cleaned up after.
    pub(crate) async fn is_there_now(&self) -> Result<bool, LakeError> {
        Ok(self.named_head().await? != head::Head::Missing)
    }

    /// What the store says of an object; `None` when it is not there.
    pub(crate) async fn mark(&self, path: &Path) -> Result<Option<Mark>, LakeError> {
        match self.store.head(path).await {
            Ok(object) => Ok(Some(Mark::of(&object))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.store_error("look for", path, error)),
        }
    }

    pub(crate) fn decode(&self, version: i64, bytes: &[u8]) -> Result<Vec<Line>, LakeError> {
        actions::decode(bytes).map_err(|message| self.corrupt(commit_path(&self.root, version), message))
    }

    /// Folders and files that begin with `_` or `.` are not data: the log, leases, what other engines keep.
    pub(crate) fn is_hidden(&self, location: &Path) -> bool {
        let Some(mut parts) = location.prefix_match(&self.root) else { return true };
        // A partition column may begin with `_`, and then its folder does.
        parts.any(|part| {
            let part = part.as_ref();
            part.starts_with('.') || (part.starts_with('_') && !part.contains('='))
        })
    }

    /// An entry of another table that cannot be replaced: see [`left_behind`].
    pub(crate) fn left_behind(&self, version: i64) -> LakeError {
        self.corrupt(
            commit_path(&self.root, version),
            "is a commit of another table, left behind when the table's folder was deleted and made anew; remove this file",
        )
    }
}
