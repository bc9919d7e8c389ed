//! The Delta log: what its actions look like, and how the state of a table is replayed from it.

pub(crate) mod actions;
pub(crate) mod replay;

use object_store::path::Path;

/// `_delta_log/00000000000000000042.json`
pub(crate) fn commit_path(table_root: &Path, version: i64) -> Path {
    table_root.clone().join("_delta_log").join(format!("{version:020}.json"))
}
