//! The Delta log: where it is, what its actions look like, and how the state of a table is replayed from it.

pub(crate) mod actions;
pub(crate) mod checkpoint;
mod guard;
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

/// What an object of `_delta_log` is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogObject {
    Commit(i64),
    /// A checkpoint, or one part of one.
    Checkpoint {
        version: i64,
        single: bool,
    },
    Other,
}

impl LogObject {
    pub(crate) fn of(object: &ObjectMeta) -> Self {
        let name = object.location.filename().unwrap_or_default();
        let Some((version, rest)) = name.split_once('.') else { return Self::Other };
        match (version.parse::<i64>(), rest) {
            (Ok(version), "json") => Self::Commit(version),
            (Ok(version), "checkpoint.parquet") => Self::Checkpoint { version, single: true },
            (Ok(version), rest) if rest.starts_with("checkpoint.") && rest.ends_with(".parquet") => {
                Self::Checkpoint { version, single: false }
            }
            _ => Self::Other,
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
        found.bytes().await.map(Some).map_err(|error| self.store_error("read", &path, error))
    }

    /// Whether a table that was not there is there now: it has its first commit, or what that was cleaned up after.
    pub(crate) async fn is_there_now(&self) -> Result<bool, LakeError> {
        for path in [commit_path(&self.root, 0), log_folder(&self.root).join("_last_checkpoint")] {
            match self.store.head(&path).await {
                Ok(_) => return Ok(true),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.store_error("look for", &path, error)),
            }
        }
        Ok(false)
    }

    pub(crate) fn decode(&self, version: i64, bytes: &[u8]) -> Result<Vec<Line>, LakeError> {
        actions::decode(bytes).map_err(|message| self.corrupt(commit_path(&self.root, version), message))
    }
}
