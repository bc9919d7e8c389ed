//! Real Delta tables, as the loader of the app reads them.

use std::sync::Arc;

use object_store::memory::InMemory;
use polars::prelude::*;
use weir_contract::{DataType as Type, NewColumns, SOURCE, SOURCE_POSITION, TableColumn};
use weir_lake::{Books, FileEntry, Lake, LakeError, LakeOptions, Producer, Table, TableDefinition};
use weir_warehouse::{
    DataFile, Error, FileLayout, FileReader, Limits, LoadReport, LogWindow, Plan, RawCommit, ReadError, ReloadReason,
    TableLoad, Warehouse, async_trait, plan,
};

/// Source, position, key, value, and the columns that came later.
pub(crate) type Row = (String, i64, Option<String>, Option<String>);

fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

pub(super) fn definition(partitioned: bool, extra: usize) -> TableDefinition {
    let column = |name: &str, data_type, nullable| TableColumn { name: name.to_owned(), data_type, nullable };
    let mut columns = vec![
        column("_source", Type::String, false),
        column("_source_version", Type::String, false),
        column("_source_position", Type::Long, false),
        column("key", Type::String, true),
        column("value", Type::String, true),
    ];
    columns.extend((0..extra).map(|number| column(&format!("extra{number}"), Type::Long, true)));
    TableDefinition {
        name: "orders".to_owned(),
        columns,
        partition_by: if partitioned { vec!["key".to_owned()] } else { Vec::new() },
        cluster_by: Vec::new(),
        properties: Vec::new(),
        new_columns: NewColumns::Add,
        added_columns: None,
        transactions: Vec::new(),
    }
}

pub(crate) fn frame(rows: &[Row], extra: usize) -> DataFrame {
    let mut columns = vec![
        Column::new("_source".into(), rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>()),
        Column::new("_source_version".into(), vec!["1"; rows.len()]),
        Column::new("_source_position".into(), rows.iter().map(|row| row.1).collect::<Vec<_>>()),
        Column::new("key".into(), rows.iter().map(|row| row.2.as_deref()).collect::<Vec<_>>()),
        Column::new("value".into(), rows.iter().map(|row| row.3.as_deref()).collect::<Vec<_>>()),
    ];
    columns.extend((0..extra).map(|number| Column::new(format!("extra{number}").into(), vec![7_i64; rows.len()])));
    DataFrame::new(rows.len(), columns).unwrap()
}

pub(crate) fn producer(id: &str, version: i64) -> Producer {
    Producer { id: id.to_owned(), version, expires: false }
}

pub(crate) fn counted(rows: usize) -> Books {
    Books { records_in: rows as u64, committed: rows as u64, ..Books::default() }
}

/// A lake in memory.
pub(crate) struct Site {
    store: Arc<dyn object_store::ObjectStore>,
}

impl Site {
    pub(super) fn new() -> Self {
        Self { store: Arc::new(InMemory::new()) }
    }

    pub(crate) fn over(store: Arc<dyn object_store::ObjectStore>) -> Self {
        Self { store }
    }

    /// The table, as a process that has just started sees it.
    pub(crate) async fn open(&self, partitioned: bool, extra: usize) -> Arc<Table> {
        self.table(&definition(partitioned, extra)).await
    }

    pub(crate) async fn table(&self, definition: &TableDefinition) -> Arc<Table> {
        let lake = Lake::new(Arc::clone(&self.store), "lake".into(), LakeOptions::new(now_ms));
        lake.table(definition).await.unwrap()
    }
}

/// Every row of the newest version, sorted.
pub(super) async fn rows(table: &Arc<Table>) -> (i64, Vec<Row>) {
    let snapshot = table.snapshot().await.unwrap();
    let mut rows = Vec::new();
    for file in &snapshot.files {
        let frame = table.read(file).await.unwrap();
        let text = |name: &str| frame.column(name).unwrap().str().unwrap().clone();
        let (sources, keys, values) = (text("_source"), text("key"), text("value"));
        let positions = frame.column("_source_position").unwrap().i64().unwrap();
        rows.extend((0..frame.height()).map(|row| {
            let owned = |column: &StringChunked| column.get(row).map(str::to_owned);
            (owned(&sources).unwrap(), positions.get(row).unwrap(), owned(&keys), owned(&values))
        }));
    }
    rows.sort();
    (snapshot.version, rows)
}

/// What `maintain` does, once: at most one plan.
pub(super) async fn tick(
    table: &Arc<Table>,
    warehouse: &dyn Warehouse,
    load: &TableLoad,
    limits: Limits,
) -> Result<Option<(Plan, LoadReport)>, Error> {
    let latest = table.refresh().await.unwrap();
    let (table_id, schema) = table.identity();
    let watermark = warehouse.watermark(load).await?;
    let commits = match &watermark {
        Some(loaded) => table.commits(loaded.version + 1, 10_000).await.unwrap(),
        None => Vec::new(),
    };
    let raw: Vec<_> =
        commits.iter().map(|commit| RawCommit { version: commit.version, body: &commit.actions }).collect();
    let window = LogWindow { table_id: &table_id, schema: &schema, latest, commits: &raw };
    let mut planned = plan(watermark.as_ref(), &window, limits)?;
    let files = match &planned {
        Plan::Nothing { .. } => return Ok(None),
        Plan::Reload { .. } => table.snapshot().await.unwrap().files,
        Plan::Load { .. } => Vec::new(),
    };
    let applied = match warehouse.apply(load, &planned, &Reader { table, files }).await {
        Err(Error::FileMissing { path }) => {
            planned = plan::reload(watermark.as_ref(), &window, ReloadReason::FileMissing { path });
            let files = table.snapshot().await.unwrap().files;
            warehouse.apply(load, &planned, &Reader { table, files }).await?
        }
        applied => applied?,
    };
    Ok(Some((planned, applied)))
}

pub(super) struct Reader<'a> {
    pub(super) table: &'a Arc<Table>,
    pub(super) files: Vec<FileEntry>,
}

#[async_trait]
impl FileReader for Reader<'_> {
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        self.table.read(&entry).await.map_err(unread)
    }

    async fn read_lineage(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        let frame = self.table.read_columns(&entry, &[SOURCE, SOURCE_POSITION]).await.map_err(unread)?;
        assert_eq!(frame.width(), 2);
        Ok(frame)
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        let entry = self.table.file(&file.path, file.partition_values.clone()).ok_or(ReadError::NotFound)?;
        let (columns, rows) = self.table.footer(&entry).await.map_err(unread)?;
        Ok(FileLayout { columns, rows })
    }

    async fn snapshot_files(&self, _version: i64) -> Result<Vec<DataFile>, ReadError> {
        let file = |file: &FileEntry| DataFile {
            path: file.path(),
            partition_values: file.partition_values.clone(),
            num_records: file.rows,
            size_bytes: file.size,
        };
        Ok(self.files.iter().map(file).collect())
    }
}

fn unread(error: LakeError) -> ReadError {
    if error.is_not_found() { ReadError::NotFound } else { ReadError::Other(Box::new(error)) }
}
