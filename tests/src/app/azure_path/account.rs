//! A storage account with everything in it, and the app that uses it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use deltalake::DeltaTableBuilder;
use flate2::{Compression, write::GzEncoder};
use functions_host::queues::{QueueName, Queues};
use functions_host::{ChildOutput, HostConfig};
use futures::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use polars::prelude::{DataFrame, NamedFrom, ParquetReader, ParquetWriter, SerReader, Series};
use serde_json::{Value, json};

use super::super::handler::Handler;
use super::super::site::{Site, blob_created, read_json, write_json};
use super::gates::Gates;
use crate::azurite::{self, Azurite, ask, connection_string, create, store};

/// Parquet blobs.
const READINGS: &str = r#"
name = "readings"
[source]
kind = "blob"
container = "landing"
path = ["readings/*.parquet"]
[format]
type = "parquet"
[[columns]]
name = "n"
type = "long"
nullable = false
[[rules]]
name = "n_is_not_negative"
expr = "n >= 0"
action = "quarantine"
"#;

/// An Azurite of its own, because the names of queues and containers are the app's; and the folders of the app.
pub(super) struct Account {
    azurite: Azurite,
    site: Site,
    landing: Arc<dyn ObjectStore>,
    lake: Arc<dyn ObjectStore>,
}

impl Account {
    pub(super) async fn new() -> Self {
        let account = Self::without_landing().await;
        create(&format!("{}/landing?restype=container", account.azurite.blob_url)).await;
        account
    }

    pub(super) async fn without_landing() -> Self {
        let azurite = tokio::task::spawn_blocking(azurite::start).await.unwrap();
        let (landing, lake) = (store(&azurite.blob_url, "landing"), store(&azurite.blob_url, "lake"));
        let site = Site::new();
        site.contract("readings", READINGS);
        let account = Self { azurite, site, landing, lake };
        create(&format!("{}/lake?restype=container", account.azurite.blob_url)).await;
        account
    }

    /// A host that polls this account's queues; the handler, lake and landing are on it, too.
    pub(super) fn host_config(&self, handler: &Path) -> HostConfig {
        let app = self.app_folder();
        let mut config = HostConfig::new(app, handler, self.site.path("host"));
        config.args = vec!["serve".to_owned()];
        config.env = self.settings();
        config.run_timers = false;
        config.partitions = 1;
        config.stdio = ChildOutput::File(self.site.path("handler.log"));
        config
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.site.settings();
        settings.retain(|(key, _)| key != "WEIR_LAKE_URL" && key != "WEIR_LANDING_URL");
        let queues = connection_string(&self.azurite);
        let own = [
            ("WEIR_LAKE_URL", format!("{}/lake/tables", self.azurite.blob_url)),
            ("WEIR_LANDING_URL", self.azurite.blob_url.clone()),
            ("AzureWebJobsStorage", queues.clone()),
            ("BlobEvents", queues),
        ];
        settings.extend(own.map(|(key, value)| (key.to_owned(), value)));
        settings
    }

    /// As the repository has it, except for how long an empty queue is left alone.
    fn app_folder(&self) -> PathBuf {
        let app = self.site.app_folder();
        self.change_host_json(|queues| queues["maxPollingInterval"] = "00:00:00.100".into());
        app
    }

    /// Takes out the functions that read poison queues, so that a test sees what the host puts there. What is not base64
    /// no function can take from there: it lies there for good, and the host with these functions would never be idle.
    pub(super) fn leave_poison(&self) {
        for function in ["park_blob_events", "park_tasks"] {
            fs::remove_dir_all(self.path("app").join(function)).unwrap();
        }
    }

    /// A handler alone, on this account; through gates if there are any.
    pub(super) async fn handler(&self, gates: Option<&Gates>) -> Handler {
        self.handler_with(gates, &[]).await
    }

    pub(super) async fn handler_with(&self, gates: Option<&Gates>, extra: &[(&str, &str)]) -> Handler {
        let mut settings = self.settings();
        if let Some(gates) = gates {
            for (_, value) in &mut settings {
                *value = value.replace(self.blob_url(), &gates.url);
            }
        }
        let settings = settings.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let settings: Vec<_> = settings.chain(extra.iter().copied()).collect();
        Handler::start_with(&self.site, &settings).await
    }

    pub(super) fn blob_url(&self) -> &str {
        &self.azurite.blob_url
    }

    pub(super) fn contract(&self, name: &str, text: &str) {
        self.site.contract(name, text);
    }

    /// Notes about a table's uncommitted work, by their place in the lake.
    pub(super) async fn notes(&self, table: &str) -> BTreeMap<String, Bytes> {
        let folder = ObjectPath::from(format!("tables/{table}/_weir_staging"));
        let found: Vec<_> = self.lake.list(Some(&folder)).try_collect().await.unwrap();
        let mut notes = BTreeMap::new();
        for note in found {
            let content = self.lake.get(&note.location).await.unwrap().bytes().await.unwrap();
            notes.insert(note.location.to_string(), content);
        }
        notes
    }

