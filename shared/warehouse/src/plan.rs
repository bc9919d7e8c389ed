//! The load planner: what has to be done to a warehouse table so that it holds what the lake holds.
//!
//! Pure. It reads raw Delta commits, so it neither opens nor replays the table. Guarantee: applying the plans of a
//! history, cut into windows anywhere, gives the rows that a full read of the last version gives. Whatever the log
//! does not tell exactly (rewrites by others, commits that are gone) becomes a full reload that says why.

use std::collections::{BTreeMap, HashSet};

use weir_contract::{DataType, SOURCE, SOURCE_POSITION, TableColumn};

use crate::log::{self, Actions, Metadata, Note};
use crate::schema::{self, Change};
use crate::{Error, Watermark};

/// What the lake knows about a table now, and its log since the watermark.
#[derive(Debug, Clone, Copy)]
pub struct LogWindow<'a> {
    /// Delta's table id at `latest`.
    pub table_id: &'a str,
    /// Delta's `schemaString` at `latest`.
    pub schema: &'a str,
    pub latest: i64,
    /// From the watermark's version + 1, without gaps, up to `latest` or to any version before it. Empty when there
    /// is no watermark. A version that the store no longer has is left out.
    pub commits: &'a [RawCommit<'a>],
}

/// `_delta_log/<version>.json`, as stored.
#[derive(Debug, Clone, Copy)]
pub struct RawCommit<'a> {
    pub version: i64,
    pub body: &'a [u8],
}

/// What one plan may hold, so that one load stays one reasonable transaction. A plan that would hold more ends at a
/// commit before `latest`; the next one goes on from there. One commit always fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub commits: usize,
    pub files: usize,
    /// Sum of the files' sizes in the lake.
    pub data_bytes: u64,
    /// A larger commit is not parsed: the table is reloaded.
    pub commit_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { commits: 10_000, files: 50_000, data_bytes: 4 << 30, commit_bytes: 256 << 20 }
    }
}

/// What to do to the warehouse table.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// The warehouse is at `version`, the lake's latest.
    Nothing { version: i64 },
    /// Apply `steps` in order; then the table is at `to`. There may be no steps (only compactions happened).
    Load { from: Watermark, to: Watermark, steps: Vec<Step> },
    /// Replace all rows by those of the snapshot at `to`. `from` is what the warehouse holds now.
    Reload { from: Option<Watermark>, to: Watermark, reason: ReloadReason },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// New nullable columns. At most one such step, and the first: rows and files from before simply lack them.
    AddColumns(Vec<TableColumn>),
    /// Insert the rows of these files; a file that is loaded already is skipped.
    Append { files: Vec<DataFile> },
    /// Delete the rows with this `_source` (of events with these sequence numbers, both included: where their rows are
    /// says [`weir_contract::positions_of`]), then insert the rows of `files`.
    ReplaceSource { source: String, positions: Option<(i64, i64)>, files: Vec<DataFile> },
    /// Delete the rows that have the key of a row of `files`, then insert those. No key is there twice in `files`.
    Upsert { keys: Vec<String>, files: Vec<DataFile> },
    /// Delete the rows of `removed` that are not in `kept`, and earlier copies of those of `files`; then insert the rows
    /// of `files`. Rows are told apart by `_source` and `_source_position`, which no two rows of a table share.
    Rewrite { removed: Vec<DataFile>, kept: Vec<DataFile>, files: Vec<DataFile> },
    /// The lake took these files out of the table, so a later `Append` of the same path is new. No rows change.
    Forget { paths: Vec<String> },
}

/// A file of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the table's root (or absolute, as Delta allows), decoded.
    pub path: String,
    pub partition_values: BTreeMap<String, Option<String>>,
    /// From the file's statistics.
    pub num_records: Option<u64>,
    pub size_bytes: u64,
}

/// Why the log alone is not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadReason {
    #[error("first load")]
    FirstLoad,
    #[error("the table was recreated")]
    TableRecreated,
    #[error("the lake is at version {latest}, behind the warehouse at {loaded}")]
    WentBack { loaded: i64, latest: i64 },
    #[error("commit {version} is no longer in the log")]
    MissingCommit { version: i64 },
    #[error("commit {version} has {bytes} bytes, more than a plan reads")]
    CommitTooLarge { version: i64, bytes: usize },
    #[error("commit {version} removed rows in a way the log does not tell")]
    UnknownRewrite { version: i64 },
    #[error("commit {version} uses deletion vectors")]
    DeletionVectors { version: i64 },
    #[error("commit {version} changed column `{column}`")]
    IncompatibleSchema { version: i64, column: String },
    #[error("data file `{path}` is gone")]
    FileMissing { path: String },
    #[error("what came up to version {version}, {bytes} bytes of files, did not load within one run")]
    Outlasted { version: i64, bytes: u64 },
    #[error("goes on with a reload that was begun, {files_done} of {files} files")]
    Begun { files_done: usize, files: usize },
}

