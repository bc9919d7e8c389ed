//! One Delta table: how it is opened and created.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::{PutMode, PutPayload};
use weir_contract::{NewColumns, TableColumn};

use crate::added::AddedColumns;
use crate::commit::Condition;
use crate::commit::writer::Writer;
use crate::error::LakeError;
use crate::lake::LakeOptions;
use crate::log::actions::{CommitInfo, Format, Line, Metadata, Protocol, Transaction, encode};
use crate::log::state::{Read, State};
use crate::log::{Location, commit_path};
use crate::schema::{Layout, Schema};

/// What a table has to be.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDefinition {
    /// Folder under the lake's root.
    pub name: String,
    pub columns: Vec<TableColumn>,
    pub partition_by: Vec<String>,
    /// Sort order of compacted files.
    pub cluster_by: Vec<String>,
    /// `delta.…` properties, written when the table is created.
    pub properties: Vec<(String, String)>,
    /// What happens to columns that the table does not have (yet).
    pub new_columns: NewColumns,
    /// Set where a frame may bring columns that `columns` has not.
    pub added_columns: Option<AddedColumns>,
    /// Transaction ids, and their versions, that the table begins with when it is created.
    pub transactions: Vec<(String, i64)>,
}

impl TableDefinition {
    /// An interval among its properties, such as `delta.setTransactionRetentionDuration`.
    pub fn interval(&self, key: &str) -> Option<Duration> {
        let (_, text) = self.properties.iter().find(|(known, _)| known == key)?;
        crate::interval::parse(text)
    }
}

/// Which table a process has open, and since when: see [`Table::incarnation`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Incarnation {
    opened: u64,
    table_id: String,
}

/// An open table. All writers of one process share it, so that their commits can share a log entry and their rows a
/// file.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) at: Location,
    pub(crate) definition: Arc<TableDefinition>,
    pub(crate) options: LakeOptions,
    pub(crate) writer: Arc<Writer>,
    pub(crate) condition: Option<Condition>,
}

impl Table {
    pub(crate) async fn open(
        at: Location,
        definition: &TableDefinition,
        options: &LakeOptions,
    ) -> Result<Option<Self>, LakeError> {
        let definition = Arc::new(definition.clone());
        let read_ms = (options.now_ms)();
        // Before the log is read: should the folder change its table meanwhile, the first look tells.
        let head = at.named_head().await?;
        let state = match State::load(&at, &definition, options, Read::Writer).await {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(None),
            Err(headless @ LakeError::Headless { .. }) => {
                at.check_deserted(options, headless).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let writer = Arc::new(Writer::new(at.clone(), options.clone(), state, head, read_ms));
        Ok(Some(Self { at, definition, options: options.clone(), writer, condition: None }))
    }

    pub(crate) async fn open_or_create(
        at: Location,
        definition: &TableDefinition,
        options: &LakeOptions,
    ) -> Result<Self, LakeError> {
        if let Some(table) = Self::open(at.clone(), definition, options).await? {
            return Ok(table);
        }
        create(&at, definition, options).await?;
        let opened = Self::open(at.clone(), definition, options).await?;
        let opened = opened.ok_or_else(|| at.corrupt(commit_path(&at.root, 0), "was written and is gone"))?;
        // Readers that are not Weir would find a gap; without it, it is done before the next checkpoint.
        if let Err(error) = opened.writer.pass_left_behind().await {
            tracing::warn!(table = at.name, %error, "entries of the table that was here before stay in the log for now");
        }
        Ok(opened)
    }

    pub fn name(&self) -> &str {
        &self.at.name
    }

    /// What the table was opened with.
    pub fn definition(&self) -> &TableDefinition {
        &self.definition
    }

    /// The last version of `producer` that is committed, as this process knows it. Whoever is about to do work that
    /// depends on it calls [`Table::refresh`] first.
    pub fn committed(&self, producer: &str) -> Option<i64> {
        self.writer.known().transactions.get(producer).map(|transaction| transaction.version)
    }

    /// The same table, for a caller whose appends and replacements are to be committed only while `condition` holds; they
    /// are [`Outcome::Superseded`] after that. Rewrites that add no rows do not ask for it.
    ///
    /// [`Outcome::Superseded`]: crate::Outcome::Superseded
    pub fn while_holds(self: &Arc<Self>, condition: Condition) -> Arc<Self> {
        Arc::new(Self { condition: Some(condition), ..Self::clone(self) })
    }

    /// Whether the condition of [`Table::while_holds`] holds, as this process knows it.
    pub fn condition_holds(&self) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(&self.writer.known()))
    }