    pub(super) async fn put_note(&self, path: &str, content: Bytes) {
        self.lake.put(&ObjectPath::from(path), content.into()).await.unwrap();
    }

    /// Changes `extensions.queues`.
    pub(super) fn change_host_json(&self, change: impl FnOnce(&mut Value)) {
        let path = self.site.path("app/host.json");
        let mut host = read_json(&path);
        change(&mut host["extensions"]["queues"]);
        write_json(&path, &host);
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.site.path(relative)
    }

    pub(super) fn handler_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.site.path("handler.log")).unwrap()).into_owned()
    }

    /// Returns the blob's etag.
    pub(super) async fn upload(&self, path: &str, content: impl Into<Bytes>) -> String {
        let path = ObjectPath::parse(path).unwrap();
        let put = self.landing.put(&path, content.into().into()).await.unwrap();
        put.e_tag.unwrap().trim_matches('"').to_owned()
    }

    pub(super) async fn delete(&self, path: &str) {
        self.landing.delete(&ObjectPath::parse(path).unwrap()).await.unwrap();
    }

    /// Puts a message as Event Grid does: in base64.
    pub(super) async fn send(&self, queue: &str, message: &str) {
        self.send_as_it_is(queue, &BASE64.encode(message)).await;
    }

    /// The text is put as it is; it has nothing that XML would escape.
    pub(super) async fn send_as_it_is(&self, queue: &str, text: &str) {
        let url = format!("{}/{queue}", self.azurite.queue_url);
        let message = format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>");
        for _ in 0..2 {
            match ask(reqwest::Method::POST, &format!("{url}/messages"), &message).await {
                (201, _) => return,
                (404, _) => create(&url).await,
                (status, answer) => panic!("{status} {answer}"),
            }
        }
        panic!("queue {queue} does not take messages");
    }

    /// Texts of up to 32 visible messages, without taking them.
    pub(super) async fn peek(&self, queue: &str) -> Vec<String> {
        let url = format!("{}/{queue}/messages?numofmessages=32&peekonly=true", self.azurite.queue_url);
        let (_, answer) = ask(reqwest::Method::GET, &url, "").await;
        let texts = answer.split("<MessageText>").skip(1);
        texts.map(|text| text.split_once("</MessageText>").unwrap().0.to_owned()).collect()
    }

    /// Messages of a queue, hidden ones included.
    pub(super) async fn count(&self, queue: &str) -> usize {
        let settings = HashMap::from([("Storage".to_owned(), connection_string(&self.azurite))]);
        let queues = Queues::open(&self.site.path("queues"), true, ["Storage"], &settings).unwrap();
        let name = QueueName { connection: "Storage".to_owned(), queue: queue.to_owned() };
        queues.queue(&name).unwrap().count().await.unwrap()
    }

    /// Compares all tables with what they must hold.
    pub(super) async fn holds(&self, model: &Model) {
        let mut found = Vec::new();
        for (dataset, column) in DATASETS {
            found.extend(self.rows(dataset, Some(column)).await);
            found.extend(self.rows(&format!("{dataset}__quarantine"), None).await);
        }
        let rows = found.len();
        let found: BTreeSet<String> = found.into_iter().collect();
        let lost: Vec<_> = model.rows.difference(&found).collect();
        let foreign: Vec<_> = found.difference(&model.rows).collect();
        assert!(lost.is_empty() && foreign.is_empty(), "lost {lost:?}, foreign {foreign:?}");
        assert_eq!(rows, found.len(), "rows are doubled");
    }

    /// How many files a table consists of.
    pub(super) async fn files(&self, table: &str) -> usize {
        self.paths(table).await.len()
    }

    /// `table|source|version|position|value` of each row, without any code of Weir: delta-rs tells the files, Polars
    /// reads them.
    pub(super) async fn rows(&self, table: &str, column: Option<&str>) -> Vec<String> {
        let mut rows = Vec::new();
        for path in self.paths(table).await {
            let path = ObjectPath::parse(format!("tables/{table}/{path}")).unwrap();
            let content = self.lake.get(&path).await.unwrap().bytes().await.unwrap();
            let frame = ParquetReader::new(Cursor::new(content)).finish().unwrap();
            let columns = ["_source", "_source_version", "_source_position"].into_iter().chain(column);
            let columns: Vec<_> = columns.map(|name| frame.column(name).unwrap()).collect();
            for row in 0..frame.height() {
                let values = columns.iter().map(|column| column.get(row).unwrap().str_value().into_owned());
                rows.push(format!("{table}|{}", values.collect::<Vec<_>>().join("|")));
            }
        }
        rows
    }

    /// The files of a table's newest version, by delta-rs.
    async fn paths(&self, table: &str) -> Vec<String> {
        let folder = ObjectPath::from(format!("tables/{table}"));
        let log: Vec<_> = self.lake.list(Some(&folder.clone().join("_delta_log"))).try_collect().await.unwrap();
        if log.is_empty() {
            return Vec::new();
        }
        let at = url::Url::parse("memory:///").unwrap();
        let table = Arc::new(PrefixStore::new(Arc::clone(&self.lake), folder));
        let table =
            DeltaTableBuilder::from_url(at.clone()).unwrap().with_storage_backend(table, at).load().await.unwrap();
        let uris: Vec<String> = table.get_file_uris().unwrap().collect();
        uris.into_iter().map(|uri| uri.trim_start_matches("memory://").trim_start_matches('/').to_owned()).collect()
    }
}