/// Plans the load of one table. `watermark` is what the warehouse holds, `None` before the first load.
///
/// # Errors
/// [`Error::Log`] for a commit that is not Delta's JSON lines; [`Error::Schema`] for a column no dialect can hold.
pub fn plan(watermark: Option<&Watermark>, window: &LogWindow<'_>, limits: Limits) -> Result<Plan, Error> {
    let Some(loaded) = watermark else { return Ok(reload(None, window, ReloadReason::FirstLoad)) };
    if loaded.table_id != window.table_id {
        return Ok(reload(watermark, window, ReloadReason::TableRecreated));
    }
    if loaded.version == window.latest {
        return Ok(Plan::Nothing { version: window.latest });
    }
    if loaded.version > window.latest {
        let reason = ReloadReason::WentBack { loaded: loaded.version, latest: window.latest };
        return Ok(reload(watermark, window, reason));
    }
    match Builder::new(loaded)?.fold(window, limits) {
        Ok(load) => Ok(load),
        Err(Stop::Reload(reason)) => Ok(reload(watermark, window, reason)),
        Err(Stop::Fail(error)) => Err(error),
    }
}

/// The plan that replaces everything, for a reason that only showed while loading (a file that was vacuumed).
pub fn reload(watermark: Option<&Watermark>, window: &LogWindow<'_>, reason: ReloadReason) -> Plan {
    let to =
        Watermark { table_id: window.table_id.to_owned(), version: window.latest, schema: window.schema.to_owned() };
    Plan::Reload { from: watermark.cloned(), to, reason }
}

impl Plan {
    /// Sum of the sizes of the files that a load reads; of a reload only the lake knows.
    pub fn data_bytes(&self) -> u64 {
        let Plan::Load { steps, .. } = self else { return 0 };
        let sum = |files: &[DataFile]| files.iter().map(|file| file.size_bytes).sum::<u64>();
        let of_step = |step: &Step| match step {
            Step::AddColumns(_) | Step::Forget { .. } => 0,
            Step::Append { files } | Step::ReplaceSource { files, .. } | Step::Upsert { files, .. } => sum(files),
            Step::Rewrite { removed, kept, files } => sum(removed) + sum(kept) + sum(files),
        };
        steps.iter().map(of_step).sum()
    }
}

/// Why folding the log ended early.
enum Stop {
    Reload(ReloadReason),
    Fail(Error),
}

impl From<ReloadReason> for Stop {
    fn from(reason: ReloadReason) -> Self {
        Stop::Reload(reason)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Fail(error)
    }
}

/// What a commit does to rows.
enum RowChange {
    Append,
    Replace { source: String, positions: Option<(i64, i64)> },
    Upsert(Vec<String>),
    Rewrite,
}

/// The state of a plan between two commits.
struct Builder<'a> {
    from: &'a Watermark,
    to: Watermark,
    columns: Vec<TableColumn>,
    added: Vec<TableColumn>,
    steps: Vec<Step>,
    /// Paths appended in this window and still in the table: writers whose commit was acknowledged late may log a
    /// file twice, and a Delta snapshot holds a path once.
    seen: HashSet<String>,
    files: usize,
    data_bytes: u64,
}

impl<'a> Builder<'a> {
    fn new(from: &'a Watermark) -> Result<Self, Error> {
        Ok(Builder {
            from,
            to: from.clone(),
            columns: schema::columns(&from.schema)?,
            added: Vec::new(),
            steps: Vec::new(),
            seen: HashSet::new(),
            files: 0,
            data_bytes: 0,
        })
    }

    fn fold(mut self, window: &LogWindow<'_>, limits: Limits) -> Result<Plan, Stop> {
        let new = window.commits.iter().filter(|commit| commit.version > self.from.version);
        for commit in new.take(limits.commits.max(1)) {
            if self.files >= limits.files.max(1) || self.data_bytes >= limits.data_bytes.max(1) {
                break;
            }
            let version = self.to.version + 1;
            if commit.version != version {
                return Err(ReloadReason::MissingCommit { version }.into());
            }
            if commit.body.len() > limits.commit_bytes {
                return Err(ReloadReason::CommitTooLarge { version, bytes: commit.body.len() }.into());
            }
            self.commit(version, log::parse(version, commit.body)?)?;
            self.to.version = version;
        }
        if self.to.version == self.from.version {
            return Err(ReloadReason::MissingCommit { version: self.from.version + 1 }.into());
        }
        if !self.added.is_empty() {
            self.steps.insert(0, Step::AddColumns(self.added));
        }
        Ok(Plan::Load { from: self.from.clone(), to: self.to, steps: self.steps })
    }

