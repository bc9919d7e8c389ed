//! A folder with everything that one app has: contracts, landing, lake, warehouse; and the model's view of its tables.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::{ObjectStoreExt, path::Path as ObjectPath};
use polars::prelude::{DataFrame, ParquetReader, SerReader};
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_contract::Contracts;
use weir_lake::{Lake, LakeOptions, Table, TableDefinition};

/// CSV blobs; rules of two kinds.
pub(super) const ORDERS: &str = r#"
name = "orders"
[source]
kind = "blob"
container = "landing"
path = ["orders/*.csv", "orders/*.csv.gz"]
[format]
type = "csv"
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "amount"
type = "decimal(12,2)"
[[columns]]
name = "note"
type = "string"
[[rules]]
name = "amount_is_positive"
expr = "amount > 0"
action = "quarantine"
[[rules]]
name = "amount_is_small"
expr = "amount < 1000"
action = "warn"
[warehouse]
table = "orders"
"#;

/// NDJSON blobs; a rule that holds back the whole blob.
pub(super) const STOCK: &str = r#"
name = "stock"
[source]
kind = "blob"
container = "landing"
path = ["stock/*.ndjson"]
[format]
type = "ndjson"
[[columns]]
name = "item"
type = "string"
nullable = false
[[columns]]
name = "pieces"
type = "long"
nullable = false
[[rules]]
name = "pieces_are_possible"
expr = "pieces < 1000000"
action = "fail"
[[rules]]
name = "pieces_are_counted"
expr = "pieces >= 0"
action = "quarantine"
"#;

/// Events; rules of all kinds.
pub(super) const CLICKS: &str = r#"
name = "clicks"
[source]
kind = "events"
hub = "clicks"
consumer_group = "weir"
[format]
type = "ndjson"
[[columns]]
name = "n"
type = "long"
nullable = false
[[rules]]
name = "n_is_not_negative"
expr = "n >= 0"
action = "quarantine"
[[rules]]
name = "n_is_small"
expr = "n < 1000000"
action = "warn"
[[rules]]
name = "n_is_possible"
expr = "n < 1000000000"
action = "fail"
"#;

/// Every treatment of personal data.
pub(super) const PEOPLE: &str = r#"
name = "people"
[source]
kind = "blob"
container = "landing"
path = ["people/*.ndjson"]
[format]
type = "ndjson"
[[columns]]
name = "id"
type = "long"
nullable = false
[[columns]]
name = "email"
type = "string"
personal = "pseudonym"
[[columns]]
name = "name"
type = "string"
personal = "mask"
[[columns]]
name = "phone"
type = "string"
personal = "drop"
[[rules]]
name = "phone_is_there"
expr = "phone IS NOT NULL"
action = "quarantine"
[warehouse]
table = "people"
"#;

/// Of the pseudonyms.
pub(super) const KEY: &str = "88b26d90c64461324989eb4a66fee497fed2dd6f36bc10ae4ec8548f414ea1c8";

/// The folders of one app. They vanish with it.
pub(crate) struct Site {
    root: TempDir,
}

/// One quarantined record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quarantined {
    pub(super) position: i64,
    /// Parted by `; `.
    pub(super) reasons: String,
    pub(super) raw: Vec<u8>,
}

/// Where a record of a table came from: `_source`, `_source_version`, `_source_position`.
pub(super) type Place = (String, String, i64);

impl Site {
    pub(crate) fn new() -> Self {
        let site = Self { root: tempfile::tempdir().unwrap() };
        for folder in ["datasets", "landing/landing"] {
            fs::create_dir_all(site.path(folder)).unwrap();
        }
        for (name, text) in [("orders", ORDERS), ("stock", STOCK), ("clicks", CLICKS), ("people", PEOPLE)] {
            site.contract(name, text);
        }
        site
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// Writes or replaces a contract; a handler that runs does not see it.
    pub(super) fn contract(&self, name: &str, text: &str) {
        fs::write(self.path("datasets").join(format!("{name}.toml")), text).unwrap();
    }

    /// The app settings.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let url = |scheme: &str, relative: &str| format!("{scheme}://{}", self.path(relative).display());
        let settings = [
            ("WEIR_LAKE_URL", url("file", "lake")),
            ("WEIR_LANDING_URL", url("file", "landing")),
            ("WEIR_DATASETS", self.path("datasets").display().to_string()),
            ("WEIR_WAREHOUSE_URL", url("sqlite", "warehouse.db")),
            ("WEIR_PSEUDONYM_KEY", KEY.to_owned()),
        ];
        settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Writes a blob as an uploader should, and returns the message that Event Grid would put on the queue for it.
    pub(crate) async fn put(&self, path: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
        let target = self.path("landing/landing").join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let partial = target.with_extension("part");
        fs::write(&partial, content).unwrap();
        fs::rename(partial, target).unwrap();
        blob_created(path, &self.etag(path).await)
    }

    pub(super) fn delete(&self, path: &str) {
        fs::remove_file(self.path("landing/landing").join(path)).unwrap();
    }

    /// The event of a blob that is there.
    pub(crate) async fn event(&self, path: &str) -> Vec<u8> {
        blob_created(path, &self.etag(path).await)
    }

    pub(super) async fn etag(&self, path: &str) -> String {
        let store = LocalFileSystem::new_with_prefix(self.path("landing/landing")).unwrap();
        store.head(&ObjectPath::parse(path).unwrap()).await.unwrap().e_tag.unwrap().trim_matches('"').to_owned()
    }

    fn contracts(&self) -> Contracts {
        let entries = fs::read_dir(self.path("datasets")).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: PathBuf| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
        };
        Contracts::parse_all(entries.map(text).collect()).unwrap()
    }

