//! A Delta table as a list of commits and a map of frames: the model that the warehouse is compared with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use polars::prelude::{Column, DataFrame, NamedFrom, Series};
use serde_json::{Value, json};
use weir_warehouse::{
    DataFile, Error, FileLayout, FileReader, Limits, LoadReport, LogWindow, Plan, RawCommit, ReadError, ReloadReason,
    TableLoad, Warehouse, async_trait,
};

/// Source, position, value.
pub(super) type Row = (String, i64, Option<String>);

/// What the next reads of a file do instead of reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    Fails,
    Gone,
    Hangs,
}

pub(super) struct Lake {
    pub(super) table_id: String,
    /// Nullable columns beyond the fixed ones; no file has anything in them.
    pub(super) extra: Vec<String>,
    /// By version; `None` when the log was cleaned up.
    pub(super) commits: BTreeMap<i64, Option<String>>,
    files: BTreeMap<String, Vec<Row>>,
    /// Paths that were added as new data, which a confused writer may add again.
    appended: BTreeSet<String>,
    /// The table's files at every version.
    snapshots: BTreeMap<i64, BTreeSet<String>>,
    /// After so many good reads.
    pub(super) fault: Mutex<Option<(usize, Fault)>>,
}

impl Lake {
    pub(super) fn new() -> Self {
        let mut lake = Lake {
            table_id: "table-1".to_owned(),
            extra: Vec::new(),
            commits: BTreeMap::new(),
            files: BTreeMap::new(),
            appended: BTreeSet::new(),
            snapshots: BTreeMap::new(),
            fault: Mutex::new(None),
        };
        let create = vec![json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}), lake.metadata()];
        lake.commit(create, BTreeSet::new());
        lake
    }

    pub(super) fn schema(&self) -> String {
        let field = |name: &str, data_type: &str, nullable: bool| json!({"name": name, "type": data_type, "nullable": nullable, "metadata": {}});
        let mut fields = vec![
            field("_source", "string", false),
            field("_source_position", "long", false),
            field("value", "string", true),
        ];
        fields.extend(self.extra.iter().map(|name| field(name, "decimal(12,2)", true)));
        json!({"type": "struct", "fields": fields}).to_string()
    }

    fn metadata(&self) -> Value {
        json!({"metaData": {"id": self.table_id, "format": {"provider": "parquet"}, "schemaString": self.schema(),
            "partitionColumns": [], "configuration": {}}})
    }

    pub(super) fn latest(&self) -> i64 {
        *self.commits.last_key_value().map_or(&-1, |(version, _)| version)
    }

    pub(super) fn active(&self) -> Vec<String> {
        self.snapshots.last_key_value().map(|(_, paths)| paths.iter().cloned().collect()).unwrap_or_default()
    }

    fn commit(&mut self, actions: Vec<Value>, active: BTreeSet<String>) {
        let version = self.latest() + 1;
        let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
        self.commits.insert(version, Some(lines.join("\n") + "\n"));
        self.snapshots.insert(version, active);
    }

    /// Writes a file whose name needs decoding exactly once.
    fn write(&mut self, rows: Vec<Row>) -> String {
        let path = format!("s=a%20b/part ü-{}.parquet", self.files.len());
        self.files.insert(path.clone(), rows);
        path
    }

    fn add(&self, path: &str, data_change: bool) -> Value {
        let encoded = path.replace('%', "%25").replace(' ', "%20").replace('ü', "%C3%BC");
        let stats = json!({"numRecords": self.files[path].len()}).to_string();
        json!({"add": {"path": encoded, "partitionValues": {"s": "a b"}, "size": 100, "modificationTime": 1,
            "dataChange": data_change, "stats": stats}})
    }

    fn remove(path: &str, data_change: bool) -> Value {
        let encoded = path.replace('%', "%25").replace(' ', "%20").replace('ü', "%C3%BC");
        json!({"remove": {"path": encoded, "dataChange": data_change, "deletionTimestamp": 1}})
    }

    fn change(&mut self, mut actions: Vec<Value>, removed: &[String], removal: bool, added: &[(String, bool)]) {
        let mut active: BTreeSet<_> = self.active().into_iter().collect();
        for path in removed {
            active.remove(path);
            actions.push(Self::remove(path, removal));
        }
        for (path, data_change) in added {
            active.insert(path.clone());
            if *data_change {
                self.appended.insert(path.clone());
            }
            actions.push(self.add(path, *data_change));
        }
        self.commit(actions, active);
    }

    pub(super) fn append(&mut self, files: Vec<Vec<Row>>) {
        let added: Vec<_> = files.into_iter().map(|rows| (self.write(rows), true)).collect();
        self.change(vec![json!({"txn": {"appId": "producer", "version": 1}})], &[], true, &added);
    }

    /// Logs a file again that is in the table.
    pub(super) fn append_again(&mut self) {
        if let Some(path) = self.active().into_iter().find(|path| self.appended.contains(path)) {
            self.change(vec![], &[], true, &[(path, true)]);
        }
    }

    /// What a writer does that did not see its own commit succeed: the same actions as another version.
    pub(super) fn repeat_last(&mut self) {
        let version = self.latest();
        self.commits.insert(version + 1, self.commits[&version].clone());
        self.snapshots.insert(version + 1, self.snapshots[&version].clone());
    }

    /// Brings back a file that is no longer in the table, as a restore does.
    pub(super) fn restore(&mut self) {
        let active = self.active();
        if let Some(path) = self.files.keys().find(|path| !active.contains(path)).cloned() {
            self.change(vec![], &[], true, &[(path, true)]);
        }
    }

    pub(super) fn compact(&mut self) {
        let removed = self.active();
        let rows = removed.iter().flat_map(|path| self.files[path].clone()).collect();
        let added = self.write(rows);
        let info = json!({"commitInfo": {"operation": "OPTIMIZE", "weir": {"operation": "compact"}}});
        self.change(vec![info], &removed, false, &[(added, false)]);
    }

    pub(super) fn replace(&mut self, source: &str, positions: Option<(i64, i64)>, rows: Vec<Row>) {
        let within = |(first, last): (i64, i64), row: &Row| (first..=last).contains(&weir_contract::sequence_of(row.1));
        let hit = |row: &Row| row.0 == source && positions.is_none_or(|positions| within(positions, row));
        let removed: Vec<_> = self.active().into_iter().filter(|path| self.files[path].iter().any(hit)).collect();
        let survivors: Vec<_> =
            removed.iter().flat_map(|path| self.files[path].clone()).filter(|row| !hit(row)).collect();
        let mut added = vec![(self.write(rows), true)];
        if !survivors.is_empty() {
            added.push((self.write(survivors), false));
        }
        let positions = positions.map(|(first, last)| json!([first, last]));
        let note = json!({"operation": "replace_source", "source": source, "positions": positions});
        self.change(vec![json!({"commitInfo": {"operation": "REPLACE", "weir": note}})], &removed, true, &added);
    }

    /// A delete by a writer that is not ours.
    pub(super) fn delete_file(&mut self, path: &str) {
        self.change(vec![json!({"commitInfo": {"operation": "DELETE"}})], &[path.to_owned()], true, &[]);
    }

    pub(super) fn add_column(&mut self) {
        self.extra.push(format!("extra {}", self.extra.len()));
        let metadata = self.metadata();
        self.change(vec![metadata], &[], true, &[]);
    }

    /// Actions that change nothing, some of which no planner knows.
    pub(super) fn noise(&mut self) {
        let actions = vec![
            json!({"commitInfo": {"operation": "VACUUM END", "weir": "not an object"}}),
            json!({"domainMetadata": {"domain": "x", "configuration": "{}", "removed": false}}),
            json!({"aFutureAction": [1, 2, 3]}),
        ];
        self.change(actions, &[], true, &[]);
    }

    /// Another table under the same name.
    pub(super) fn recreate(&mut self) {
        let (fault, number) = (Mutex::new(None), self.table_id.len());
        *self = Lake { table_id: format!("{}-{number}", self.table_id), fault, ..Lake::new() };
        let metadata = self.metadata();
        self.commits.insert(0, Some(metadata.to_string()));
    }

    /// Every row of the table at `version`, sorted.
    pub(super) fn rows(&self, version: i64) -> Vec<Row> {
        let mut rows: Vec<_> = self.snapshots[&version].iter().flat_map(|path| self.files[path].clone()).collect();
        rows.sort();
        rows
    }

    /// A plan from what the warehouse holds.
    pub(super) async fn plan(
        &self,
        warehouse: &dyn Warehouse,
        table: &TableLoad,
        limits: Limits,
    ) -> Result<Plan, Error> {
        let watermark = warehouse.watermark(table).await?;
        // A reload that was begun goes on, as in the app.
        if let Some(begun) = warehouse.pending(table).await?
            && begun.to.table_id == self.table_id
            && begun.from.map(|mark| (mark.table_id, mark.version))
                == watermark.as_ref().map(|mark| (mark.table_id.clone(), mark.version))
        {
            let reason = ReloadReason::Begun { files_done: begun.files_done, files: begun.files };
            return Ok(Plan::Reload { from: watermark, to: begun.to, reason });
        }
        let after = watermark.as_ref().map_or(i64::MAX, |mark| mark.version);
        let commits: Vec<_> = self
            .commits
            .iter()
            .filter(|(version, _)| **version > after)
            .filter_map(|(version, body)| Some(RawCommit { version: *version, body: body.as_ref()?.as_bytes() }))
            .collect();
        let schema = self.schema();
        let window = LogWindow { table_id: &self.table_id, schema: &schema, latest: self.latest(), commits: &commits };
        weir_warehouse::plan(watermark.as_ref(), &window, limits)
    }

    /// One plan and its load.
    pub(super) async fn load(&self, warehouse: &dyn Warehouse, table: &TableLoad) -> Result<LoadReport, Error> {
        let plan = self.plan(warehouse, table, Limits::default()).await?;
        warehouse.apply(table, &plan, self).await
    }
}