/// Dataset and the column that the model knows.
const DATASETS: [(&str, &str); 3] = [("orders", "id"), ("stock", "pieces"), ("readings", "n")];

/// A blob and what must come of it.
pub(super) struct Blob {
    pub(super) path: String,
    pub(super) dataset: &'static str,
    pub(super) content: Vec<u8>,
    /// Value of each record; None: it must be in quarantine.
    records: Vec<Option<i64>>,
}

/// Number `number` of a series of CSV, NDJSON, compressed CSV and Parquet blobs. Each seventh record is bad.
pub(super) fn blob(number: u32) -> Blob {
    let value = |record: u32| i64::from(number * 1000 + record);
    let records: Vec<_> = (1..=20 + number * 7 % 90).map(|n| (n % 7 != 0).then(|| value(n))).collect();
    let csv = |records: &[Option<i64>]| {
        let line = |record: &Option<i64>| match record {
            Some(id) => format!("{id},1.00,n\n"),
            None => "1,-1.00,n\n".to_owned(),
        };
        format!("id,amount,note\n{}", records.iter().map(line).collect::<String>()).into_bytes()
    };
    let (dataset, path, content) = match number % 4 {
        // A name that is percent-encoded in addresses.
        0 => ("orders", format!("orders/day {number} \u{fc}.csv"), csv(&records)),
        1 => {
            let line = |record: &Option<i64>| json!({ "item": "a", "pieces": record.unwrap_or(-1) }).to_string() + "\n";
            ("stock", format!("stock/{number}.ndjson"), records.iter().map(line).collect::<String>().into_bytes())
        }
        2 => {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::default());
            zipped.write_all(&csv(&records)).unwrap();
            ("orders", format!("orders/{number}.csv.gz"), zipped.finish().unwrap())
        }
        _ => {
            let values: Vec<i64> = records.iter().map(|record| record.unwrap_or(-1)).collect();
            let mut frame = DataFrame::new(values.len(), vec![Series::new("n".into(), values).into()]).unwrap();
            let mut file = Vec::new();
            ParquetWriter::new(&mut file).finish(&mut frame).unwrap();
            ("readings", format!("readings/{number}.parquet"), file)
        }
    };
    Blob { path, dataset, content, records }
}

/// What all tables must hold, as [`Account::rows`] tells it.
#[derive(Default)]
pub(super) struct Model {
    rows: BTreeSet<String>,
}

impl Model {
    pub(super) fn add(&mut self, blob: &Blob, etag: &str) {
        for (position, record) in (1..).zip(&blob.records) {
            let place = format!("blob:landing/{}|{etag}|{position}", blob.path);
            self.rows.insert(match record {
                Some(value) => format!("{}|{place}|{value}", blob.dataset),
                None => format!("{}__quarantine|{place}", blob.dataset),
            });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// The two schemas of a BlobCreated event.
pub(super) struct EventGrid;
pub(super) struct CloudEvents;

impl EventGrid {
    pub(super) fn event(&self, path: &str, etag: &str) -> String {
        let mut event: Value = serde_json::from_slice(&blob_created(path, etag)).unwrap();
        event["data"]["url"] = address(path).into();
        event.to_string()
    }
}

impl CloudEvents {
    pub(super) fn event(&self, path: &str, etag: &str) -> String {
        let event: Value = serde_json::from_slice(&blob_created(path, etag)).unwrap();
        let mut data = event["data"].clone();
        data["url"] = address(path).into();
        json!({
            "specversion": "1.0",
            "type": event["eventType"],
            "source": event["topic"],
            "subject": event["subject"],
            "id": event["id"],
            "time": event["eventTime"],
            "data": data,
        })
        .to_string()
    }
}

/// Percent-encoded, as Event Grid gives it.
fn address(path: &str) -> String {
    url::Url::parse(&format!("https://acct.blob.core.windows.net/landing/{path}")).unwrap().to_string()
}