    /// A dataset's table or its quarantine (`<dataset>__quarantine`), opened anew; `None` if there is none.
    pub(super) async fn table(&self, table: &str) -> Option<Arc<Table>> {
        let dataset = table.strip_suffix("__quarantine").unwrap_or(table);
        let contract = self.contracts().get(dataset).unwrap().clone();
        let columns = if dataset == table { contract.table_columns() } else { contract.quarantine_columns() };
        let partition_by = if dataset == table { contract.table.partition_by.clone() } else { Vec::new() };
        let definition = TableDefinition {
            name: table.to_owned(),
            columns,
            partition_by,
            cluster_by: Vec::new(),
            properties: Vec::new(),
            new_columns: contract.table.new_columns,
            added_columns: None,
            transactions: Vec::new(),
        };
        if !self.path("lake").is_dir() {
            return None;
        }
        let store = LocalFileSystem::new_with_prefix(self.path("lake")).unwrap();
        let lake = Lake::new(Arc::new(store), ObjectPath::default(), LakeOptions::new(|| 0));
        lake.existing(&definition).await.unwrap()
    }

    pub(super) async fn frames(&self, table: &str) -> Vec<DataFrame> {
        let Some(table) = self.table(table).await else { return Vec::new() };
        let mut frames = Vec::new();
        for file in table.snapshot().await.unwrap().files {
            frames.push(table.read(&file).await.unwrap());
        }
        frames
    }

    /// Rows of a table as text, the values of `columns` parted by `|`, sorted.
    pub(super) async fn rows(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let frames = self.frames(table).await;
        let mut rows: Vec<String> = frames.iter().flat_map(|frame| texts(frame, columns)).collect();
        rows.sort();
        rows
    }

    /// Rows of a table as text, as [`Site::rows`] has them, file by file: for tables that are large.
    pub(super) async fn each_row(&self, table: &str, columns: &[&str], mut look: impl FnMut(&str)) {
        let Some(table) = self.table(table).await else { return };
        for file in table.snapshot().await.unwrap().files {
            let frame = table.read(&file).await.unwrap();
            texts(&frame.select(columns.iter().copied()).unwrap(), columns).iter().for_each(|row| look(row));
        }
    }

    /// Quarantined records of one source, in order of position.
    pub(super) async fn quarantined(&self, dataset: &str, source: &str) -> Vec<Quarantined> {
        let mut found = Vec::new();
        for frame in self.frames(&format!("{dataset}__quarantine")).await {
            for (row, (from, _, position)) in places(&frame).into_iter().enumerate() {
                if from == source {
                    let reasons = frame.column("_reasons").unwrap().str().unwrap().get(row).unwrap();
                    let reasons: Vec<String> = serde_json::from_str(reasons).unwrap();
                    let raw = frame.column("_raw").unwrap().binary().unwrap().get(row).unwrap().to_vec();
                    found.push(Quarantined { position, reasons: reasons.join("; "), raw });
                }
            }
        }
        found.sort();
        found
    }

    /// Place → in how many rows of the table and its quarantine together it is; through `weir_lake`.
    pub(super) async fn placed(&self, dataset: &str) -> BTreeMap<Place, usize> {
        let quarantine = format!("{dataset}__quarantine");
        let frames = [self.frames(dataset).await, self.frames(&quarantine).await];
        count(frames.iter().flatten())
    }