#[async_trait]
impl FileReader for Lake {
    async fn read(&self, file: &DataFile) -> Result<DataFrame, ReadError> {
        let fault = {
            let mut fault = self.fault.lock().unwrap();
            match fault.as_mut() {
                Some((0, kind)) => Some(*kind),
                Some((reads, _)) => {
                    *reads -= 1;
                    None
                }
                None => None,
            }
        };
        match fault {
            Some(Fault::Fails) => return Err(ReadError::Other("the lake does not answer".into())),
            Some(Fault::Gone) => return Err(ReadError::NotFound),
            Some(Fault::Hangs) => std::future::pending().await,
            None => {}
        }
        let rows = self.files.get(&file.path).ok_or(ReadError::NotFound)?;
        let sources = Series::new("_source".into(), rows.iter().map(|row| row.0.as_str()).collect::<Vec<_>>());
        let positions = Series::new("_source_position".into(), rows.iter().map(|row| row.1).collect::<Vec<_>>());
        let values = Series::new("value".into(), rows.iter().map(|row| row.2.as_deref()).collect::<Vec<_>>());
        // Not in the table's order, and with a column that it does not have.
        let columns: Vec<Column> =
            vec![values.clone().into(), positions.into(), sources.into(), values.with_name("stray".into()).into()];
        Ok(DataFrame::new(rows.len(), columns).unwrap())
    }