    fn commit(&mut self, version: i64, mut actions: Actions) -> Result<(), Stop> {
        if let Some(metadata) = actions.metadata.take() {
            self.metadata(version, metadata)?;
        }
        if actions.deletion_vectors {
            return Err(ReloadReason::DeletionVectors { version }.into());
        }
        let change = self.change(version, &actions)?;
        self.forget(actions.removes);
        match change {
            RowChange::Append => self.append(actions.adds),
            RowChange::Replace { source, positions } => {
                let files = self.fresh(actions.adds);
                self.steps.push(Step::ReplaceSource { source, positions, files });
            }
            RowChange::Upsert(keys) => {
                let files = self.fresh(actions.adds);
                self.steps.push(Step::Upsert { keys, files });
            }
            RowChange::Rewrite => self.rewrite(actions.removed, actions.kept, actions.adds),
        }
        Ok(())
    }

    /// What a commit does to the table's rows.
    fn change(&self, version: i64, actions: &Actions) -> Result<RowChange, Stop> {
        match &actions.note {
            // Nothing went: only the new rows count. A replace of our own always says so, for the copies it may meet.
            Some(Note::Replaced { source, positions }) if self.has_lineage() => {
                Ok(RowChange::Replace { source: source.clone(), positions: *positions })
            }
            Some(Note::Upserted { keys, covered: true }) if keys.iter().all(|key| self.tells_apart(key)) => {
                Ok(RowChange::Upsert(keys.clone()))
            }
            Some(Note::Upserted { .. } | Note::Deleted) if self.has_lineage() => Ok(RowChange::Rewrite),
            _ if actions.removed.is_empty() => Ok(RowChange::Append),
            _ => Err(ReloadReason::UnknownRewrite { version }.into()),
        }
    }

    fn metadata(&mut self, version: i64, metadata: Metadata) -> Result<(), Stop> {
        if metadata.id != self.from.table_id {
            return Err(ReloadReason::TableRecreated.into());
        }
        let columns = schema::columns(&metadata.schema)?;
        match schema::change(&self.columns, &columns) {
            Change::Same => {}
            Change::Added(added) => self.added.extend(added),
            Change::Incompatible { column } => return Err(ReloadReason::IncompatibleSchema { version, column }.into()),
        }
        (self.columns, self.to.schema) = (columns, metadata.schema);
        Ok(())
    }

    /// Whether equal values of this column are equal in every warehouse: SQLite has no NaN.
    fn tells_apart(&self, key: &str) -> bool {
        let column = self.columns.iter().find(|column| column.name == *key);
        column.is_some_and(|column| !matches!(column.data_type, DataType::Float | DataType::Double))
    }

    /// Rows can only be told apart by where they came from in a table that has Weir's lineage columns.
    fn has_lineage(&self) -> bool {
        [SOURCE, SOURCE_POSITION].iter().all(|name| self.columns.iter().any(|column| column.name == *name))
    }

    fn forget(&mut self, paths: Vec<String>) {
        for path in &paths {
            self.seen.remove(path);
        }
        match self.steps.last_mut() {
            _ if paths.is_empty() => {}
            Some(Step::Forget { paths: earlier }) => earlier.extend(paths),
            _ => self.steps.push(Step::Forget { paths }),
        }
    }

    fn append(&mut self, mut files: Vec<DataFile>) {
        files.retain(|file| self.seen.insert(file.path.clone()));
        self.count(&files);
        match self.steps.last_mut() {
            _ if files.is_empty() => {}
            Some(Step::Append { files: earlier }) => earlier.extend(files),
            _ => self.steps.push(Step::Append { files }),
        }
    }

    /// Not deduplicated against the window: the delete takes the rows of an earlier copy along.
    fn fresh(&mut self, mut files: Vec<DataFile>) -> Vec<DataFile> {
        let mut own = HashSet::new();
        files.retain(|file| own.insert(file.path.clone()));
        self.seen.extend(own);
        self.count(&files);
        files
    }

    fn rewrite(&mut self, removed: Vec<DataFile>, kept: Vec<DataFile>, adds: Vec<DataFile>) {
        let files = self.fresh(adds);
        if removed.is_empty() && files.is_empty() {
            return;
        }
        self.count(&removed);
        self.count(&kept);
        self.steps.push(Step::Rewrite { removed, kept, files });
    }

    fn count(&mut self, files: &[DataFile]) {
        self.files += files.len();
        self.data_bytes += files.iter().map(|file| file.size_bytes).sum::<u64>();
    }
}