    /// The same, without any code of Weir: delta-rs tells the files, Polars reads them.
    pub(super) async fn placed_by_others(&self, dataset: &str) -> BTreeMap<Place, usize> {
        let mut frames = Vec::new();
        for table in [dataset.to_owned(), format!("{dataset}__quarantine")] {
            let folder = self.path("lake").join(&table);
            if folder.is_dir() {
                let url = url::Url::from_directory_path(&folder).unwrap();
                let table = deltalake::open_table(url).await.unwrap();
                for file in table.get_file_uris().unwrap() {
                    let path = file.strip_prefix("file://").unwrap_or(&file).to_owned();
                    frames.push(ParquetReader::new(Cursor::new(fs::read(path).unwrap())).finish().unwrap());
                }
            }
        }
        count(frames.iter())
    }

    /// Every record of a dataset is in table or quarantine once; returns how many there are.
    pub(super) async fn each_place_once(&self, dataset: &str) -> usize {
        let placed = self.placed(dataset).await;
        let doubled: Vec<_> = placed.iter().filter(|(_, rows)| **rows != 1).collect();
        assert!(doubled.is_empty(), "{dataset}: more than once: {doubled:?}");
        assert_eq!(placed, self.placed_by_others(dataset).await, "{dataset}: delta-rs sees other rows");
        placed.len()
    }

    /// Entries of a table's log, oldest first.
    pub(super) fn log(&self, table: &str) -> Vec<PathBuf> {
        files(&self.path("lake").join(table).join("_delta_log"), "json")
    }

    /// The app folder of a host: manifests from the repository, waits shortened.
    pub(super) fn app_folder(&self) -> PathBuf {
        let (app, functions) = (self.path("app"), crate::support::repository().join("functions"));
        let mut host: Value = read_json(&crate::support::repository().join("host.json"));
        host["extensions"]["queues"]["visibilityTimeout"] = "00:00:00".into();
        host["extensions"]["eventHubs"]["minEventBatchSize"] = 1.into();
        write_json(&app.join("host.json"), &host);
        const FUNCTIONS: [&str; 9] = [
            "backfill",
            "ingest_blob",
            "maintain",
            "park_blob_events",
            "park_tasks",
            "reprocess",
            "retry",
            "run_task",
            "status",
        ];
        for name in FUNCTIONS {
            let manifest = read_json(&functions.join(name).join("function.json"));
            write_json(&app.join(name).join("function.json"), &manifest);
        }
        let mut events = read_json(&functions.join("ingest_sensors/function.json"));
        events["bindings"][0]["eventHubName"] = "clicks".into();
        write_json(&app.join("ingest_clicks/function.json"), &events);
        app
    }
}

pub(super) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

pub(super) fn write_json(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

/// Files of a folder with an extension, by name.
pub(super) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

pub(super) fn blob_deleted(path: &str) -> Vec<u8> {
    let created = String::from_utf8(blob_created(path, "0x8D4BCC2E4835CD0")).unwrap();
    created.replace("BlobCreated", "BlobDeleted").replace("PutBlockList", "DeleteBlob").into_bytes()
}

/// An Event Grid event, as it lies on the queue.
pub(super) fn blob_created(path: &str, etag: &str) -> Vec<u8> {
    let event = json!({
        "topic": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/acct",
        "subject": format!("/blobServices/default/containers/landing/blobs/{path}"),
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": "6e1b0d42-b01e-0096-2c55-7f2b0a06c9f1",
        "eventTime": "2026-01-05T10:00:00.123Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "api": "PutBlockList",
            "eTag": etag,
            "contentType": "application/octet-stream",
            "blobType": "BlockBlob",
            "url": format!("https://acct.blob.core.windows.net/landing/{path}"),
            "sequencer": "00000000000000000000000000001B2C00000000000a4f3e",
        },
    });
    event.to_string().into_bytes()
}

fn texts(frame: &DataFrame, columns: &[&str]) -> Vec<String> {
    let columns: Vec<_> = columns.iter().map(|name| frame.column(name).unwrap()).collect();
    let row = |row| {
        let values = columns.iter().map(|column| column.get(row).unwrap().str_value().into_owned());
        values.collect::<Vec<_>>().join("|")
    };
    (0..frame.height()).map(row).collect()
}

fn places(frame: &DataFrame) -> Vec<Place> {
    let text = |name: &str, row| frame.column(name).unwrap().str().unwrap().get(row).unwrap().to_owned();
    let position = |row| frame.column("_source_position").unwrap().i64().unwrap().get(row).unwrap();
    (0..frame.height()).map(|row| (text("_source", row), text("_source_version", row), position(row))).collect()
}

fn count<'f>(frames: impl Iterator<Item = &'f DataFrame>) -> BTreeMap<Place, usize> {
    let mut counted = BTreeMap::new();
    for place in frames.flat_map(places) {
        *counted.entry(place).or_default() += 1;
    }
    counted
}