    async fn layout(&self, file: &DataFile) -> Result<FileLayout, ReadError> {
        let rows = self.files.get(&file.path).ok_or(ReadError::NotFound)?.len() as u64;
        let columns = ["value", "_source_position", "_source", "stray"].map(str::to_owned).to_vec();
        Ok(FileLayout { columns, rows })
    }

    async fn snapshot_files(&self, version: i64) -> Result<Vec<DataFile>, ReadError> {
        let paths = self.snapshots.get(&version).ok_or(ReadError::NotFound)?;
        let file = |path: &String| DataFile {
            path: path.clone(),
            partition_values: BTreeMap::new(),
            num_records: Some(self.files[path].len() as u64),
            size_bytes: 100,
        };
        Ok(paths.iter().map(file).collect())
    }
}

/// Every row of the warehouse table, sorted; empty when there is no table.
pub(super) fn warehouse_rows(connection: &rusqlite::Connection, table: &str) -> Vec<Row> {
    let name = table.replace('"', "\"\"");
    let sql = format!("SELECT _source, _source_position, value FROM \"{name}\"");
    let Ok(mut statement) = connection.prepare(&sql) else { return Vec::new() };
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let mut rows: Vec<Row> = rows.map(Result::unwrap).collect();
    rows.sort();
    rows
}

/// `count` rows of a source, from position `first`.
pub(super) fn rows_of(source: &str, first: i64, count: i64) -> Vec<Row> {
    (first..first + count).map(|position| (source.to_owned(), position, Some(format!("{source}/{position}")))).collect()
}
