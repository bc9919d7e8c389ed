//! The table's folder is deleted or made anew under a running app, and what other writers do to tables: the cases of the
//! real binary. The contracts are those of `tests/data/cases/events`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::command_line::weir;
use super::handler::{Answer, Batch, Handler, books, queue_envelope};
use super::site::Site;
use crate::python;
use crate::support::repository;

fn contract(case: &str, file: &str) -> String {
    fs::read_to_string(repository().join("tests/data/cases/events").join(case).join(file)).unwrap()
}

fn site(case: &str, name: &str) -> Site {
    let site = Site::new();
    site.contract(name, &contract(case, "contract.toml"));
    site
}

/// Posts a batch of the hub `name` once.
async fn post(handler: &Handler, name: &str, batch: &Batch) -> Answer {
    let envelope = batch.envelope().to_string().replace("\"clicks\"", &format!("\"{name}\""));
    handler.post(&format!("ingest_{name}"), envelope.replace("ingest_clicks", &format!("ingest_{name}"))).await
}

/// Posts it as the host does: again until it is taken. How often it failed, and the receipt.
async fn deliver(handler: &Handler, name: &str, batch: &Batch) -> (usize, Value) {
    for failed in 0..4 {
        let answer = post(handler, name, batch).await;
        if answer.status == 200 {
            return (failed, answer.receipt());
        }
        assert!(answer.text.contains("deleted, restored or made anew"), "{}", answer.text);
    }
    panic!("the batch is refused for good: {}", handler.logged());
}

/// Events with an id that is their number.
fn numbered(partition: u32, numbers: std::ops::Range<i64>) -> Batch {
    Batch { partition, events: numbers.map(|n| (n, json!({ "id": n, "v": "x" }).to_string().into_bytes())).collect() }
}

async fn maintain(handler: &Handler, name: &str) -> Value {
    let task = json!({ "task": "maintain", "dataset": name }).to_string();
    handler.post("run_task", queue_envelope(task.as_bytes())).await.receipt()
}

fn delete(site: &Site, table: &str) {
    fs::remove_dir_all(site.path("lake").join(table)).unwrap();
}

async fn ids(site: &Site, name: &str) -> Vec<i64> {
    let mut ids: Vec<i64> = site.rows(name, &["id"]).await.iter().map(|id| id.parse().unwrap()).collect();
    ids.sort();
    ids
}

fn first_commit(site: &Site, table: &str) -> bool {
    site.path("lake").join(table).join("_delta_log/00000000000000000000.json").is_file()
}

