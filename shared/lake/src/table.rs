//! One Delta table: how it is opened, created and checked against what its contract wants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use object_store::{PutMode, PutPayload};
use polars::prelude::{DataType as PolarsType, TimeUnit, TimeZone};
use serde::{Deserialize, Serialize};
use weir_contract::{DataType, TableColumn};

use crate::commit::Writer;
use crate::error::LakeError;
use crate::lake::LakeOptions;
use crate::log::actions::{CommitInfo, Format, Line, Metadata, Protocol, encode};
use crate::log::commit_path;
use crate::log::replay::{Location, State};

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
}

/// An open table. All writers of one process share it, so that their commits can share a log entry.
#[derive(Debug)]
pub struct Table {
    pub(crate) at: Location,
    pub(crate) definition: TableDefinition,
    pub(crate) options: LakeOptions,
    pub(crate) writer: Arc<Writer>,
}

impl Table {
    pub(crate) async fn open(
        at: Location,
        definition: &TableDefinition,
        options: &LakeOptions,
    ) -> Result<Option<Self>, LakeError> {
        let Some(state) = State::load(&at, false).await? else { return Ok(None) };
        let definition = fit(&at, definition, &state.metadata)?;
        let writer = Arc::new(Writer::new(at.clone(), definition.clone(), options.clone(), state));
        Ok(Some(Self { at, definition, options: options.clone(), writer }))
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
        opened.ok_or_else(|| at.corrupt(commit_path(&at.root, 0), "was written and is gone"))
    }

    pub fn name(&self) -> &str {
        &self.at.name
    }

    /// What the table was opened with; a column that may be null in the table may be null here.
    pub fn definition(&self) -> &TableDefinition {
        &self.definition
    }

    /// The last version of `producer` that is committed, as this process knows it. Whoever is about to do work that
    /// depends on it calls [`Table::refresh`] first.
    pub async fn committed(&self, producer: &str) -> Option<i64> {
        self.writer.state.lock().await.transactions.get(producer).copied()
    }

    /// `metaData.id` and `metaData.schemaString`, as this process knows them.
    pub async fn identity(&self) -> (String, String) {
        let metadata = Arc::clone(&self.writer.state.lock().await.metadata);
        (metadata.id.clone(), metadata.schema_string.clone())
    }

    /// Reads the commits that other processes made since. Returns the version reached.
    pub async fn refresh(&self) -> Result<i64, LakeError> {
        let mut state = self.writer.state.lock().await;
        state.refresh(&self.at, &self.definition).await?;
        Ok(state.version)
    }

    pub(crate) async fn load_state(&self, with_files: bool) -> Result<State, LakeError> {
        let state = State::load(&self.at, with_files).await?;
        state.ok_or_else(|| self.at.corrupt(&self.at.root, "the table's log is gone"))
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
        id: uuid::Uuid::new_v4().to_string(),
        name: Some(definition.name.clone()),
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
        txn_id: None,
        engine_info: Some(crate::commit::ENGINE.to_owned()),
        weir: None,
    };
    let lines = [
        Line { commit_info: Some(info), ..Line::default() },
        Line { protocol: Some(protocol), ..Line::default() },
        Line { meta_data: Some(metadata), ..Line::default() },
    ];
    let body = encode(&lines).map_err(|error| at.corrupt(&at.root, error))?;
    let path = commit_path(&at.root, 0);
    match at.store.put_opts(&path, PutPayload::from(body), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        // Azure answers a failed conditional create with 409 or 412.
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
        Err(error) => Err(at.store_error("create", &path, error)),
    }
}

/// `metaData.schemaString`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Schema {
    r#type: String,
    fields: Vec<Field>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Field {
    name: String,
    r#type: serde_json::Value,
    nullable: bool,
    #[serde(default)]
    metadata: HashMap<String, serde_json::Value>,
}

impl Schema {
    fn of(columns: &[TableColumn]) -> Self {
        let fields = columns.iter().map(|column| Field {
            name: column.name.clone(),
            r#type: serde_json::Value::String(delta_type(column.data_type)),
            nullable: column.nullable,
            metadata: HashMap::new(),
        });
        Self { r#type: "struct".to_owned(), fields: fields.collect() }
    }
}

/// Every column of the definition must be in the table with the same type, and the table must have no more: an append
/// that leaves columns out would be somebody else's schema. Returns the definition with the table's nullability: rows
/// that were written before a contract forbade nulls must stay rewritable.
pub(crate) fn fit(at: &Location, wanted: &TableDefinition, metadata: &Metadata) -> Result<TableDefinition, LakeError> {
    let error = |message: String| LakeError::Schema { table: at.name.clone(), message };
    let schema: Schema = serde_json::from_str(&metadata.schema_string)
        .map_err(|cause| at.corrupt(at.root.clone().join("_delta_log"), format!("schemaString: {cause}")))?;
    let mut found: HashMap<_, _> = schema.fields.iter().map(|field| (field.name.as_str(), field)).collect();
    let mut fitted = wanted.clone();
    for column in &mut fitted.columns {
        let name = &column.name;
        let Some(field) = found.remove(name.as_str()) else {
            return Err(error(format!(
                "the contract has column `{name}`, the table has not; schema changes need a new table"
            )));
        };
        let (contract, table) = (delta_type(column.data_type), field.r#type.as_str().unwrap_or("a nested type"));
        if contract != table {
            return Err(error(format!("column `{name}` is {contract} in the contract and {table} in the table")));
        }
        if column.nullable && !field.nullable {
            return Err(error(format!("column `{name}` may be null in the contract and must not be in the table")));
        }
        column.nullable = field.nullable;
    }
    if let Some(name) = found.keys().min() {
        return Err(error(format!("the table has column `{name}`, the contract has not")));
    }
    if metadata.partition_columns != wanted.partition_by {
        let (table, contract) = (metadata.partition_columns.join(", "), wanted.partition_by.join(", "));
        return Err(error(format!("partitioned by [{table}], and by [{contract}] in the contract")));
    }
    Ok(fitted)
}

fn delta_type(data_type: DataType) -> String {
    match data_type {
        DataType::String => "string",
        DataType::Long => "long",
        DataType::Integer => "integer",
        DataType::Short => "short",
        DataType::Byte => "byte",
        DataType::Double => "double",
        DataType::Float => "float",
        DataType::Boolean => "boolean",
        DataType::Date => "date",
        DataType::Timestamp => "timestamp",
        DataType::Binary => "binary",
        DataType::Decimal { precision, scale } => return format!("decimal({precision},{scale})"),
    }
    .to_owned()
}

/// The Polars type whose Parquet form every Delta reader takes for the Delta type.
pub(crate) fn polars_type(data_type: DataType) -> PolarsType {
    match data_type {
        DataType::String => PolarsType::String,
        DataType::Long => PolarsType::Int64,
        DataType::Integer => PolarsType::Int32,
        DataType::Short => PolarsType::Int16,
        DataType::Byte => PolarsType::Int8,
        DataType::Double => PolarsType::Float64,
        DataType::Float => PolarsType::Float32,
        DataType::Boolean => PolarsType::Boolean,
        DataType::Date => PolarsType::Date,
        DataType::Timestamp => PolarsType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        DataType::Binary => PolarsType::Binary,
        DataType::Decimal { precision, scale } => PolarsType::Decimal(precision.into(), scale.into()),
    }
}
