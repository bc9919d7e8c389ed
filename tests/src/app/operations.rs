//! What an operator does, under the stand-in for the Functions host: maintain, reprocess, look at the books.

use std::sync::Arc;
use std::time::Duration;

use functions_host::{Host, HostConfig, InvocationReport};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use super::site::{ORDERS, Site, files};
use crate::structure;
use crate::support::weir_binary;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn start(site: &Site) -> Host {
    let mut config = HostConfig::new(site.app_folder(), weir_binary(), site.path("host"));
    config.args = vec!["serve".to_owned()];
    config.env = site.settings();
    config.landing = Some(site.path("landing"));
    config.run_timers = false;
    config.partitions = 1;
    Host::start(config).await.unwrap()
}

pub(super) async fn settle(host: &Host) {
    host.wait_idle(PATIENCE).await.unwrap();
}

async fn reprocess(host: &Host, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/api/reprocess", host.http_url()));
    let answer = request.header("x-functions-key", host.function_key()).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

pub(super) async fn status(host: &Host) -> Value {
    let request = reqwest::Client::new().get(format!("{}/api/status", host.http_url()));
    request.header("x-functions-key", host.function_key()).send().await.unwrap().json().await.unwrap()
}

pub(super) fn dataset<'s>(status: &'s Value, name: &str) -> &'s Value {
    status["datasets"].as_array().unwrap().iter().find(|dataset| dataset["name"] == name).unwrap()
}

/// Return values of what a function did since the last call.
pub(super) fn returned(reports: &mut Receiver<Arc<InvocationReport>>, function: &str) -> Vec<Value> {
    let mut values = Vec::new();
    while let Ok(report) = reports.try_recv() {
        assert!(report.ok, "{report:?}");
        structure::assert_names_no_output(&report.function, report.return_value.as_ref().unwrap_or(&Value::Null));
        if report.function == function {
            values.extend(report.return_value.clone());
        }
    }
    values
}

/// What maintenance did for a dataset.
pub(super) fn maintained<'d>(done: &'d [Value], dataset: &str) -> &'d Value {
    done.iter().find(|report| report["dataset"] == dataset && report["filesRemoved"].is_u64()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_compacts_checkpoints_and_loads_and_then_has_nothing_to_do() {
    let site = Site::new();
    let host = start(&site).await;
    for blob in 0..30 {
        let content = format!("id,amount,note\n{blob},1.00,a\n{blob},-1.00,b\n{blob},2.00,c\n");
        site.put(&format!("orders/{blob}.csv"), content).await;
        // One by one: blobs that come together share a commit, and it takes twenty for a checkpoint.
        if blob < 20 {
            settle(&host).await;
        }
    }
    settle(&host).await;
    let before = site.rows("orders", &["_source", "_source_position", "id", "amount", "note"]).await;
    let mut reports = host.subscribe();
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    let done = returned(&mut reports, "run_task");
    assert_eq!(done.len(), 7, "one task for each dataset, and a sweep for each of blobs: {done:?}");
    let orders = maintained(&done, "orders");
    assert!(orders["filesRemoved"].as_u64().unwrap() > orders["filesAdded"].as_u64().unwrap(), "{orders}");
    assert_eq!(orders["rowsLoaded"], 60);
    let after = site.rows("orders", &["_source", "_source_position", "id", "amount", "note"]).await;
    assert_eq!(after, before);
    assert_eq!(site.each_place_once("orders").await, 90);
    let books = status(&host).await;
    assert_eq!(books["balanced"], true);
    let books = dataset(&books, "orders");
    assert_eq!((&books["table"]["files"], &books["warehouseRows"]), (&json!(1), &json!(60)));
    // Enough commits for a checkpoint: delta-rs and we read from it now.
    let log = site.path("lake/orders/_delta_log");
    assert!(log.join("_last_checkpoint").is_file());
    assert_eq!(files(&log, "parquet").len(), 1);
    assert_eq!(warehouse_rows(&site), 60);

    let entries = (site.log("orders"), site.log("orders__quarantine"));
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    for report in returned(&mut reports, "run_task") {
        for (key, value) in report.as_object().unwrap().iter().filter(|(key, _)| *key != "dataset") {
            assert_eq!(value, 0, "{key} in {report}");
        }
    }
    assert_eq!((site.log("orders"), site.log("orders__quarantine")), entries, "the second tick made a commit");
    host.shutdown().await;
}

/// Two of one table would only do the same work twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_another_instance_maintains_is_left_to_it() {
    let site = Site::new();
    let host = start(&site).await;
    for blob in 0..4 {
        site.put(&format!("orders/{blob}.csv"), format!("id,amount,note\n{blob},1.00,a\n")).await;
        settle(&host).await;
    }
    let lease = site.path("lake/orders/_weir_lease/00000000000000000007.json");
    std::fs::create_dir_all(lease.parent().unwrap()).unwrap();
    std::fs::write(&lease, json!({"owner": "another", "expiresMs": i64::MAX}).to_string()).unwrap();
    let mut reports = host.subscribe();
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    let done = returned(&mut reports, "run_task");
    let orders = maintained(&done, "orders");
    assert_eq!((&orders["busy"], &orders["filesRemoved"], &orders["rowsLoaded"]), (&json!(1), &json!(0), &json!(4)));

    std::fs::remove_file(&lease).unwrap();
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    let done = returned(&mut reports, "run_task");
    let orders = maintained(&done, "orders");
    assert_eq!((&orders["busy"], &orders["filesRemoved"]), (&json!(0), &json!(4)));
    host.shutdown().await;
}