fn is_balanced(site: &Site, name: &str) -> bool {
    let (_, status, _) = weir(site, &["status", "--json"], &[]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let datasets = status["datasets"].as_array().unwrap();
    datasets.iter().find(|dataset| dataset["name"] == name).unwrap()["balanced"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_deleted_under_a_running_app_is_made_anew() {
    let site = site("folder_deleted_under_a_running_app", "t");
    let handler = Handler::start(&site).await;
    for batch in 0..3 {
        assert_eq!(deliver(&handler, "t", &numbered(0, batch * 10..batch * 10 + 10)).await.0, 0);
    }
    delete(&site, "t");
    let mut failed = 0;
    for batch in 3..6 {
        failed += deliver(&handler, "t", &numbered(0, batch * 10..batch * 10 + 10)).await.0;
    }
    assert!(failed <= 1, "{failed}");
    assert!(first_commit(&site, "t"), "the log has a beginning");
    assert_eq!(ids(&site, "t").await, (30..60).collect::<Vec<_>>(), "all that was acknowledged since is there");
    let report = maintain(&handler, "t").await;
    assert!(report["reloads"].as_u64().unwrap() <= 1, "{report}");
    assert_eq!(report["rowsLoaded"], 30, "{report}");
    assert!(is_balanced(&site, "t"));
    let fresh = Handler::start(&site).await;
    assert_eq!(deliver(&fresh, "t", &numbered(0, 60..70)).await.0, 0);
    assert_eq!(ids(&site, "t").await, (30..70).collect::<Vec<_>>());
    site.each_place_once("t").await;
}

/// Its quarantine's folder, and both at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quarantine_that_is_deleted_under_a_running_app_is_made_anew() {
    for tables in [&["t__quarantine"][..], &["t", "t__quarantine"]] {
        let site = site("folder_deleted_under_a_running_app", "t");
        let handler = Handler::start(&site).await;
        let batch = |from: i64| Batch::of(0, &[(from, "{\"id\": 1}"), (from + 1, "no record")]);
        for from in [0, 2] {
            assert_eq!(deliver(&handler, "t", &batch(from)).await.0, 0);
        }
        tables.iter().for_each(|table| delete(&site, table));
        let mut failed = 0;
        for from in [4, 6, 8] {
            let (again, receipt) = deliver(&handler, "t", &batch(from)).await;
            failed += again;
            // What one attempt brought into one of the tables is not brought again by the next.
            assert_eq!(books(&receipt)[0], 2, "{receipt}");
        }
        assert!(failed <= 2, "{failed}");
        let refused = site.quarantined("t", "eventhub:ns/t/0").await;
        assert_eq!(refused.iter().map(|record| record.position).collect::<Vec<_>>(), [5, 7, 9], "{tables:?}");
        assert!(first_commit(&site, "t") && first_commit(&site, "t__quarantine"));
        maintain(&handler, "t").await;
        site.each_place_once("t").await;
    }
}

/// Handlers on one lake; one of them makes the table anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_process_made_anew_is_another_table() {
    let site = site("table_made_anew_under_a_running_app", "t");
    let a = Handler::start(&site).await;
    for batch in 0..3 {
        deliver(&a, "t", &numbered(0, batch * 10..batch * 10 + 10)).await;
    }
    deliver(&a, "t", &numbered(1, 0..30)).await;
    maintain(&a, "t").await;
    delete(&site, "t");
    let b = Handler::start(&site).await;
    for batch in 0..10 {
        assert_eq!(deliver(&b, "t", &numbered(0, batch * 10..batch * 10 + 10)).await.0, 0);
    }
    // The order of the host after a restart: from the beginning of the partition.
    let reports: Vec<Value> = vec![maintain(&a, "t").await, maintain(&a, "t").await];
    let reloads: u64 = reports.iter().map(|report| report["reloads"].as_u64().unwrap()).sum();
    assert_eq!(reloads, 1, "{reports:?}");
    assert_eq!(books(&deliver(&b, "t", &numbered(1, 0..30)).await.1), [30, 30, 0, 0]);
    assert_eq!(books(&deliver(&a, "t", &numbered(1, 30..40)).await.1), [10, 10, 0, 0]);
    assert_eq!(ids(&site, "t").await.len(), 140);
    assert!(is_balanced(&site, "t"));
    site.each_place_once("t").await;
}

/// Events of before the deletion come again: the old process does not take them for committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_a_deleted_table_are_forgotten() {
    let site = site("table_made_anew_under_a_running_app", "t");
    let a = Handler::start(&site).await;
    deliver(&a, "t", &numbered(0, 0..30)).await;
    delete(&site, "t");
    let b = Handler::start(&site).await;
    deliver(&b, "t", &numbered(1, 0..5)).await;
    assert_eq!(books(&deliver(&a, "t", &numbered(0, 0..30)).await.1), [30, 30, 0, 0]);
    assert_eq!(ids(&site, "t").await.len(), 35);
    site.each_place_once("t").await;
}