    /// The producers whose ids are asked for, and their versions, as this process knows them.
    pub fn producers(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, i64)> {
        let known = self.writer.known();
        let wanted = known.transactions.iter().filter(|(id, _)| is_wanted(id));
        wanted.map(|(id, transaction)| (id.clone(), transaction.version)).collect()
    }

    /// `metaData.id` and `metaData.schemaString`, as this process knows them.
    pub fn identity(&self) -> (String, String) {
        let metadata = Arc::clone(&self.writer.known().metadata);
        (metadata.id.clone(), metadata.schema_string.clone())
    }

    /// The table's columns, as this process knows them.
    pub fn columns(&self) -> Vec<TableColumn> {
        self.layout().columns.clone()
    }

    /// Reads the commits that other processes made since. Returns the version reached. Callers that wait for the same
    /// look share it.
    pub async fn refresh(&self) -> Result<i64, LakeError> {
        self.writer.refresh().await
    }

    pub(crate) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.writer.known().layout)
    }

    /// The table in this folder as this process has opened it. Whoever remembers something of a table compares it: another
    /// one means that what is remembered is of another table, or of a later state of this one that was taken back.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation { opened: self.writer.opened, table_id: self.writer.known().metadata.id.clone() }
    }

    /// Whether the folder still holds the log that this process knows.
    ///
    /// # Errors
    /// [`LakeError::Replaced`] when it does not: [`crate::Lake::table`] opens what is there now.
    pub async fn look(&self) -> Result<(), LakeError> {
        self.writer.look().await
    }

    pub(crate) async fn load_state(&self, read: Read) -> Result<State, LakeError> {
        let known = self.writer.known().version;
        let Some(state) = State::load(&self.at, &self.definition, &self.options, read).await? else {
            return Err(self.writer.lose("its log is gone"));
        };
        if state.version < known {
            return Err(self.writer.lose(&format!("its log ends at version {}, before {known}", state.version)));
        }
        if state.metadata.id != self.writer.known().metadata.id {
            // Another writer may have replaced the table within its log.
            self.writer.refresh().await?;
            if state.metadata.id != self.writer.known().metadata.id {
                return Err(self.writer.lose("its log is that of another table"));
            }
        }
        Ok(state)
    }

    pub(crate) fn stopped(&self) -> LakeError {
        LakeError::Stopped { table: self.name().to_owned() }
    }
}

/// Commit 0, if absent: when two writers create the table, one of the two identical definitions stands.
async fn create(at: &Location, definition: &TableDefinition, options: &LakeOptions) -> Result<(), LakeError> {
    let now_ms = (options.now_ms)();
    let schema = Schema::of(&definition.columns);
    let schema_string = serde_json::to_string(&schema).map_err(|error| at.corrupt(&at.root, error))?;
    let configuration: BTreeMap<_, _> =
        definition.properties.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let metadata = Metadata {
        id: options.new_id(),
        name: Some(definition.name.clone()),
        description: None,
        format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
        schema_string,
        partition_columns: definition.partition_by.clone(),
        configuration,
        created_time: Some(now_ms),
    };
    let protocol =
        Protocol { min_reader_version: 1, min_writer_version: 2, reader_features: None, writer_features: None };
    let info = CommitInfo {
        timestamp: now_ms,
        operation: "CREATE TABLE".to_owned(),
        engine_info: Some(crate::commit::ENGINE.to_owned()),
        is_blind_append: Some(false),
        ..CommitInfo::default()
    };
    let mut lines = vec![
        Line { commit_info: Some(info), ..Line::default() },
        Line { protocol: Some(protocol), ..Line::default() },
        Line { meta_data: Some(metadata), ..Line::default() },
    ];
    let transactions = definition.transactions.iter().cloned();
    lines.extend(transactions.map(|(app_id, version)| {
        let transaction = Transaction { app_id, version, last_updated: None };
        Line { txn: Some(transaction), ..Line::default() }
    }));
    let body = encode(&lines).map_err(|error| at.corrupt(&at.root, error))?;
    let path = commit_path(&at.root, 0);
    match at.store.put_opts(&path, PutPayload::from(body), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        // Azure answers a failed conditional create with 409 or 412.
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(at.store_error("create", &path, error)),
    }
}