/// A file that cannot be read stops the compaction of its table, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_fails_hinders_no_other_and_gives_the_lease_up() {
    let site = Site::new();
    let host = start(&site).await;
    for blob in 0..4 {
        site.put(&format!("orders/{blob}.csv"), format!("id,amount,note\n{blob},1.00,a\n{blob},-1.00,b\n")).await;
        settle(&host).await;
    }
    for file in files(&site.path("lake/orders"), "parquet") {
        std::fs::write(file, "no Parquet").unwrap();
    }
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    assert_eq!(status(&host).await["parkedCount"], 1);
    let quarantine = site.table("orders__quarantine").await.unwrap().snapshot().await.unwrap();
    assert_eq!(quarantine.files.len(), 1, "it was compacted");
    for table in ["orders", "orders__quarantine"] {
        assert!(site.path(&format!("lake/{table}/_weir_maintenance/vacuumed")).is_file(), "{table}: vacuumed");
        let leases = files(&site.path(&format!("lake/{table}/_weir_lease")), "json");
        let newest: Value = serde_json::from_slice(&std::fs::read(leases.last().unwrap()).unwrap()).unwrap();
        assert_eq!(newest["expiresMs"], 0, "{table}: {newest}");
    }
    host.shutdown().await;
}

fn warehouse_rows(site: &Site) -> i64 {
    let warehouse = rusqlite::Connection::open(site.path("warehouse.db")).unwrap();
    warehouse.query_row("SELECT count(DISTINCT _source || _source_position) FROM orders", [], |row| row.get(0)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reprocessing_moves_what_a_corrected_contract_accepts() {
    let site = Site::new();
    let host = start(&site).await;
    let content = |id: u32| format!("id,amount,note\n{id},1.00,a\n{id},-1.00,b\nx,-2.00,c\n");
    for (number, path) in ["orders/day1-a.csv", "orders/day1-b.csv", "orders/day2-c.csv"].iter().enumerate() {
        site.put(path, content(u32::try_from(number).unwrap())).await;
    }
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["0|a", "1|a", "2|a"]);

    site.contract("orders", &ORDERS.replace("amount > 0", "amount > -10"));
    host.kill_handler().await;
    assert_eq!(site.rows("orders", &["id"]).await.len(), 3, "a new contract alone changes nothing");
    let request = json!({ "dataset": "orders", "path": "orders/day1-a.csv" });
    let (code, answer) = reprocess(&host, &request).await;
    assert_eq!((code, &answer["tasks"]), (202, &json!(1)), "{answer}");
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["0|a", "0|b", "1|a", "2|a"]);
    let left = site.quarantined("orders", "blob:landing/orders/day1-a.csv").await;
    assert_eq!(left.iter().map(|record| record.position).collect::<Vec<_>>(), [3]);
    assert_eq!(site.each_place_once("orders").await, 9);

    // Again, as a new request, and as a message that comes twice; then the blob's own event once more.
    assert_eq!(reprocess(&host, &request).await.0, 202);
    let task = json!({
        "task": "ingest_blob", "dataset": "orders", "container": "landing", "path": "orders/day1-a.csv", "request": "r1",
    });
    settle(&host).await;
    let mut reports = host.subscribe();
    host.enqueue("tasks", task.to_string().into_bytes()).await.unwrap();
    settle(&host).await;
    host.enqueue("tasks", task.to_string().into_bytes()).await.unwrap();
    settle(&host).await;
    let outcomes = returned(&mut reports, "run_task");
    let outcomes: Vec<_> = outcomes.iter().map(|receipt| receipt["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["committed", "alreadyCommitted"]);
    host.announce_blob("landing", "orders/day1-a.csv").unwrap();
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["0|a", "0|b", "1|a", "2|a"]);
    assert_eq!(site.each_place_once("orders").await, 9);

    let (code, answer) = reprocess(&host, &json!({ "dataset": "orders", "prefix": "orders/d" })).await;
    assert_eq!((code, &answer["tasks"]), (202, &json!(3)), "{answer}");
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id", "note"]).await, ["0|a", "0|b", "1|a", "1|b", "2|a", "2|b"]);
    assert_eq!(site.each_place_once("orders").await, 9);
    assert_eq!(status(&host).await["balanced"], true);
    // The warehouse follows.
    assert!(host.run_timer("maintain").await.unwrap().ok);
    settle(&host).await;
    assert_eq!(warehouse_rows(&site), 6);
    host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_served_say_why_and_hand_out_no_task() {
    let site = Site::new();
    let host = start(&site).await;
    let cases = [
        (json!({ "dataset": "nope", "path": "orders/a.csv" }), 400, "no dataset `nope`"),
        (json!({ "dataset": "orders", "path": "other/a.csv" }), 400, "the contract's paths do not match this path"),
        (json!({ "dataset": "orders", "path": "orders/../a.csv" }), 400, "do not match this path"),
        (json!({ "dataset": "orders", "path": "orders/a.csv", "prefix": "orders/" }), 400, "either `path` or `prefix`"),
        (json!({ "dataset": "orders" }), 400, "either `path` or `prefix`"),
        (json!({ "dataset": "clicks", "path": "orders/a.csv" }), 400, "dataset `clicks` takes events, not blobs"),
        (json!({ "dataset": "orders", "path": "orders/a.csv", "force": true }), 400, "unknown field `force`"),
        (json!("orders"), 400, "invalid type"),
    ];
    for (body, code, message) in cases {
        let (found, answer) = reprocess(&host, &body).await;
        let text = answer["error"].as_str().unwrap_or_default();
        assert!(found == code && text.contains(message), "{body}: {found} {answer}");
    }
    let (code, answer) = reprocess(&host, &json!({ "dataset": "orders", "prefix": "orders/none" })).await;
    assert!(code == 404 && answer["error"].as_str().unwrap().contains("no blob"), "{answer}");
    // A blob that is not there (any more) changes nothing.
    let mut reports = host.subscribe();
    assert_eq!(reprocess(&host, &json!({ "dataset": "orders", "path": "orders/gone.csv" })).await.0, 202);
    settle(&host).await;
    assert_eq!(returned(&mut reports, "run_task")[0]["outcome"], "gone");
    for route in ["status", "reprocess"] {
        let url = format!("{}/api/{route}", host.http_url());
        for key in [None, Some("wrong")] {
            let client = reqwest::Client::new();
            let request = if route == "status" { client.get(&url) } else { client.post(&url) };
            let request = key.into_iter().fold(request, |request, key| request.header("x-functions-key", key));
            assert_eq!(request.send().await.unwrap().status(), 401, "{route} with key {key:?}");
        }
    }
    host.shutdown().await;
}

/// Poison: what fails again and again is parked, the rest goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_always_fails_is_parked_and_hinders_no_other() {
    let site = Site::new();
    let host = start(&site).await;
    host.enqueue("blob-events", b"not an event".to_vec()).await.unwrap();
    site.put("orders/a.csv", "id,amount,note\n1,1.00,a\n").await;
    settle(&host).await;
    assert_eq!(host.queue_len("blob-events-poison").await.unwrap(), 0);
    assert_eq!(status(&host).await["parkedCount"], 1);
    assert_eq!(site.rows("orders", &["id"]).await, ["1"]);
    host.shutdown().await;
}