/// What `[dedupe]` remembers is of the table that it was read from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_deleted_table_are_forgotten() {
    let site = site("table_made_anew_under_a_running_app", "t");
    let text = contract("table_made_anew_under_a_running_app", "contract.toml");
    site.contract("t", &(text + "\n[dedupe]\nkey = \"id\"\nwithin = \"24 hours\"\n"));
    let handler = Handler::start(&site).await;
    let events = |from: i64| {
        let body = |id: i64| json!({ "id": id, "v": "x" }).to_string().into_bytes();
        Batch { partition: 0, events: (from..from + 5).zip((0..5).map(body)).collect() }
    };
    deliver(&handler, "t", &events(0)).await;
    assert_eq!(deliver(&handler, "t", &events(5)).await.1["duplicates"], 5);
    delete(&site, "t");
    let (_, receipt) = deliver(&handler, "t", &events(10)).await;
    assert_eq!(books(&receipt), [5, 5, 0, 0], "the rows that they doubled are gone: {receipt}");
    assert_eq!(deliver(&handler, "t", &events(15)).await.1["duplicates"], 5);
}

const CONSTRAINT: &str = r#"
import sys
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1])
if sys.argv[2] == "add":
    table.alter.add_constraint({"positive": "id >= 0"})
else:
    table.alter.drop_constraint("positive")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constraint_that_is_dropped_again_stops_nothing() {
    let site = site("constraint_added_and_dropped", "t");
    let handler = Handler::start(&site).await;
    deliver(&handler, "t", &numbered(0, 0..3)).await;
    let folder = site.path("lake/t");
    let folder = folder.to_str().unwrap();
    python::run(CONSTRAINT, &[folder, "add"]);
    let refused = post(&handler, "t", &numbered(0, 3..6)).await;
    assert!(refused.status == 500 && refused.text.contains("CHECK constraints"), "{}", refused.text);
    python::run(CONSTRAINT, &[folder, "drop"]);
    for handler in [handler, Handler::start(&site).await] {
        assert_eq!(deliver(&handler, "t", &numbered(0, 3..6)).await.0, 0);
        maintain(&handler, "t").await;
    }
    assert_eq!(ids(&site, "t").await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_field_stops_nothing() {
    let case = "column_called_current_default";
    let events = contract(case, "events.ndjson");
    for file in ["contract_a.toml", "contract_b.toml"] {
        let site = Site::new();
        site.contract("loans", &contract(case, file));
        let (code, said, _) = weir(&site, &["check"], &[]);
        assert_eq!(code, 0, "{said}");
        let handler = Handler::start(&site).await;
        for (number, line) in (0..).zip(events.lines()) {
            assert_eq!(deliver(&handler, "loans", &Batch::of(0, &[(number, line)])).await.0, 0);
        }
        maintain(&handler, "loans").await;
        drop(handler);
        let fresh = Handler::start(&site).await;
        deliver(&fresh, "loans", &Batch::of(0, &[(3, "{\"id\": 4, \"CURRENT_DEFAULT\": \"x\"}")])).await;
        assert_eq!(ids(&site, "loans").await, [1, 2, 3, 4]);
        assert!(is_balanced(&site, "loans"));
    }
}

/// 25 batches and a checkpoint; then what a restart, `maintain` and `weir status` say.
async fn with_checkpoint(site: &Site, event: impl Fn(i64) -> String) {
    let handler = Handler::start(site).await;
    for number in 0..25 {
        deliver(&handler, "t", &Batch::of(0, &[(number, &event(number))])).await;
    }
    let report = maintain(&handler, "t").await;
    assert_eq!(report["checkpoints"], 1, "{report}");
}

fn checkpoint_of(folder: &Path) -> std::path::PathBuf {
    let log = fs::read_dir(folder.join("_delta_log")).unwrap().map(|entry| entry.unwrap().path());
    log.into_iter().find(|path| path.to_str().unwrap().ends_with(".checkpoint.parquet")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_as_a_struct_alone_are_enough() {
    let site = site("statistics_only_as_struct", "t");
    with_checkpoint(&site, |number| json!({ "id": number, "p": format!("p{}", number % 3) }).to_string()).await;
    let fresh = Handler::start(&site).await;
    for _ in 0..2 {
        maintain(&fresh, "t").await;
    }
    assert!(is_balanced(&site, "t"));
    deliver(&fresh, "t", &Batch::of(0, &[(25, "{\"id\": 25, \"p\": \"p1\"}")])).await;
    assert_eq!(ids(&site, "t").await, (0..26).collect::<Vec<_>>());
    let (_, status, _) = weir(&site, &["status", "--json"], &[]);
    assert!(status.contains("\"rows\":26"), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_checkpoint_is_passed_over_for_the_commits() {
    let site = site("torn_checkpoint", "t");
    with_checkpoint(&site, |number| json!({ "id": number }).to_string()).await;
    let path = checkpoint_of(&site.path("lake/t"));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let fresh = Handler::start(&site).await;
    for number in 25..50 {
        deliver(&fresh, "t", &Batch::of(0, &[(number, &json!({ "id": number }).to_string())])).await;
    }
    let report = maintain(&fresh, "t").await;
    assert_eq!(report["checkpoints"], 1, "the next one is written: {report}");
    assert_eq!(ids(&site, "t").await, (0..50).collect::<Vec<_>>());
    assert!(is_balanced(&site, "t"));
    site.each_place_once("t").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_have_their_effect() {
    let site = site("properties_without_effect", "t");
    let handler = Handler::start(&site).await;
    for number in 0..12 {
        deliver(&handler, "t", &Batch::of(0, &[(number, "{\"id\": 1, \"c0\": \"a\", \"c1\": \"b\"}")])).await;
    }
    let report = maintain(&handler, "t").await;
    assert_eq!(report["checkpoints"], 1, "{report}");
    let first = site.log("t").into_iter().find(|path| path.to_str().unwrap().ends_with("01.json")).unwrap();
    let text = fs::read_to_string(first).unwrap();
    let add =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find_map(|line| line.get("add").cloned());
    let stats: Value = serde_json::from_str(add.unwrap()["stats"].as_str().unwrap()).unwrap();
    let mut keys: Vec<_> = stats["nullCount"].as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["c0", "id"], "of two columns");
}

/// A table that a release before this one left with an empty text in a partition column that must not be null: the next
/// `maintain` makes it readable again, for everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_with_an_empty_partition_text_is_made_readable() {
    let site = site("empty_partition_text", "t");
    let handler = Handler::start(&site).await;
    for number in 0..25 {
        let body = json!({ "id": number, "p": "x" }).to_string();
        deliver(&handler, "t", &Batch::of(0, &[(number, &body)])).await;
    }
    drop(handler);
    // As it was committed before: the folder's name and the value are empty.
    let last = site.log("t").pop().unwrap();
    let text = fs::read_to_string(&last).unwrap();
    fs::write(&last, text.replace("\"partitionValues\":{\"p\":\"x\"}", "\"partitionValues\":{\"p\":\"\"}")).unwrap();
    let script = "import sys, polars as pl; from deltalake import DeltaTable, QueryBuilder; t = DeltaTable(sys.argv[1]); \
                  q = QueryBuilder().register('t', t).execute('select * from t').read_all(); \
                  print(q.num_rows, pl.read_delta(sys.argv[1]).height)";
    let fresh = Handler::start(&site).await;
    maintain(&fresh, "t").await;
    deliver(&fresh, "t", &Batch::of(0, &[(25, "{\"id\": 25, \"p\": \"x\"}")])).await;
    let folder = site.path("lake/t");
    assert_eq!(python::run(script, &[folder.to_str().unwrap()]).trim(), "26 26");
    assert!(is_balanced(&site, "t"));
}

/// Messages that failed are kept in a table as any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_of_parked_messages_is_made_anew_too() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let park = async |name: &str| {
        let message = format!("not a message: {name}");
        handler.queue("park_tasks", message.as_bytes()).await
    };
    assert_eq!(park("a").await.status, 200);
    delete(&site, "weir__parked");
    let mut answers = vec![park("b").await.status, park("b").await.status];
    answers.dedup();
    assert_eq!(answers.pop(), Some(200));
    assert!(first_commit(&site, "weir__parked"));
    assert_eq!(handler.status().await["parkedCount"], 1, "b");
}
