//! Blobs whose events never came, blobs that were there before Weir was, and messages that fail for good.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::command_line::weir;
use super::handler::{Answer, Handler, queue_envelope};
use super::large;
use super::operations::{dataset, settle, start, status};
use super::site::{ORDERS, Site};

fn order(id: u32) -> String {
    format!("id,amount,note\n{id},1.00,a\n")
}

/// Parks a message as one whose last attempt did not end: it is not tried first.
async fn park(handler: &Handler, function: &str, message: &[u8]) -> String {
    let envelope = queue_envelope(message).replace("\"DequeueCount\":\"1\"", "\"DequeueCount\":\"2\"");
    let answer = handler.post(function, envelope).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// Ids of what is parked.
async fn parked(handler: &Handler) -> Vec<String> {
    let status = handler.status().await;
    let parked = status["parked"].as_array().unwrap();
    parked.iter().map(|parked| parked["id"].as_str().unwrap().to_owned()).collect()
}

async fn retry(handler: &Handler, id: &str) -> Answer {
    let task = json!({ "task": "retry", "parked": id }).to_string();
    handler.queue("run_task", task.as_bytes()).await
}

fn json_of(site: &Site, arguments: &[&str]) -> Value {
    let (code, said, complaint) = weir(site, arguments, &[]);
    assert_eq!(code, 0, "{said}{complaint}");
    serde_json::from_str(&said).unwrap()
}

/// Makes a blob older than the time in which its event may be on its way.
fn age(site: &Site, path: &str) {
    age_by(site, path, Duration::from_secs(3_600));
}

fn age_by(site: &Site, path: &str, age: Duration) {
    let file = std::fs::File::options().write(true).open(site.path("landing/landing").join(path)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_finds_what_no_event_told_of_and_only_that() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    for id in 0..20 {
        let path = format!("orders/{id}.csv");
        site.put(&path, order(id)).await;
        age(&site, &path);
        if id % 2 == 0 {
            handler.ingest(&site.event(&path).await).await;
        }
    }
    // Its event may still come, no contract takes it, and it is another's.
    site.put("orders/young.csv", order(99)).await;
    site.put("orders/readme.txt", "no order").await;
    site.put("stock/a.ndjson", "{\"item\":\"a\",\"pieces\":1}\n").await;
    age(&site, "stock/a.ndjson");
    let sweep = json!({ "task": "sweep", "dataset": "orders" }).to_string();
    let answer = handler.queue("run_task", sweep.as_bytes()).await;
    let report = answer.receipt();
    assert_eq!((&report["missing"], &report["parked"]), (&json!(10), &json!(0)), "{report}");
    let tasks = answer.json()["Outputs"]["tasks"].as_array().unwrap().clone();
    assert_eq!(tasks.len(), 10);
    for task in &tasks {
        assert_eq!(
            handler.queue("run_task", task.as_str().unwrap().as_bytes()).await.receipt()["outcome"],
            "committed"
        );
    }
    assert_eq!(site.each_place_once("orders").await, 20);
    // Once an hour is enough; whoever asks gets it at once, young blobs included.
    assert!(handler.queue("run_task", sweep.as_bytes()).await.receipt().is_null());
    let asked = json!({ "task": "sweep", "dataset": "orders", "asked": true }).to_string();
    assert_eq!(handler.queue("run_task", asked.as_bytes()).await.receipt()["missing"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backfill_brings_in_what_was_there_before() {
    let site = Site::new();
    for id in 0..30 {
        site.put(&format!("orders/{id}.csv"), order(id)).await;
    }
    site.put("orders/bad.csv.gz", b"\x1f\x8bnot gzip").await;
    let dry = json_of(&site, &["backfill", "orders", "--dry-run", "--json"]);
    assert_eq!((&dry["missing"], &dry["ran"]["succeeded"]), (&json!(31), &json!(0)));
    let ran = json_of(&site, &["backfill", "orders", "--json"]);
    assert_eq!((&ran["missing"], &ran["ran"]["succeeded"], &ran["ran"]["failed"]), (&json!(31), &json!(31), &json!(0)));
    assert_eq!(site.rows("orders", &["id"]).await.len(), 30);
    // Again: nothing is left to do. Since tomorrow: nothing is looked at.
    let again = json_of(&site, &["backfill", "orders", "--json"]);
    assert_eq!(again["missing"], 0);
    site.put("orders/new.csv", order(77)).await;
    let (code, said, _) = weir(&site, &["backfill", "orders", "--since", "2100-01-01"], &[]);
    assert!(code == 0 && said.contains("0 blobs missing"), "{said}");
    for arguments in [&["backfill", "nope"][..], &["backfill", "clicks"], &["backfill", "orders", "--since", "soon"]] {
        assert_ne!(weir(&site, arguments, &[]).0, 0, "{arguments:?}");
    }
}

/// The host parks what fails; it is listed with the reason, and tried again when the cause is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_fail_for_good_are_parked_listed_and_tried_again() {
    let site = Site::new();
    let host = start(&site).await;
    host.enqueue("blob-events", b"no event at all".to_vec()).await.unwrap();
    host.enqueue("tasks", b"{\"task\":\"dance\"}".to_vec()).await.unwrap();
    // A table that cannot be read: what goes there fails until it is mended.
    let log = site.path("lake/orders/_delta_log/00000000000000000000.json");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "no log").unwrap();
    site.put("orders/a.csv", order(1)).await;
    settle(&host).await;
    assert_eq!(
        (host.queue_len("blob-events-poison").await.unwrap(), host.queue_len("tasks-poison").await.unwrap()),
        (0, 0)
    );

    std::fs::remove_file(&log).unwrap();
    let parked = status(&host).await;
    let parked = parked["parked"].as_array().unwrap();
    assert_eq!(parked.len(), 3, "{parked:?}");
    let of = |part: &str| parked.iter().find(|parked| parked["reason"].as_str().unwrap().contains(part)).unwrap();
    assert!(of("blob event")["id"].as_str().unwrap().starts_with("blob-events/"));
    assert!(of("not a task")["id"].as_str().unwrap().starts_with("tasks/"));
    let order = parked.iter().find(|parked| parked["blob"] == "blob:landing/orders/a.csv").unwrap();
    assert!(order["reason"].as_str().unwrap().contains("orders"), "{order}");
    let (_, listed, _) = weir(&site, &["parked"], &[]);
    assert!(listed.contains("3 parked") && listed.contains("orders/a.csv"), "{listed}");

    let retry = |body: Value| {
        let request = reqwest::Client::new().post(format!("{}/api/retry", host.http_url()));
        request.header("x-functions-key", host.function_key()).json(&body).send()
    };
    assert_eq!(retry(json!({ "parked": ["tasks/none"] })).await.unwrap().status(), 400);
    assert_eq!(retry(json!({})).await.unwrap().status(), 400);
    assert_eq!(retry(json!({ "parked": [order["id"]] })).await.unwrap().status(), 202);
    settle(&host).await;
    assert_eq!(site.rows("orders", &["id"]).await, ["1"]);
    let left = status(&host).await;
    assert_eq!(left["parkedCount"], 2);
    assert_eq!(dataset(&left, "orders")["balanced"], true);
    // What still fails stays parked, once.
    assert_eq!(retry(json!({ "all": true })).await.unwrap().status(), 202);
    settle(&host).await;
    let left = status(&host).await;
    assert_eq!(left["parkedCount"], 2, "{left}");
    assert!(left["parked"].as_array().unwrap().iter().any(|parked| parked["id"] == of("blob event")["id"]));
    host.shutdown().await;
}

/// A blob that is parked is not handed out by every sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_leaves_parked_blobs_alone() {
    let site = Site::new();
    site.contract("orders", ORDERS);
    let handler = Handler::start(&site).await;
    site.put("orders/a.csv", order(1)).await;
    let etag = site.etag("orders/a.csv").await;
    let task = json!({
        "task": "ingest_blob", "dataset": "nope", "container": "landing", "path": "orders/a.csv", "etag": etag,
    });
    let answer = handler.queue("park_tasks", task.to_string().as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let sweep = json!({ "task": "sweep", "dataset": "orders", "asked": true }).to_string();
    let report = handler.queue("run_task", sweep.as_bytes()).await.receipt();
    assert_eq!((&report["missing"], &report["parked"]), (&json!(0), &json!(1)), "{report}");
}

/// However often the host gives a message up, it is parked once; after it has succeeded it can be parked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_parked_once_and_again_after_its_release() {
    let site = Site::new();
    let handler = Handler::start(&site).await;
    let event = site.put("orders/a.csv", order(1)).await;
    for outcome in ["committed", "alreadyCommitted"] {
        for _ in 0..3 {
            park(&handler, "park_blob_events", &event).await;
        }
        let ids = parked(&handler).await;
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(retry(&handler, &ids[0]).await.receipt()["outcome"], outcome);
        assert_eq!(parked(&handler).await, Vec::<String>::new());
        let again = retry(&handler, &ids[0]).await;
        assert!(again.text.contains("not parked (any more)"), "{}", again.text);
    }
    // The same text in another queue is another message.
    park(&handler, "park_blob_events", b"nonsense").await;
    park(&handler, "park_tasks", b"nonsense").await;
    assert_eq!(parked(&handler).await.len(), 2);
    assert_eq!(site.each_place_once("orders").await, 1);
}

/// A message that hands its work on has not succeeded before what it handed on is in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_message_stays_until_what_it_hands_on_is_in_the_queue() {
    let site = Site::new();
    site.contract("orders", &large::contract(large::CUT));
    let handler = Handler::start(&site).await;
    let event = site.put("orders/big.csv", large::content()).await;
    park(&handler, "park_blob_events", &event).await;
    let ids = parked(&handler).await;
    // Its answer may be lost, and the tasks with it.
    for _ in 0..2 {
        let tasks = large::tasks(&retry(&handler, &ids[0]).await);
        assert!(tasks.len() > 2, "{tasks:?}");
        assert_eq!(parked(&handler).await, ids, "it is parked no longer, and nobody has its parts");
    }
    for task in large::tasks(&retry(&handler, &ids[0]).await) {
        assert_eq!(handler.queue("run_task", task.to_string().as_bytes()).await.status, 200);
    }
    assert_eq!(parked(&handler).await, Vec::<String>::new());
    large::check(&site, &handler).await;
}

/// Ids that have expired say nothing: blobs that are so old are not taken for missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_leaves_blobs_alone_whose_ids_may_have_expired() {
    let site = Site::new();
    let contract = ORDERS.replace("path = [", "on_overwrite = \"append\"\npath = [")
        + "[table.properties]\ndelta.setTransactionRetentionDuration = \"interval 30 days\"\n";
    site.contract("orders", &contract);
    let handler = Handler::start(&site).await;
    for path in ["orders/old.csv", "orders/new.csv"] {
        site.put(path, order(1)).await;
    }
    age_by(&site, "orders/old.csv", Duration::from_secs(16 * 24 * 3_600));
    age_by(&site, "orders/new.csv", Duration::from_secs(14 * 24 * 3_600));
    let asked = json!({ "task": "sweep", "dataset": "orders", "asked": true }).to_string();
    let answer = handler.queue("run_task", asked.as_bytes()).await;
    assert_eq!(answer.receipt()["missing"], 1, "{}", answer.text);
    assert_eq!(large::tasks(&answer)[0]["path"], "orders/new.csv");
}
